"""A training loop of one's own, in two processes: what it trained on, and its checkpoints.

`python -m torch.distributed.run ... -m tests.core.selecting_worker FOLDER STEPS`: goes on from the
checkpoints in FOLDER, and is killed in epoch 1 after STEPS steps where STEPS is not 0.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from torch.utils.data import DataLoader

from ppx_ext.selecting import OrderedSampler, ShuffledSampler
from tests.processes import leave

ROWS, BATCH, EPOCHS, EVERY = 203, 8, 3, 3
DATA: Any = range(ROWS)
RANK, WORLD = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])

Steps = Iterator[tuple[int, list[int], dict[str, int]]]


def orders() -> list[Any]:
    return [np.random.default_rng(seed).permutation(ROWS) for seed in range(EPOCHS)]


def own(sampler: Any, state: dict[str, int], workers: int) -> Steps:
    """No library; the sampler knows its process."""
    loader = DataLoader(DATA, batch_size=BATCH, sampler=sampler, num_workers=workers)
    if state:
        sampler.load_state_dict(state)
    for epoch in range(sampler.epoch, EPOCHS):
        sampler.set_epoch(epoch)
        done = sampler.position
        for batch in loader:
            done += len(batch)
            yield epoch, batch.tolist(), sampler.state_dict(position=done)


def loaded(sampler: Any, state: dict[str, int], workers: int) -> Steps:
    """accelerate; the sampler goes on, and has all processes' rows."""
    from accelerate import Accelerator

    raw: Any = DataLoader(
        DATA, batch_size=BATCH, sampler=sampler, num_workers=workers, drop_last=True
    )
    loader = Accelerator(cpu=True).prepare(raw)
    if state:
        sampler.load_state_dict(state)
    for epoch in range(sampler.epoch, EPOCHS):
        loader.set_epoch(epoch)
        done = sampler.position
        for batch in loader:
            done += BATCH * WORLD
            yield epoch, batch.tolist(), sampler.state_dict(position=done)


def skipped(sampler: Any, state: dict[str, int]) -> Steps:
    """accelerate; its own `skip_first_batches`."""
    from accelerate import Accelerator

    accelerator = Accelerator(cpu=True)
    loader = accelerator.prepare(DataLoader(DATA, batch_size=BATCH, sampler=sampler))
    first, done = state.get("epoch", 0), state.get("steps", 0)
    for epoch in range(first, EPOCHS):
        rest = accelerator.skip_first_batches(loader, done) if done else loader
        for each in (loader, rest):
            each.set_epoch(epoch)
        for batch in rest:
            done += 1
            yield epoch, batch.tolist(), {"epoch": epoch, "steps": done}
        done = 0


WAYS: dict[str, Callable[[dict[str, int]], Steps]] = {
    "own": lambda state: own(ShuffledSampler(ROWS, seed=1, rank=RANK, world=WORLD), state, 2),
    "own order": lambda state: own(OrderedSampler(*orders(), rank=RANK, world=WORLD), state, 0),
    "loaded": lambda state: loaded(ShuffledSampler(ROWS, seed=1), state, 2),
    "skipped": lambda state: skipped(OrderedSampler(*orders()), state),
}


def train(folder: Path, way: str, steps: int) -> None:
    """Rows of each step go to a file that ends at the last checkpoint."""
    place = folder / f"{way}-{RANK}.json"
    kept = json.loads(place.read_text()) if place.exists() else {"state": {}, "seen": []}
    seen, in_epoch = kept["seen"], 0
    for at, (epoch, rows, state) in enumerate(WAYS[way](kept["state"]), 1):
        seen.append((epoch, rows))
        in_epoch += epoch == 1
        if at % EVERY == 0:
            place.write_text(json.dumps({"state": state, "seen": seen}))
        if steps and in_epoch == steps:
            return
    place.write_text(json.dumps({"state": {}, "seen": seen}))


def main() -> None:
    folder, steps = Path(sys.argv[1]), int(sys.argv[2])
    for way in WAYS:
        train(folder, way, steps)
    if steps:
        # The first to die takes the other with it, which must have come as far.
        (folder / f"reached-{RANK}").touch()
        while not all((folder / f"reached-{rank}").exists() for rank in range(WORLD)):
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    main()
    leave()
