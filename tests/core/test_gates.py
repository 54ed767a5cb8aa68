"""Limits of forgetting, and the choice among checkpoints, on cases worked out by hand."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ppx_ext import TaskScore, TextScore
from ppx_ext.eval_plan import Gate
from ppx_ext.gates import AVERAGE, best, check, check_tasks
from ppx_ext.metrics import intervals


def task(name: str, right: int, of: int = 20, *, target: bool = False, **more: str) -> TaskScore:
    correct = (1.0,) * right + (0.0,) * (of - right)
    return TaskScore(task=name, correct=correct, target=target, **more)


BASE = [task("law", 16), task("code", 10), task("sums", 8, target=True)]
TEXT = TextScore(task="wiki", nll=(3.0,), tokens=(2,))


def test_the_average_leaves_out_targets_and_perplexities() -> None:
    # law 80 -> 70 %, code 50 -> 55 %: (10 - 5) / 2 = 2.5 points; the target's fall plays no part.
    after = [task("law", 14), task("code", 11), task("sums", 0, target=True), TEXT]
    found = check(Gate(max_drop=2.5), [*BASE, TEXT], after)
    assert [(drop.name, drop.drop) for drop in found.drops] == [(AVERAGE, pytest.approx(2.5))]
    assert found.ok
    strict = check(Gate(max_drop=2.4), [*BASE, TEXT], after)
    assert not strict.ok
    assert strict.words.startswith("The gate is breached: the other tasks lost on average 2.5 poin")
    assert "more than the 2.4 that the gate allows" in strict.words


def test_a_task_has_a_limit_of_its_own_a_target_too() -> None:
    after = [task("law", 14), task("code", 10), task("sums", 6, target=True)]
    found = check(Gate(tasks={"law": 5.0, "code": 0.0, "sums": 9.9}), BASE, after)
    assert {drop.name: (round(drop.drop, 6), drop.breached) for drop in found.drops} == {
        "law": (10.0, True),
        "code": (0.0, False),
        "sums": (10.0, True),
    }
    assert [breach.name for breach in found.breaches] == ["law", "sums"]
    assert found.dump()["ok"] is False
    assert found.dump()["drops"][0]["limit"] == 5.0


def test_a_gain_is_called_one() -> None:
    (drop,) = check(Gate(tasks={"code": 5.0}), BASE, [BASE[0], task("code", 12), BASE[2]]).drops
    assert drop.drop == pytest.approx(-10.0)
    assert drop.low is not None
    assert drop.high is not None
    assert drop.low <= -10 <= drop.high
    interval = f"{-drop.high + 0.0:+.1f} to {-drop.low:+.1f}"
    assert drop.words == f"code gained 10.0 points (95 % CI {interval}); the gate allows 5.0"


def test_a_drop_of_exactly_the_limit_is_within_it() -> None:
    # 0.8 - 0.7 is 0.10000000000000009 in floating point.
    assert check(Gate(tasks={"law": 10.0}), BASE, [task("law", 14), *BASE[1:]]).ok


def test_beyond_chance_goes_by_the_whole_interval() -> None:
    one_lost = [task("law", 15), *BASE[1:]]  # 5 points; the interval of 1 in 20 reaches 0
    assert not check(Gate(tasks={"law": 2.0}), BASE, one_lost).ok
    found = check(Gate(tasks={"law": 2.0}, beyond_chance=True), BASE, one_lost)
    assert found.ok
    assert found.drops[0].low == 0.0
    assert "beyond it but not beyond chance" in found.words
    many = check(Gate(tasks={"law": 2.0}, beyond_chance=True), BASE, [task("law", 4), *BASE[1:]])
    assert not many.ok
    low, high = many.drops[0].low, many.drops[0].high
    assert low is not None
    assert high is not None
    # 12 of 20 lost: 60 points, and sqrt(0.6 * 0.4 / 20) = 11 points of standard error.
    assert low == pytest.approx(60 - 1.96 * 11, abs=3)
    assert high == pytest.approx(60 + 1.96 * 11, abs=3)


def test_the_average_has_the_interval_that_it_has_everywhere() -> None:
    before = [task("law", 16), TaskScore(task="code", correct=(1.0, 0.0) * 10)]
    after = [task("law", 13), TaskScore(task="code", correct=(0.0, 0.0, 1.0, 0.0) * 5)]
    (drop,) = check(Gate(max_drop=0), before, after).drops
    assert (drop.low, drop.high) == pytest.approx(intervals(before, after).drop, abs=1e-9)


def test_one_item_has_no_interval_and_is_never_beyond_chance() -> None:
    before, after = [task("law", 1, 1)], [task("law", 0, 1)]
    plain = check(Gate(tasks={"law": 5.0}), before, after)
    assert (plain.ok, plain.drops[0].low) == (False, None)
    assert "one item, so no interval" in plain.words
    assert check(Gate(tasks={"law": 5.0}, beyond_chance=True), before, after).ok


def test_a_gate_on_what_is_not_measured_is_an_error() -> None:
    with pytest.raises(ValueError, match=r"no suite measures a task 'lav'; did you mean 'law'\?"):
        check_tasks(Gate(tasks={"lav": 1.0}), BASE)
    with pytest.raises(ValueError, match="'wiki' is a perplexity"):
        check(Gate(tasks={"wiki": 1.0}), [*BASE, TEXT], [*BASE, TEXT])
    with pytest.raises(ValueError, match="only the target is measured"):
        check(Gate(max_drop=1.0), BASE[2:], BASE[2:])
    with pytest.raises(ValueError, match="different items"):
        check(
            Gate(max_drop=1.0),
            [task("law", 1, fingerprint="a")],
            [task("law", 1, fingerprint="b")],
        )


@settings(max_examples=20)
@given(
    st.lists(st.tuples(st.booleans(), st.booleans()), min_size=2, max_size=30),
    st.floats(0, 100),
)
def test_nothing_that_breaches_beyond_chance_holds_otherwise(
    answers: list[tuple[bool, bool]], limit: float
) -> None:
    before = [TaskScore(task="t", correct=tuple(float(a) for a, _ in answers))]
    after = [TaskScore(task="t", correct=tuple(float(b) for _, b in answers))]
    plain = check(Gate(tasks={"t": limit}), before, after)
    sure = check(Gate(tasks={"t": limit}, beyond_chance=True), before, after)
    assert plain.ok <= sure.ok
    (drop,) = plain.drops
    assert drop.low is not None
    assert drop.high is not None
    assert drop.low <= drop.drop + 1e-9
    assert drop.high >= drop.drop - 1e-9
    assert check(Gate(tasks={"t": 0.0}), before, before).ok


# ------------------------------------------------------------------------------ the best of many


def evaluation(law: int, sums: int) -> list[TaskScore]:
    return [task("law", law), task("code", 10), task("sums", sums, target=True)]


def test_the_best_is_the_best_target_within_the_gate() -> None:
    found = [evaluation(16, 9), evaluation(15, 12), evaluation(8, 18)]
    chosen = best(BASE, found, Gate(max_drop=3.0), names=["s1", "s2", "s3"])
    assert chosen.at == 1
    assert chosen.target == pytest.approx((0.45, 0.6, 0.9))
    assert chosen.words.startswith(
        "s2 has the best target score, 60.0 %, of 2 of 3 within the limits of forgetting."
    )
    assert "s3 has 90.0 %, but the other tasks lost on average 20.0 points" in chosen.words
    assert best(BASE, found, None).at == 2


def test_of_equals_the_earlier_one() -> None:
    chosen = best(BASE, [evaluation(16, 9), evaluation(16, 12), evaluation(15, 12)], None)
    assert chosen.at == 1
    assert "(evaluation 3 equals it, and comes later)" in chosen.words
    many = best(BASE, [evaluation(16, 12)] * 3, None)
    assert "(evaluation 2, evaluation 3 equal it, and come later)" in many.words


def test_none_within_the_gate_is_none_and_says_what_is_nearest() -> None:
    chosen = best(BASE, [evaluation(2, 20), evaluation(8, 9)], Gate(max_drop=1.0))
    assert chosen.at is None
    assert "None of the 2 is within the limits" in chosen.words
    assert "nearest is evaluation 2" in chosen.words


def test_without_a_target_there_is_no_best() -> None:
    with pytest.raises(ValueError, match="target: true"):
        best(BASE[:2], [BASE[:2]], None)


def test_several_targets_count_alike() -> None:
    def two(a: int, b: int) -> list[TaskScore]:
        return [task("a", a, target=True), task("b", b, 10, target=True)]

    # (10/20 + 8/10) / 2 = 0.65 beats (16/20 + 4/10) / 2 = 0.6, though fewer items are right.
    assert best(two(0, 0), [two(16, 4), two(10, 8)], None).at == 1
