"""The samplers in loops of one's own, killed in mid-epoch: the same rows as without."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import numpy as np
import pytest

from ppx_ext.selecting import OrderedSampler, ShuffledSampler
from tests.processes import launch, start

WORKER = "tests.core.selecting_worker"
WAYS = ["own", "own order", "loaded", "skipped"]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[list[Any]]]:
    """Of each way, the two processes' steps: without a kill, and with one."""
    whole, killed = (tmp_path_factory.mktemp(name) for name in ("whole", "killed"))
    launch(WORKER, whole, 0)
    assert start(WORKER, killed, 8).returncode != 0
    for way in WAYS:
        left = json.loads((killed / f"{way}-0.json").read_text())
        assert left["state"]["epoch"] == left["seen"][-1][0] == 1
    launch(WORKER, killed, 0)
    return {
        way: [
            [json.loads((folder / f"{way}-{rank}.json").read_text())["seen"] for rank in (0, 1)]
            for folder in (whole, killed)
        ]
        for way in WAYS
    }


@pytest.mark.slow
@pytest.mark.parametrize("way", WAYS)
def test_a_killed_run_trains_on_the_rows_of_one_that_was_not(
    way: str, runs: dict[str, list[list[Any]]]
) -> None:
    whole, killed = runs[way]
    assert killed == whole


@pytest.mark.slow
@pytest.mark.parametrize("way", WAYS)
def test_all_processes_together_train_on_each_row(
    way: str, runs: dict[str, list[list[Any]]]
) -> None:
    for epoch in range(3):
        found = Counter(
            row for steps in runs[way][0] for at, rows in steps if at == epoch for row in rows
        )
        if way.startswith("loaded"):  # drop_last: 12 batches of 8 for each of 2 processes
            assert len(found) == found.total() == 192
        else:  # what does not part evenly is filled up, with rows that are there
            assert sorted(found) == list(range(203))
            assert found.total() == (204 if way.startswith("own") else 208)
    epochs = [[rows for at, rows in runs[way][0][0] if at == epoch] for epoch in range(3)]
    assert epochs[0] != epochs[1] != epochs[2]


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("kind", ["shuffled", "ordered"])
@pytest.mark.parametrize("stop", [1, 5, 13])
def test_a_stateful_loader_keeps_count_itself(workers: int, kind: str, stop: int) -> None:
    """Its state alone is saved; the sampler's is in it."""
    loaders = pytest.importorskip("torchdata.stateful_dataloader", reason="torchdata is not there")

    def made() -> tuple[Any, Any]:
        order = np.random.default_rng(0).permutation(103)
        sampler = ShuffledSampler(103) if kind == "shuffled" else OrderedSampler(order)
        loader = loaders.StatefulDataLoader(
            range(103), batch_size=8, sampler=sampler, num_workers=workers
        )
        return sampler, loader

    sampler, loader = made()
    sampler.set_epoch(1)
    whole = [batch.tolist() for batch in loader]
    steps = []
    for batch in loader:
        steps.append(batch.tolist())
        if len(steps) == stop:
            state = json.loads(json.dumps(loader.state_dict(), default=str))
            break
    sampler, loader = made()
    loader.load_state_dict(state)
    rest = [batch.tolist() for batch in loader]
    assert steps + (rest if stop < 13 else []) == whole
    if stop == 13:  # the epoch was over: the next one is up
        assert sampler.epoch == 2
        assert sum(map(len, rest)) == 103
