"""What changed between two models, as a report says it: worked out by hand."""

from __future__ import annotations

import math
from typing import Any

import pytest

from ppx_ext.reporting import changes
from ppx_ext.suites import TaskScore, TextScore


def task(name: str, *correct: float, **more: Any) -> TaskScore:
    return TaskScore(task=name, correct=correct, **more)


def test_a_change_by_hand() -> None:
    before, after = [1, 1, 1, 1, 0, 0, 0, 0], [1, 0, 0, 0, 0, 0, 0, 1]
    one = changes.shift([(before, after)])
    assert one is not None
    assert one["points"] == pytest.approx(-25)
    assert one["p"] == pytest.approx(0.625)  # 3 lost, 1 won: 2 * (1 + 4) / 16
    assert one["words"] == "not significant (p = 0.62, exact McNemar over 8 items)"
    assert one["low"] < -25 < one["high"]
    shares = changes.shift([([0.5, 1.0], [0.5, 0.0]), ([0.0, 0.0], [0.0, 0.0])])
    assert shares is not None
    assert shares["points"] == pytest.approx(-25)  # tasks weigh alike
    assert shares["p"] is None
    assert changes.shift([([1.0], [0.0])]) is None


def test_an_average_drop_turns_the_interval_round() -> None:
    before = [task("a", 1, 1, 1, 0), task("t", 0, 0, 0, 0, target=True)]
    after = [task("a", 1, 0, 0, 0), task("t", 1, 1, 1, 1, target=True)]
    drop = changes.drop(before, after)
    assert drop is not None
    assert drop["points"] == pytest.approx(50)
    assert drop["low"] <= 50 <= drop["high"]
    assert changes.drop(before[1:], after[1:]) is None


def test_perplexities_by_hand() -> None:
    before = TextScore(task="x", nll=(10.0, 30.0), tokens=(10, 10))
    after = TextScore(task="x", nll=(20.0, 40.0), tokens=(10, 10))
    assert changes.perplexity(before)["perplexity"] == pytest.approx(math.exp(2))
    found = changes.perplexity_change(before, after)
    assert found["times"] == pytest.approx(math.e)  # a nat a token more
    assert found["low"] == pytest.approx(math.e)  # in every text alike
    assert found["significant"]
    same = changes.perplexity_change(before, before)
    assert not same["significant"]
    single = TextScore(task="x", nll=(10.0,), tokens=(10,))
    assert changes.perplexity(single)["low"] is None
    assert changes.perplexity_change(single, single)["words"] == "one text: unknown"
    wild = TextScore(task="x", nll=(9e5, 9e5), tokens=(1, 1))
    assert changes.perplexity(wild)["perplexity"] is None


def test_a_loss_of_format_is_parted_from_a_loss_of_skill() -> None:
    def score(strict: int, flexible: int) -> TaskScore:
        reads = {
            name: tuple(float(i < n) for i in range(100))
            for name, n in (("strict", strict), ("flexible", flexible))
        }
        return task("gsm8k", *reads["strict"], readings=reads)

    (said,) = changes.format_words(changes.readings([score(60, 62)], [score(20, 58)]))
    assert said == (
        "On gsm8k the strict reading lost 40.0 points; the flexible one changed by -4.0 (not "
        "significant). So 36.0 points of the loss are of format: the answer is there, but not "
        "worded as asked."
    )
    (said,) = changes.format_words(changes.readings([score(60, 60)], [score(20, 20)]))
    assert said.endswith("So none of the loss is of format: the answers themselves are wrong.")
    alike = changes.readings([score(60, 60)], [score(60, 60)])
    assert changes.differing(alike) == []
    assert "no loss of format to tell" in changes.format_words(alike)[0]


# --------------------------------------------------------------------------------------- training
