"""Processes that end right after an exchange; says how many of them did not end well.

`python -m tests.core.exchange_worker FOLDER ROUNDS`
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from torch import distributed

from ppx_ext.evaluating.processes import Team


def exchange(place: Path, rank: int) -> None:
    """Exchange in a group of two, and leave it."""
    # A thread of gloo that waits for the interpreter gets it late, as on a machine that is busy.
    sys.setswitchinterval(100)
    distributed.init_process_group("gloo", init_method=f"file://{place}", rank=rank, world_size=2)
    team = Team()
    for _ in range(3):
        assert team.together(lambda gather: gather(rank)) == [0, 1]
    team.close()
    sys.exit()


def main(folder: Path, rounds: int) -> None:
    """Fork two processes so many times."""
    failed = 0
    for turn in range(rounds):
        children = []
        for rank in (0, 1):
            if (child := os.fork()) == 0:
                exchange(folder / f"meeting-{turn}", rank)
            children.append(child)
        failed += sum(os.waitpid(child, 0)[1] != 0 for child in children)
    print(f"failed: {failed}")


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
