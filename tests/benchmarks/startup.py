"""F-1: how long `ppx --help` takes."""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
import sys
import sysconfig
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from tests.benchmarks.result import Result

ROUNDS = 15
SCRIPTS = Path(sysconfig.get_path("scripts"))


def run() -> Iterator[Result]:
    """Interleaved rounds; time of the processor, so that other work on the machine counts less."""
    commands: dict[str, Sequence[object]] = {
        "ppx": (SCRIPTS / "ppx", "--help"),
        "click": (sys.executable, "-c", "import click"),
    }
    best = _best(commands, ROUNDS)
    yield Result(
        id="F-1a",
        what="`ppx --help` / `python -c 'import click'`",
        value=best["ppx"][0] / best["click"][0],
        goal=2.5,
        better="less",
        note=f"best of {ROUNDS}, processor time",
    )
    yield Result(
        id="F-1b",
        what="`ppx --help`, processor time",
        value=best["ppx"][0],
        goal=0.15,
        stretch=0.1,
        better="less",
        unit="s",
        note=f"best of {ROUNDS}; {best['ppx'][1]:.2f} s on the clock",
    )
    if shutil.which("axolotl", path=str(SCRIPTS)):
        axolotl = _best({"axolotl": (SCRIPTS / "axolotl", "--help")}, 3)["axolotl"][0]
        yield Result(
            id="F-1c",
            what="`axolotl --help` / `ppx --help`",
            value=axolotl / best["ppx"][0],
            goal=10,
            note="processor time",
        )


def _best(commands: dict[str, Sequence[object]], rounds: int) -> dict[str, tuple[float, float]]:
    """Name -> least (processor seconds, wall seconds)."""
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in commands}
    for _ in range(rounds):
        for name, command in commands.items():
            found[name].append(_seconds(command))
    return {
        name: (min(cpu for cpu, _ in times), min(wall for _, wall in times))
        for name, times in found.items()
    }


def _seconds(command: Sequence[object]) -> tuple[float, float]:
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    environment = {**os.environ, "AXOLOTL_DO_NOT_TRACK": "1"}
    words = [str(word) for word in command]
    subprocess.run(words, check=True, capture_output=True, env=environment)
    wall, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return cpu, wall
