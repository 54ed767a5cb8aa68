"""What a benchmark hands over: one measured number with its goal.

A module of benchmarks has one function, ``run() -> Iterable[Result]``; `python -m tests.benchmarks`
finds it, runs it in a process of its own, and prints all results as one table.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class Result:
    """A measured number.

    Attributes:
        id: of the goal, for instance ``F-1``.
        what: what was compared with what, in words.
        value: as measured, in ``unit``.
        goal: what it must reach; ``stretch`` is what we want.
        better: whether ``more`` or ``less`` is better.
        unit: ``x`` for a ratio within one run.
        note: what a reader must know: sizes, noise, what was skipped.
    """

    id: str
    what: str
    value: float
    goal: float
    stretch: float | None = None
    better: Literal["more", "less"] = "more"
    unit: str = "x"
    note: str = ""

    def reaches(self, line: float | None) -> bool:
        """Whether the value is on the good side of ``line``."""
        if line is None:
            return False
        return self.value >= line if self.better == "more" else self.value <= line

    @property
    def mark(self) -> str:
        """``stretch``, ``goal`` or ``MISSED``."""
        if self.reaches(self.stretch):
            return "stretch"
        return "goal" if self.reaches(self.goal) else "MISSED"


def names() -> list[str]:
    """All modules here that have a ``run``."""
    folder = Path(__file__).parent
    files = sorted(folder.glob("*.py"))
    return [file.stem for file in files if "\ndef run(" in file.read_text(encoding="utf-8")]


def measure(name: str) -> list[Result]:
    """Run one module in a process of its own, on one thread.

    Raises:
        RuntimeError: it failed; its own messages were printed.
    """
    code = (
        "import json, importlib, dataclasses; "
        f"found = importlib.import_module('tests.benchmarks.{name}').run(); "
        "print('\\nRESULTS ' + json.dumps([dataclasses.asdict(each) for each in found]))"
    )
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, env=environment
    )
    if done.returncode:
        raise RuntimeError(f"benchmark {name} failed (exit code {done.returncode})\n{done.stdout}")
    last = done.stdout.rpartition("RESULTS ")[2]
    return [Result(**fields) for fields in json.loads(last)]


def as_json(results: Iterable[Result]) -> str:
    """Results with their marks, indented."""
    return json.dumps([{**asdict(each), "mark": each.mark} for each in results], indent=2)
