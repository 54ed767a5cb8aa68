"""Two processes (gloo): they share the scoring, the mask, the divisor and the weights."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.hosts.trl.lab import Lab, shape_of, targets
from tests.hosts.trl.test_recipe import write
from tests.processes import launch


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Any]]:
    folder = tmp_path_factory.mktemp("ranks")
    launch("tests.hosts.trl.worker", folder)
    return {
        way: [json.loads((folder / f"{way}-{rank}.json").read_text()) for rank in (0, 1)]
        for way in ("baked", "collator", "online")
    }


def seen(run: dict[str, Any]) -> list[Any]:
    return [(tuple(ids), tuple(labels)) for ids, labels in run["documents"]]


@pytest.mark.slow
@pytest.mark.parametrize("way", ["baked", "collator", "online"])
def test_every_document_once_with_its_mask(way: str, runs: dict[str, list[Any]]) -> None:
    lab = Lab()
    found = Counter(doc for run in runs[way] for doc in seen(run))
    assert found == Counter(shape_of(doc.ids, doc.labels) for doc in lab.docs)


@pytest.mark.slow
@pytest.mark.parametrize("way", ["baked", "collator", "online"])
def test_the_divisor_is_that_of_both(way: str, runs: dict[str, list[Any]]) -> None:
    one, other = runs[way]
    assert one["counts"] == other["counts"]
    kept = sum(targets(labels) for run in runs[way] for _, labels in seen(run))
    # Two batches of each process make a step; the last step may have fewer.
    steps = [one["counts"][0], *one["counts"][2::2]]
    assert sum(steps) == kept


@pytest.mark.slow
@pytest.mark.parametrize("way", ["baked", "collator", "online"])
def test_weights_stay_equal(way: str, runs: dict[str, list[Any]]) -> None:
    one, other = runs[way]
    assert one["weights"] == other["weights"]
    assert one["losses"] == runs["baked"][0]["losses"]


@pytest.mark.slow
def test_the_command_on_two_processes(tmp_path: Path) -> None:
    lab = Lab()
    base = lab.saved(tmp_path / "base")
    recipe = write(tmp_path, lab, base, per_device_train_batch_size=2, save_strategy="epoch")
    assert launch("ppx_ext", "train", recipe, cwd=tmp_path).count("ppx: mask") == 1
    (state,) = (tmp_path / "out").glob("checkpoint-*/trainer_state.json")
    assert json.loads(state.read_text())["global_step"] == -(-len(lab.rows) // 4)


@pytest.mark.slow
def test_no_row_is_scored_twice(runs: dict[str, list[Any]]) -> None:
    rows = len(Lab().rows)
    assert sum(run["scored"] for run in runs["baked"]) == rows
    assert sum(run["scored"] for run in runs["online"]) == rows
