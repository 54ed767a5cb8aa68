"""The `eval:` stage in Axolotl: measured on the live model; the training learns nothing of it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from ppx_ext.plan import PlanError
from tests.hosts import measured
from tests.hosts.axolotl.conftest import SPY

pytestmark = pytest.mark.axolotl

Config = Callable[..., Path]
Train = Callable[[Path], SimpleNamespace]


def rows(trainer: Any) -> list[dict[str, Any]]:
    """The rows of the log that tell of training."""
    found = [row for row in trainer.state.log_history if "loss" in row]
    return [{k: row[k] for k in ("loss", "grad_norm", "learning_rate", "step")} for row in found]


@pytest.mark.parametrize(
    "changes",
    [
        {"sample_packing": True, "lora_dropout": 0.3, "max_steps": 4, "logging_steps": 2},
        {
            "adapter": None,
            "max_steps": 3,
            "gradient_checkpointing": True,
            "learning_rate": 0.02,
        },
    ],
    ids=["lora-packed", "full"],
)
def test_the_trajectory_is_the_same(
    changes: dict[str, Any], config: Config, train: Train, tmp_path: Path
) -> None:
    """There is no evaluation split: Axolotl itself evaluates nothing."""
    nothing = {"mask": {"use": "stm", "ppl_threshold": float("inf")}}
    packed = "sample_packing" in changes
    stage = measured.block(tmp_path / "tasks", harness=packed, every=1)
    plain = train(config(ppx=nothing, output_dir=str(tmp_path / "a"), **changes))
    plain_rows = rows(plain.trainer)
    run = train(config(ppx={**nothing, "eval": stage}, **changes))
    assert plain_rows == rows(run.trainer)
    assert [e["input_ids"] for e in plain.train] == [e["input_ids"] for e in run.train]
    assert [e["loss"] for e in plain.train] == [e["loss"] for e in run.train]
    assert plain.weights.keys() == run.weights.keys()
    assert all(torch.equal(run.weights[name], value) for name, value in plain.weights.items())
    last = changes["max_steps"]
    during = [("during", step) for step in range(1, last)]
    assert measured.times(run.out) == [("before", 0), *during, ("after", last)]
    said = measured.responses(run.out)
    assert said[0] != said[-1]
    logged = [row for row in run.trainer.state.log_history if "eval_own_accuracy" in row]
    assert [row["step"] for row in logged] == list(range(last + 1))
    assert ("eval_local_gsm8k_flexible" in logged[0]) == packed


def test_a_rude_suite_leaves_nothing_behind(config: Config, train: Train, tmp_path: Path) -> None:
    rude = "tests.hosts.axolotl.rude_plugin.RudePlugin"
    changes = {"sample_packing": True, "lora_dropout": 0.3, "max_steps": 3}
    plain = train(config(output_dir=str(tmp_path / "a"), **changes))
    plain_rows = rows(plain.trainer)
    run = train(config(plugins=[SPY, rude], **changes))
    assert plain_rows == rows(run.trainer)
    assert [e["input_ids"] for e in plain.train] == [e["input_ids"] for e in run.train]
    assert all(torch.equal(run.weights[name], value) for name, value in plain.weights.items())
    assert len(measured.times(run.out)) == 4


def test_the_saved_adapter_is_the_best(
    config: Config, train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The choice is made up: the second evaluation is best, and must be what Axolotl saves."""
    from ppx_ext import gates

    def second(before: Any, found: Any, gate: Any, names: Any = ()) -> gates.Best:
        told = [str(name) for name in names]
        at = told.index("step 2") if "step 2" in told else len(told) - 1
        return gates.Best(at=at, target=(0.0,) * len(told), checked=(None,) * len(told), words="")

    monkeypatch.setattr(gates, "best", second)
    stage = measured.block(tmp_path / "tasks", harness=False, every=1, keep="best")
    changes = {"save_strategy": "steps", "save_steps": 1, "max_steps": 4, "num_epochs": 2}
    run = train(config(ppx={"eval": stage}, **changes))
    saved = load_file(run.out / "adapter_model.safetensors")
    second_step = load_file(run.out / "checkpoint-2" / "adapter_model.safetensors")
    last_step = load_file(run.out / "checkpoint-4" / "adapter_model.safetensors")
    assert saved.keys() == second_step.keys()
    assert all(torch.equal(saved[name], value) for name, value in second_step.items())
    assert not all(torch.equal(saved[name], value) for name, value in last_step.items())
    assert measured.times(run.out)[-2:] == [("during", 4), ("after", 2)]


def test_a_suite_that_cannot_be_stops_before_the_data(
    config: Config, train: Train, tmp_path: Path
) -> None:
    stage = {"use": "tasks", "tasks": {"t": {"path": str(tmp_path / "nothing.jsonl")}}}
    with pytest.raises(PlanError, match=r"nothing\.jsonl"):
        train(config(ppx={"eval": stage}))
