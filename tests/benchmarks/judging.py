"""J-1 and J-2: verdicts of the `code` judge on real answers; sessions kept, or opened anew."""

from __future__ import annotations

import json
import os
import shutil
import statistics
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from ppx_ext import Answer, Tools
from ppx_judges import sandbox
from ppx_judges.checks import checks_of
from ppx_judges.code import CODE, pooled
from ppx_judges.extract import program_of
from ppx_judges.job import Job
from ppx_judges.settings import CodeSettings
from tests.benchmarks.result import Result, as_json

CORES, ROUNDS, PROGRAMS = 2, 3, 96
SETTINGS = CodeSettings(sessions=CORES)


def run() -> Iterable[Result]:
    """Both goals; where there is no data or no sandbox it says so, and measures nothing."""
    named = os.environ.get("PPX_DATA")
    folder = Path(named) if named else Path(__file__).parents[2].parent / "shared" / "data"
    data = folder / "mbpp_llama3_samples_first8.jsonl"
    if not data.exists() or shutil.which("bwrap") is None:
        print("SKIPPED judging: no mbpp_llama3_samples_first8.jsonl, or no bwrap", file=sys.stderr)
        return []
    cores = sorted(os.sched_getaffinity(0))[:CORES]
    os.sched_setaffinity(0, cores)
    text = data.read_text(encoding="utf-8")
    answers = _distinct([json.loads(line) for line in text.splitlines()])[:PROGRAMS]
    rates, ratios = [], []
    with (
        CODE.open(SETTINGS, Tools(token_scores=_none)) as judge,
        sandbox.harness() as harness,
        pooled(
            SETTINGS, lambda: sandbox.local(SETTINGS, harness, SETTINGS.packages, once=True)
        ) as fresh,
    ):
        jobs = [
            Job(
                program=program_of(each.response),
                checks=checks_of(each.row, None, None),
                settings=SETTINGS,
                packages=SETTINGS.packages,
            )
            for each in answers
        ]
        judge(answers[:8])
        for _ in range(ROUNDS):
            ours = _seconds(lambda: judge(answers))
            theirs = _seconds(lambda: fresh(jobs))
            rates.append(len(answers) / ours)
            ratios.append(theirs / ours)
    note = f"{len(answers)} programs on {len(cores)} cores, load {os.getloadavg()[0]:.1f}"
    return [
        Result(
            id="J-1",
            what="code judge: verdicts a second, all programs distinct",
            value=statistics.median(rates),
            goal=15,
            unit="/s",
            note=f"{note}; rounds {min(rates):.1f}-{max(rates):.1f}",
        ),
        Result(
            id="J-2",
            what="code judge: sessions that stay / a fresh session for each program",
            value=statistics.median(ratios),
            goal=1.5,
            note=f"{note}; rounds {min(ratios):.2f}-{max(ratios):.2f}",
        ),
    ]


def _none(*asked: Any) -> Any:
    raise AssertionError("the code judge asks for no scores")


def _distinct(rows: list[dict[str, Any]]) -> list[Answer]:
    found = {
        (row["task_id"], each["text"]): Answer(row=row, response=each["text"])
        for at in range(32)
        for row in rows
        for each in row["samples"][at : at + 1]
        if each["text"].startswith("```python")
    }
    return list(found.values())


def _seconds(work: Callable[[], Any]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


if __name__ == "__main__":
    print(as_json(run()))
