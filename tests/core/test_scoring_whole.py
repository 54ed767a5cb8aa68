"""Bases that are whole in each process, where transformers itself would load parts of them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import distributed
from transformers import AutoModelForCausalLM
from transformers.integrations import deepspeed

from ppx_ext.effects import base_from_model
from ppx_ext.scoring import load_causal_lm
from ppx_ext.scoring.whole import lacks
from tests.models import tiny_model

IDS = torch.arange(3, 20)[None]


MODEL = tiny_model("llama")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    MODEL.save_pretrained(tmp_path / "model")
    return tmp_path / "model"


class Zero3:
    """What the trainer's arguments leave where they ask for ZeRO-3."""

    config: dict[str, Any] = {"zero_optimization": {"stage": 3}}  # noqa: RUF012

    def is_zero3(self) -> bool:
        return True


@pytest.fixture
def zero3() -> Iterator[Zero3]:
    asked = Zero3()
    deepspeed.set_hf_deepspeed_config(asked)
    yield asked
    deepspeed.unset_hf_deepspeed_config()


@pytest.fixture
def sparing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """This process is the second one of a machine, under FSDP that loads sparingly."""
    for name, value in (
        ("LOCAL_RANK", "1"),
        ("ACCELERATE_USE_FSDP", "true"),
        ("FSDP_CPU_RAM_EFFICIENT_LOADING", "true"),
    ):
        monkeypatch.setenv(name, value)
    where = f"file://{tmp_path / 'group'}"
    distributed.init_process_group("gloo", init_method=where, rank=0, world_size=1)
    yield
    distributed.destroy_process_group()


def same(model: Any) -> bool:
    return torch.equal(model(IDS).logits, MODEL(IDS).logits)


def test_zero3_cuts_no_base(folder: Path, zero3: Zero3) -> None:
    assert same(load_causal_lm(folder))
    assert deepspeed.is_deepspeed_zero3_enabled()
    assert deepspeed.deepspeed_config() is zero3.config


def test_after_an_error_zero3_is_on_again(tmp_path: Path, zero3: Zero3) -> None:
    with pytest.raises(ValueError, match="neither a folder"):
        load_causal_lm(tmp_path / "nothing")
    assert deepspeed.deepspeed_config() is zero3.config


@pytest.mark.usefixtures("sparing")
def test_fsdp_leaves_no_process_without_weights(folder: Path) -> None:
    assert same(load_causal_lm(folder))


@pytest.mark.usefixtures("sparing")
def test_a_base_of_zeros_is_refused(folder: Path) -> None:
    """Some versions of transformers leave zeros here, others the weights."""
    model = AutoModelForCausalLM.from_pretrained(folder)
    if same(model.eval()):
        assert lacks(model) is None
        for parameter in model.parameters():
            parameter.data.zero_()
    with pytest.raises(ValueError, match="in this process: all its weights are zero"):
        base_from_model(model)


def test_a_base_that_is_cut_is_refused() -> None:
    model = tiny_model("llama")
    assert lacks(model) is None
    next(iter(model.parameters())).ds_id = 0  # type: ignore[attr-defined]  # as DeepSpeed marks it
    with pytest.raises(ValueError, match="ZeRO-3 has cut its weights"):
        base_from_model(model)
    with torch.device("meta"):
        hollow = torch.nn.Linear(2, 2)
    assert lacks(hollow) == "its weights are on the meta device"
