"""ZeRO-3 in Axolotl for real: DeepSpeed itself trains over gloo, its weights are measured apart."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoModelForCausalLM

from tests.hosts import measured, zero3
from tests.hosts.trl.lab import Lab
from tests.hosts.trl.test_eval_processes import check

pytestmark = [pytest.mark.axolotl, pytest.mark.slow, zero3.needs_deepspeed]


def test_scores_are_those_of_one_process(
    config: Callable[..., Path], world: Any, tmp_path: Path
) -> None:
    """In bfloat16, all weights; the rows are scored by both processes, which are to train."""
    stage = measured.block(tmp_path / "tasks", harness=False)
    block = {"mask": {"use": "stm", "ppl_threshold": 500}, "cache_dir": str(tmp_path / "scores")}
    path = config(
        ppx={**block, "eval": stage},
        adapter=None,
        bf16=True,
        max_steps=2,
        learning_rate=0.05,
        deepspeed={**zero3.settings(), "bf16": {"enabled": True}},
        plugins=["ppx_ext.hosts.axolotl.PpxPlugin"],
    )
    zero3.launch("tests.hosts.axolotl.zero3_worker", path)
    out = tmp_path / "out"
    (record,) = json.loads((out / "ppx_state.json").read_text())["records"]
    assert 0 < record["numbers"]["masked"] < record["numbers"]["targets"]
    assert measured.times(out) == [("before", 0), ("after", 2)]
    begun, trained = (
        AutoModelForCausalLM.from_pretrained(one, dtype="bfloat16").eval()
        for one in (world.root / "llama", out)
    )
    check(tmp_path / "tasks", out, Lab(), trained, base=begun, harness=False)
