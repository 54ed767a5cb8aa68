"""`ppx eval` on what a training run saved gives, item by item, what the run measured itself."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from ppx_ext.cli import main
from ppx_ext.evaluating.store import read_evaluations, read_items
from ppx_ext.hosts import trl
from tests.hosts import measured
from tests.hosts.trl.lab import Lab
from tests.hosts.trl.test_recipe import PEFT, write


@pytest.mark.parametrize("adapter", [True, False], ids=["LoRA", "full"])
def test_item_by_item(adapter: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    lab = Lab()
    lab.model().save_pretrained(tmp_path / "base")
    lab.tokenizer.save_pretrained(tmp_path / "base")
    stage = measured.block(tmp_path / "tasks", harness=adapter, every=2, gate={"max_drop": 100})
    texts = "".join(
        json.dumps({"text": row["completion"][0]["content"]}) + "\n" for row in lab.rows
    )
    (tmp_path / "wiki.jsonl").write_text(texts)
    held_out = {"use": "perplexity", "tasks": {"wiki": {"path": str(tmp_path / "wiki.jsonl")}}}
    stage["suites"].append(held_out)
    recipe = write(
        tmp_path, lab, tmp_path / "base", ppx={**lab.block(tmp_path), "eval": stage}, max_steps=4,
        save_strategy="steps", save_steps=2, learning_rate=1e-2, **(PEFT if adapter else {}),
    )  # fmt: skip
    trl.train(recipe)
    own = records(Path("out"))
    assert list(own) == [("before", 0), ("during", 2), ("after", 4)]

    args = ["eval", "out/checkpoint-2", "out", "--recipe", str(recipe), "--out", "again", "--gate"]
    result = CliRunner().invoke(main, [*args, "--json"])
    assert result.exit_code == 0, result.output
    again = records(Path("again"))
    assert list(again) == [("before", 0), ("after", 2), ("after", 4)]
    for mine, theirs in zip(own.values(), again.values(), strict=True):
        assert len(mine) == len(theirs)
        for one, other in zip(mine, theirs, strict=True):
            nll = one.pop("nll"), other.pop("nll")
            assert one == other
            assert nll[0] == (None if nll[1] is None else pytest.approx(nll[1], rel=1e-5))
    said = [[row["response"] for row in found] for found in own.values()]
    assert said[0] != said[2]  # the training changed what is compared
    found = json.loads(result.stdout)
    assert found["models"][1]["name"] == "out"
    assert found["comparisons"][1]["texts"][0]["task"] == "wiki"
    drops = [record["gate"]["drops"][0]["drop"] for record in evaluations(Path("out"))[1:]]
    assert [one["drops"][0]["drop"] for one in found["gate"]] == pytest.approx(drops)


def evaluations(folder: Path) -> list[Any]:
    """Records in the order of training."""
    return sorted(read_evaluations(folder)["evaluations"], key=lambda one: one["step"])


def records(folder: Path) -> dict[tuple[str, int], list[dict[str, Any]]]:
    """The items of every evaluation."""
    return {
        (one["when"], one["step"]): read_items(folder / one["items"]) for one in evaluations(folder)
    }
