"""`python -m tests.core.prepare_slowly OUT LOG SECONDS PROCESSES SHARDS`: prepare slowly.

Every row that is scored leaves a line in LOG, however the process ends. A process that has scored
its first shard goes on when so many PROCESSES have, so that none finds all the work done. None
scores where so many SHARDS are written; 0 is no limit.
"""

from __future__ import annotations

import dataclasses
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ppx_ext import pipeline
from ppx_ext.contracts import Example, Tools
from tests.core import fakes

ROWS = 12


def main(out: Path, log: Path, seconds: float, processes: int, shards: int) -> None:
    def score(settings: Any, examples: Sequence[Example], tools: Tools) -> list[Any]:
        time.sleep(seconds)
        while shards and len(list(out.glob("scores/*/*.arrow"))) >= shards:
            time.sleep(0.02)
        with log.open("a") as file:
            for example in examples:
                file.write(f"{example.row} {os.getpid()}\n")
        while len(workers(log)) < processes:
            time.sleep(0.02)
        return fakes.mod_score(settings, examples, tools)

    found = fakes.method(scorers=[dataclasses.replace(fakes.MOD, score=score)])
    pipeline.prepare(fakes.tokenized(fakes.dataset(ROWS), found, shard_rows=2), out)


def workers(log: Path) -> set[str]:
    """The processes that scored."""
    return {line.split()[1] for line in log.read_text().splitlines()}


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), float(sys.argv[3]), *map(int, sys.argv[4:6]))
