"""`ppx compare` in Axolotl, and the arms that are its own or need its trainer."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from ppx_ext import recipes
from ppx_ext.comparing import run
from tests.hosts import measured

pytestmark = pytest.mark.axolotl

Config = Callable[..., Path]
Train = Callable[[Path], SimpleNamespace]


def wanted(path: Path, out: Path, *arms: str) -> run.Wanted:
    return run.Wanted(recipe=recipes.load(path), out=out, arms=arms, seeds=(3,), sweep=False)


def test_two_arms_are_trained_and_measured(config: Config, tmp_path: Path) -> None:
    stage = measured.block(tmp_path / "tasks", harness=False)
    mask = {"use": "stm", "mask_fraction": 0.3}
    plugins = ["ppx_ext.hosts.axolotl.PpxPlugin"]
    path = config(ppx={"mask": mask, "eval": stage}, plugins=plugins, learning_rate=0.05)
    out = tmp_path / "compared"
    found = run.compare(wanted(path, out, "sft", "stm"))
    assert found["comparison"]["lacking"] == []
    sft, stm = (arm["runs"][0] for arm in found["study"]["arms"])
    assert (sft["seed"], sft["steps"], stm["steps"]) == (3, 3, 3)
    assert sft["tokens_masked"] == 0 < stm["tokens_masked"] <= 0.3
    assert 0 < stm["update_norm"] != sft["update_norm"] > 0
    said = [measured.responses(out / "runs" / name) for name in ("base", "sft-3", "stm-3")]
    assert said[0] != said[1] != said[2]
    assert not list(out.glob("runs/*/training-*"))


def test_eaft_is_its_own_and_dft_is_not(config: Config, tmp_path: Path) -> None:
    stage = measured.block(tmp_path / "tasks", harness=False)
    path = config(ppx={"eval": stage})
    (arm,) = wanted(path, tmp_path, "eaft").chosen()
    assert arm.settings["use_eaft"] is True
    with pytest.raises(ValueError, match="DFT is not in the host axolotl"):
        wanted(path, tmp_path, "dft").chosen()
    with pytest.raises(ValueError, match="'sft@nokey=3': nokey: Axolotl does not know this key"):
        run.check(wanted(path, tmp_path, "eaft", "sft@max_steps=2", "sft@nokey=3"))
    assert len(run.check(wanted(path, tmp_path, "eaft", "sft@max_steps=2"))) == 3


def losses(found: Any) -> list[float]:
    return [row["loss"] for row in found.trainer.state.log_history if "loss" in row]


@pytest.mark.parametrize("packed", [False, True])
def test_kl_holds_the_model_at_its_base(
    packed: bool, config: Config, train: Train, tmp_path: Path
) -> None:
    """The adapter begins at zero: the first loss is the plain one, later ones are not."""
    nothing = {"mask": {"use": "stm", "ppl_threshold": float("inf")}}
    more = {"sample_packing": packed, "learning_rate": 0.02, "output_dir": str(tmp_path / "a")}
    plain = train(config(ppx=nothing, **more))
    held = train(config(ppx={**nothing, "kl": {"beta": 2.0}}, **more))
    zero = train(config(ppx={**nothing, "kl": {"beta": 0.0}}, **more))
    assert losses(zero) == losses(plain)
    assert all(torch.equal(zero.weights[name], plain.weights[name]) for name in plain.weights)
    assert losses(held)[0] == pytest.approx(losses(plain)[0], rel=1e-5)
    assert losses(held)[1:] != losses(plain)[1:]
    moved = [
        sum(
            float(weight.square().sum()) for name, weight in one.weights.items() if "lora_B" in name
        )
        for one in (held, plain)
    ]
    assert moved[0] < moved[1]
