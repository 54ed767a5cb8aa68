"""M-1, M-2: verdicts of `math` a second, on real answers and on expressions that need a process."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from tests.benchmarks.result import Result, as_json

ROUNDS = 3
EXPRESSIONS = 1000


def answers_of(path: Path) -> list[Any]:
    """Four models' answers to each question, with its gold."""
    from ppx_ext import Answer

    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    return [
        Answer(row={"gold": row["gold"]}, response=one["text"])
        for row in rows
        for one in row["solutions"]
    ]


def expressions() -> list[Any]:
    """Pairs of equal expressions that no arithmetic on numbers decides, each another."""
    from ppx_ext import Answer

    return [
        Answer(
            row={"gold": rf"\frac{{{n}\sqrt{{3}}}}{{2}}"},
            response=rf"It is \boxed{{\frac{{\sqrt{{3}} \cdot {n}}}{{2}}}}.",
        )
        for n in range(3, 3 + EXPRESSIONS)
    ]


def rate(judge_all: Any, answers: Sequence[Any]) -> float:
    """Verdicts a second, the best of some rounds."""
    rates = []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        verdicts = judge_all(answers)
        rates.append(len(answers) / (time.perf_counter() - began))
        assert len(verdicts) == len(answers)
    return max(rates)


def run() -> Iterable[Result]:
    """Both rates on two processes, whatever the machine has."""
    from ppx_ext import Tools
    from ppx_judges.maths import MATH, MathSettings

    folder = Path(os.environ.get("PPX_DATA") or Path(__file__).parents[3] / "shared" / "data")
    path = folder / "gsm8k_model_solutions_first100.jsonl"

    def none(*asked: Any) -> Any:
        raise AssertionError("math reads no scores")

    with MATH.open(MathSettings(processes=2), Tools(token_scores=none)) as judge_all:
        if path.is_file():
            answers = answers_of(path)
            yield Result(
                id="M-1",
                what="math: GSM8K answers, decided as numbers",
                value=rate(judge_all, answers),
                goal=1000,
                unit="verdicts/s",
                note=f"{len(answers)} answers of four models, one thread",
            )
        yield Result(
            id="M-2",
            what="math: expressions, by math-verify in 2 processes",
            value=rate(judge_all, expressions()),
            goal=15,
            unit="verdicts/s",
            note=f"{EXPRESSIONS} different pairs; a time limit for each",
        )


if __name__ == "__main__":
    print(as_json(run()))
