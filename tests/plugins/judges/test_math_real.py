"""The judge of mathematics on real labelled answers, and on numbers of all kinds."""

from __future__ import annotations

import json
from collections.abc import Iterator
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ppx_ext import JudgeAll, Judgement
from ppx_judges.expressions import read
from ppx_judges.final_answers import MARKERS, compile_markers, final_answer
from ppx_judges.maths import MATH, MathSettings
from tests.plugins.judges.asking import NOTHING, answer, verdicts

COMPILED = compile_markers(MARKERS)


@pytest.fixture(scope="module")
def math() -> Iterator[JudgeAll]:
    with MATH.open(MathSettings(seconds=2, processes=1), NOTHING) as judge_all:
        yield judge_all


def labelled(path: Path) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    return [(row, solution) for row in rows for solution in row["solutions"]]


def test_it_agrees_with_every_label(data_dir: Path) -> None:
    cases = labelled(data_dir / "gsm8k_model_solutions_first100.jsonl")
    assert len(cases) == 400
    found = verdicts(MATH, [answer(row["gold"], one["text"]) for row, one in cases])
    disagreements = [
        (row["question"], one["model"], one["is_correct"], verdict.reason)
        for (row, one), verdict in zip(cases, found, strict=True)
        if (verdict.judgement is Judgement.CORRECT) != one["is_correct"]
        or verdict.judgement is Judgement.UNKNOWN
    ]
    assert disagreements == []


@pytest.mark.parametrize(("name", "rows"), [("train", 7473), ("test", 1319)])
def test_every_gold_of_gsm8k_is_its_own_answer(data_dir: Path, name: str, rows: int) -> None:
    lines = (data_dir / f"gsm8k_{name}.jsonl").read_text(encoding="utf-8").splitlines()
    golds = [json.loads(line)["answer"] for line in lines]
    found = verdicts(MATH, [answer(gold, gold) for gold in golds])
    assert len(found) == rows
    assert [one.reason for one in found if not one.correct] == []


# ---------------------------------------------------------------------------------- properties

NUMBERS = st.decimals(-(10**9), 10**9, allow_nan=False, allow_infinity=False, places=4)
FRAMES = st.sampled_from(
    ["A: {}", "#### {}", r"so \boxed{{{}}}.", "The answer is {}.", "x\n**Answer:** {} apples"]
)


@given(NUMBERS, NUMBERS, FRAMES)
def test_numbers_are_compared_exactly(gold: Decimal, number: Decimal, frame: str) -> None:
    with_commas = f"{number:,f}"
    claim = final_answer(frame.format(with_commas), COMPILED)
    assert claim is not None
    value, wanted = read(claim).values[0], read(f"{gold:f}").values[0]
    assert (value == wanted) == (number == gold)


@given(st.text(max_size=300), st.text(max_size=60))
def test_any_text_can_be_read(response: str, gold: str) -> None:
    for text in (response, gold, f"A: {response}", f"#### {gold}", rf"\boxed{{{response}"):
        claim = final_answer(text, COMPILED)
        if claim is not None:
            assert len(claim) <= len(text)
            assert isinstance(read(claim).text, str)


BETWEEN = (" and ", " or ", " to ", ", ", " feet ", "-", " - ", ":", " x ", " eggs, and ")


@given(st.integers(0, 9999), st.integers(0, 9999), st.sampled_from(BETWEEN))
def test_of_two_numbers_none_is_taken(one: int, other: int, between: str) -> None:
    reading = read(f"{one}{between}{other}")
    assert reading.values == ()


@given(st.integers(1, 10**6), st.integers(1, 999), st.integers(1, 999))
def test_fractions_percents_and_powers_are_exact(whole: int, above: int, below: int) -> None:
    fraction = Fraction(above, below)
    assert read(f"{above}/{below}").values == (fraction,)
    assert read(rf"\frac{{{above}}}{{{below}}}").values == (fraction,)
    assert read(f"{whole} {above}/{below}").values == (whole + fraction,)
    assert read(f"{whole}%").values == (whole, Fraction(whole, 100))
    assert read(rf"{whole} \times 10^{{3}}").values == (whole * 1000,)
