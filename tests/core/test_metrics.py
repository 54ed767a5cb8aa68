"""TI, BWT and the average drop, against the tables of the paper and against hand-made cases."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ppx_ext import TaskScore
from ppx_ext.metrics import (
    ZeroBaseError,
    average_drop,
    backward_transfer,
    change,
    intervals,
    target_improvement,
)

TASKS = ("MBPP", "MATH", "ARC", "GSM8K", "BIRD")
GEMMA = (0.5106, 0.2810, 0.7474, 0.5845, 0.1389)
LLAMA = (0.5926, 0.3140, 0.7816, 0.7255, 0.2053)
# arXiv 2501.14315, Table 12: base, tuned, target; and the BWT and TI of Table 2.
PAPER = [
    ("Gemma MBPP GT", GEMMA, (0.3995, 0.2290, 0.7159, 0.1926, 0.0514), "MBPP", -38.19, -21.76),
    ("Gemma MBPP STM", GEMMA, (0.5106, 0.2980, 0.7483, 0.5641, 0.1375), "MBPP", 0.42, 0.00),
    ("Llama MBPP GT", LLAMA, (0.5794, 0.2330, 0.5913, 0.1850, 0.1760), "MBPP", -34.7, -2.23),
    ("Gemma MATH STM", GEMMA, (0.4947, 0.3030, 0.7534, 0.5542, 0.1330), "MATH", -2.93, 7.83),
    ("Llama MATH GT", LLAMA, (0.5873, 0.2580, 0.4863, 0.6793, 0.1942), "MATH", -12.6, -17.83),
    ("Gemma MATH RE", GEMMA, (0.4683, 0.2000, 0.7338, 0.3700, 0.1258), "MATH", -14.06, -28.83),
]


def scores(accuracies: tuple[float, ...], target: str) -> list[TaskScore]:
    """Scores over 10,000 items, so that four digits of accuracy are exact."""
    return [
        TaskScore(
            task=task,
            correct=(True,) * round(10_000 * share) + (False,) * (10_000 - round(10_000 * share)),
            target=task == target,
        )
        for task, share in zip(TASKS, accuracies, strict=True)
    ]


@pytest.mark.parametrize(("name", "base", "tuned", "target", "bwt", "ti"), PAPER)
def test_change_gives_the_papers_table(
    name: str, base: tuple[float, ...], tuned: tuple[float, ...], target: str, bwt: float, ti: float
) -> None:
    found = change(scores(base, target), scores(tuned, target))
    assert found.bwt == pytest.approx(bwt, abs=0.01 if "Llama" not in name else 0.05)
    assert found.ti == pytest.approx(ti, abs=0.01)
    assert found.undefined == ()


def test_by_hand() -> None:
    # (0.5 -> 0.25 is -50 %, 0.8 -> 1.0 is +25 %): mean -12.5 %; points: (25 - 20) / 2 = 2.5 lost.
    before, after = {"a": 0.5, "b": 0.8}, {"a": 0.25, "b": 1.0}
    assert backward_transfer(before, after) == pytest.approx(-12.5)
    assert average_drop(before, after) == pytest.approx(2.5)
    assert target_improvement(0.4, 0.5) == pytest.approx(25.0)


def test_a_zero_base_is_named_and_never_infinite() -> None:
    with pytest.raises(ZeroBaseError, match=r"'code', 'law'"):
        backward_transfer({"code": 0, "law": 0, "math": 1}, {"code": 1, "law": 0, "math": 1})
    with pytest.raises(ZeroBaseError, match="'gsm8k'"):
        target_improvement(0.0, 0.5, task="gsm8k")
    before = [
        TaskScore(task="gsm8k", correct=(False, False), target=True),
        TaskScore(task="law", correct=(True, False)),
    ]
    after = [
        TaskScore(task="gsm8k", correct=(True, False), target=True),
        TaskScore(task="law", correct=(False, False)),
    ]
    found = change(before, after)
    assert found.ti is None
    assert "TI is undefined" in found.undefined[0]
    assert "'gsm8k'" in found.undefined[0]
    assert found.bwt == -100
    assert found.drop == 50


def test_no_other_task_is_said_once() -> None:
    only = [TaskScore(task="t", correct=(True,), target=True)]
    found = change(only, only)
    assert (found.ti, found.bwt, found.drop) == (0, None, None)
    assert len(found.undefined) == 1
    assert "forgetting is unknown" in found.undefined[0]


def test_models_measured_differently_are_refused() -> None:
    one = [TaskScore(task="a", correct=(True, False))]
    with pytest.raises(ValueError, match="same tasks: a, b"):
        change(one, [TaskScore(task="b", correct=(True, False))])
    with pytest.raises(ValueError, match="'a': 2 items for one model and 1"):
        change(one, [TaskScore(task="a", correct=(True,))])
    with pytest.raises(ValueError, match="only one has: b"):
        average_drop({"a": 1.0}, {"a": 1.0, "b": 1.0})


@given(st.dictionaries(st.text(), st.floats(0.01, 1), min_size=1), st.floats(0, 2))
def test_scaling_every_task_alike_gives_that_change(
    before: dict[str, float], factor: float
) -> None:
    after = {task: score * factor for task, score in before.items()}
    assert backward_transfer(before, after) == pytest.approx(100 * (factor - 1), abs=1e-6)
    mean = sum(before.values()) / len(before)
    assert average_drop(before, after) == pytest.approx(100 * mean * (1 - factor), abs=1e-6)


# ------------------------------------------------------------------------------------- intervals


def right(task: str, of: int, *, n: int = 100, target: bool = False) -> TaskScore:
    return TaskScore(task=task, correct=(1.0,) * of + (0.0,) * (n - of), target=target)


def test_intervals_are_what_normal_theory_gives() -> None:
    # Target: 50 -> 70 %, the 20 beyond the 50. With d = after - before, TI = 100 d / before; by
    # the delta method its variance is var(d) / b^2 + (d / b^2)^2 var(b) - 2 (d / b^3) cov(d, b).
    n = 10_000
    found = intervals(
        [right("t", 5000, n=n, target=True), right("law", 8000, n=n), right("code", 6000, n=n)],
        [right("t", 7000, n=n, target=True), right("law", 6000, n=n), right("code", 6000, n=n)],
    )
    assert found.ti is not None
    assert found.drop is not None
    assert found.bwt is not None
    b, d = 0.5, 0.2
    var_d, var_b, cov = (d - d * d) / n, (b - b * b) / n, -d * b / n
    spread = 100 * (var_d / b**2 + d**2 / b**4 * var_b - 2 * d / b**3 * cov) ** 0.5
    assert found.ti == pytest.approx((40 - 1.96 * spread, 40 + 1.96 * spread), abs=0.15)
    # law loses 20 points, code none: (20 + 0) / 2 points, and half of sqrt(0.2 * 0.8 / n) of error.
    half = 100 * 1.96 * (0.16 / n) ** 0.5 / 2
    assert found.drop == pytest.approx((10 - half, 10 + half), abs=0.03)
    # law falls by 25 % of its own, so BWT is -12.5 %, with errors as those of TI.
    b, d = 0.8, -0.2
    var_d, var_b, cov = (0.2 - d * d) / n, (b - b * b) / n, (-0.2 - d * b) / n
    spread = 50 * (var_d / b**2 + d**2 / b**4 * var_b - 2 * d / b**3 * cov) ** 0.5
    assert found.bwt == pytest.approx((-12.5 - 1.96 * spread, -12.5 + 1.96 * spread), abs=0.04)
    assert found.undefined == ()


def test_intervals_that_cannot_be_are_said() -> None:
    none = intervals([right("t", 0, target=True)], [right("t", 5, target=True)])
    assert (none.ti, none.bwt, none.drop) == (None, None, None)
    assert none.undefined == ()  # the change itself is undefined, and says why
    little = intervals([right("law", 1)], [right("law", 0)])
    assert little.bwt is None
    assert "BWT has no interval: the base has so little right" in little.undefined[0]
    assert little.drop is not None
    single = intervals([right("law", 1, n=1)], [right("law", 0, n=1)])
    assert (single.bwt, single.drop) == (None, None)
    assert "'law' has a single item" in single.undefined[0]


@settings(max_examples=20)
@given(
    st.lists(st.tuples(st.booleans(), st.booleans()), min_size=8, max_size=40),
    st.lists(st.tuples(st.booleans(), st.booleans()), min_size=8, max_size=40),
)
def test_intervals_hold_the_change(
    law: list[tuple[bool, bool]], code: list[tuple[bool, bool]]
) -> None:
    before = [TaskScore(task=n, correct=tuple(float(a) for a, _ in t)) for n, t in _two(law, code)]
    after = [TaskScore(task=n, correct=tuple(float(b) for _, b in t)) for n, t in _two(law, code)]
    there = intervals(before, after)
    drop = change(before, after).drop
    assert drop is not None
    assert there.drop is not None
    assert there.drop[0] <= drop + 1e-9
    assert drop <= there.drop[1] + 1e-9
    assert there == intervals(before, after)
    assert intervals(before, before).drop == (0, 0)


def _two(
    law: list[tuple[bool, bool]], code: list[tuple[bool, bool]]
) -> list[tuple[str, list[tuple[bool, bool]]]]:
    return [("law", law), ("code", code)]
