"""When the two files of a pair train the same, and what is said where they do not."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from ppx_ext import recipes
from ppx_ext.proving import agree

NAME = "stm/gemma-2-2b-it/mbpp"
CHANGES: dict[str, Any] = {
    "model_name_or_path": "other",
    "dataset_name": "data/other",
    "use_peft": False,
    "use_dora": False,
    "load_in_4bit": True,
    "lora_r": 8,
    "lora_alpha": 8,
    "lora_dropout": 0.1,
    "lora_target_modules": ["q_proj"],
    "learning_rate": 1e-4,
    "num_train_epochs": 1,
    "max_steps": 9,
    "per_device_train_batch_size": 3,
    "gradient_accumulation_steps": 3,
    "max_length": 99,
    "packing": True,
    "lr_scheduler_type": "linear",
    "warmup_steps": 0.1,
    "weight_decay": 0.1,
    "optim": "sgd",
    "bf16": False,
    "attn_implementation": "sdpa",
    "seed": 1,
    "ppx": {"mask": {"use": "stm"}},
}


def pair() -> tuple[dict[str, Any], dict[str, Any]]:
    trl, axolotl = (dict(recipes.load(f"{NAME}.{host}").settings) for host in ("trl", "axolotl"))
    return trl, axolotl


def test_a_shipped_pair_agrees() -> None:
    assert list(agree.disagreements(*pair())) == []


@pytest.mark.parametrize("key", CHANGES)
def test_each_difference_is_told_under_its_key(key: str) -> None:
    trl, axolotl = pair()
    found = list(agree.disagreements({**trl, key: CHANGES[key]}, axolotl))
    assert found
    assert any(key in one.where for one in found) or key in ("use_dora", "load_in_4bit")
    assert all("differ" in one.message for one in found)


def test_one_batch_may_be_accumulated_in_another_way() -> None:
    trl, axolotl = pair()
    trl |= {"per_device_train_batch_size": 2, "gradient_accumulation_steps": 4}
    axolotl |= {"micro_batch_size": 8, "gradient_accumulation_steps": 1}
    assert list(agree.disagreements(trl, axolotl)) == []


def test_numbers_are_the_same_however_they_are_written() -> None:
    trl, axolotl = pair()
    assert list(agree.disagreements({**trl, "learning_rate": "2e-5"}, axolotl)) == []


def test_a_warm_up_that_only_axolotl_would_add_is_a_difference() -> None:
    trl, axolotl = pair()
    for settings in (trl, axolotl):
        del settings["warmup_steps"]
    (found,) = agree.disagreements(trl, axolotl)
    assert "Axolotl's own default" in found.message


def test_defaults_are_those_of_trl() -> None:
    from trl import ModelConfig

    from ppx_ext.hosts.trl_config import PpxSFTConfig

    own = {f.name: f.default for kind in (PpxSFTConfig, ModelConfig) for f in fields(kind)}
    assert own["max_length"] == 1024
    assert own["packing"] is False
    assert own["learning_rate"] == 2e-5
    assert own["num_train_epochs"] == 3.0
    assert own["per_device_train_batch_size"] == 8
    assert own["gradient_accumulation_steps"] == 1
    assert own["lr_scheduler_type"] == "linear"
    assert own["weight_decay"] == 0.0
    assert own["seed"] == 42
    assert (own["lora_r"], own["lora_alpha"], own["lora_dropout"]) == (16, 32, 0.05)


@pytest.mark.axolotl
def test_defaults_are_those_of_axolotl() -> None:
    from axolotl.utils.schemas.config import AxolotlInputConfig

    own = {name: field.default for name, field in AxolotlInputConfig.model_fields.items()}
    assert own["sequence_len"] == 512
    assert own["num_epochs"] == 1.0
    assert own["micro_batch_size"] == 1
    assert own["gradient_accumulation_steps"] == 1
    assert own["lr_scheduler"] == "cosine"
    assert own["weight_decay"] in (0.0, None)
    assert own["lora_dropout"] in (0.0, None)


def fields(kind: Any) -> tuple[dataclasses.Field[Any], ...]:
    return dataclasses.fields(kind)
