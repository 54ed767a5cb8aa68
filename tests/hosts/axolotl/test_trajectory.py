"""A mask that takes nothing out changes nothing; loss normalisation and seeds are as told."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from tests.hosts.axolotl.conftest import Oracle

pytestmark = pytest.mark.axolotl

Config = Callable[..., Path]
Train = Callable[[Path], SimpleNamespace]
NOTHING = {"mask": {"use": "stm", "ppl_threshold": math.inf}}


@pytest.mark.parametrize(
    "changes",
    [
        {"val_set_size": 0.2, "eval_steps": 2},
        {"sample_packing": True, "adapter": None, "gradient_accumulation_steps": 1},
    ],
    ids=["lora", "full-packed"],
)
def test_infinite_threshold_gives_the_plain_trajectory(
    config: Config, train: Train, changes: dict[str, Any]
) -> None:
    plain = train(config(**changes))
    ours = train(config(ppx=NOTHING, **changes))
    for mine, theirs in ((ours.train, plain.train), (ours.evaluation, plain.evaluation)):
        assert [e["input_ids"] for e in mine] == [e["input_ids"] for e in theirs]
        assert [e["labels"] for e in mine] == [e["labels"] for e in theirs]
        assert [e["loss"] for e in mine] == [e["loss"] for e in theirs]
    assert plain.weights
    assert ours.weights.keys() == plain.weights.keys()
    for name, weight in plain.weights.items():
        assert torch.equal(ours.weights[name], weight), name


def test_state_file_and_token_level_loss(
    config: Config, train: Train, oracles: Callable[[str], Oracle]
) -> None:
    threshold = oracles("llama").threshold()
    mask = {"use": "stm", "ppl_threshold": threshold}
    found = train(config(ppx={"mask": mask, "token_level_loss": True}))
    for step in range(3):
        entries = found.train[2 * step : 2 * step + 2]
        kept = sum(label != -100 for e in entries for row in e["labels"] for label in row[1:])
        assert {float(entry["count"]) for entry in entries} == {kept}
    state = json.loads((found.out / "ppx_state.json").read_text())
    assert state["host"] == "axolotl"
    assert state["plan"]["mask"]["ppl_threshold"] == threshold
    assert state["versions"]["axolotl"]
    assert state["loss"]["asked"] is True
    assert state["loss"]["used"] == "mean over the tokens of a step"
    assert state["seed"]["seed"] == 42
    masked = state["data"]["targets"] - state["data"]["targets_kept"]
    assert state["records"][0]["numbers"]["masked"] == masked > 0


def test_host_keeps_its_own_loss_and_the_suite_runs_before_and_after(
    config: Config, train: Train, tmp_path: Path
) -> None:
    tasks = tmp_path / "task.jsonl"
    tasks.write_text('{"prompt": "How many?", "answer": "42"}\n' * 3)
    suite = {"use": "tasks", "max_new_tokens": 4, "tasks": {"sums": {"path": str(tasks)}}}
    found = train(config(ppx={**NOTHING, "eval": suite}, max_steps=1))
    state = json.loads((found.out / "ppx_state.json").read_text())
    assert state["loss"]["asked"] is None
    assert state["loss"]["used"] == state["loss"]["host"]
    counted = {entry["count"] is not None for entry in found.train}
    assert counted == {state["loss"]["host"] == "mean over the tokens of a step"}
    evaluations = json.loads((found.out / "ppx_eval.json").read_text())["evaluations"]
    assert [record["when"] for record in evaluations] == ["before", "after"]
    assert all(len(record["scores"][0]["correct"]) == 3 for record in evaluations)


def test_suite_without_a_mask_leaves_the_data_to_axolotl(
    config: Config, train: Train, tmp_path: Path
) -> None:
    tasks = tmp_path / "task.jsonl"
    tasks.write_text('{"prompt": "How many?", "answer": "42"}\n')
    suite = {"use": "tasks", "max_new_tokens": 2, "tasks": {"sums": {"path": str(tasks)}}}
    found = train(config(ppx={"eval": suite}, max_steps=1))
    assert (found.out / "ppx_eval.json").is_file()
    state = json.loads((found.out / "ppx_state.json").read_text())
    assert state["records"] == []
    assert "mask" not in state["plan"]


def test_evaluation_split_reaches_the_loss_unmasked(
    config: Config, train: Train, oracles: Callable[[str], Oracle]
) -> None:
    from tests.hosts.axolotl.conftest import documents

    oracle = oracles("llama")
    block = {"mask": {"use": "stm", "ppl_threshold": oracle.threshold(), "apply": "online"}}
    found = train(config(ppx=block, val_set_size=6, eval_steps=3))
    seen = [pair for entry in found.evaluation for pair in documents(entry)]
    assert len(seen) >= 6
    assert all(labels == oracle.plain[ids] for ids, labels in seen)
