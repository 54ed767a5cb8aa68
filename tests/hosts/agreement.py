"""`ppx eval` on what a run saved, against what the run measured itself, item by item."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from ppx_ext.cli import main
from ppx_ext.evaluating.store import read_evaluations, read_items


def agree(run: Path, checkpoints: list[Path], recipe: Path, out: Path) -> dict[str, Any]:
    """Measure a run's checkpoints, in the order of its evaluations, and compare every item.

    Returns:
        What ``--json`` prints.
    """
    named = [str(checkpoint) for checkpoint in checkpoints]
    args = ["eval", *named, "--recipe", str(recipe), "--out", str(out), "--json", "--gate"]
    result = CliRunner().invoke(main, args)
    assert result.exit_code == 0, result.output
    own, again = records(run), records(out)
    assert [step for _, step in own] == [step for _, step in again]
    for mine, theirs in zip(own.values(), again.values(), strict=True):
        assert len(mine) == len(theirs) > 0
        for one, other in zip(mine, theirs, strict=True):
            nll = one.pop("nll"), other.pop("nll")
            assert one == other
            assert nll[0] == (None if nll[1] is None else pytest.approx(nll[1], rel=1e-5))
    said = [[row["response"] for row in found] for found in own.values()]
    assert said[0] != said[-1]  # the training changed what is compared
    found: dict[str, Any] = json.loads(result.stdout)
    drops = [record["gate"]["drops"][0]["drop"] for record in evaluations(run)[1:]]
    assert [one["drops"][0]["drop"] for one in found["gate"]] == pytest.approx(drops)
    return found


def evaluations(folder: Path) -> list[Any]:
    """Records in the order of training."""
    return sorted(read_evaluations(folder)["evaluations"], key=lambda one: one["step"])


def records(folder: Path) -> dict[tuple[str, int], list[dict[str, Any]]]:
    """The items of every evaluation."""
    return {
        (one["when"], one["step"]): read_items(folder / one["items"]) for one in evaluations(folder)
    }
