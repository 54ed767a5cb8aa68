"""What `ppx eval` says of two models: losses of format told apart from losses of skill."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from ppx_ext import Score, TaskScore, TextScore
from ppx_ext.eval_compare import compare, dump
from ppx_ext.eval_run import Results, check_same_items
from ppx_ext.eval_show import sentences
from ppx_ext.evaluating.models import Measured


def measured(name: str, *scores: Score, template: str | None = None) -> Measured:
    return Measured(name=name, path=name, step=0, scores=scores, seconds=1.0, template=template)


def read(strict: int, flexible: int, of: int = 40) -> TaskScore:
    def first(right: int) -> Sequence[float]:
        return (1.0,) * right + (0.0,) * (of - right)

    readings = {"strict": tuple(first(strict)), "flexible": tuple(first(flexible))}
    return TaskScore(task="gsm8k", correct=tuple(first(strict)), readings=readings)


def test_a_loss_of_format_is_no_loss_of_skill() -> None:
    found = compare(measured("base", read(30, 32)), measured("tuned", read(5, 30)))
    (note,) = found["notes"]
    assert note.startswith("gsm8k: read strictly it fell (-62.5 points, significant (p = 6e-08")
    assert "read flexibly it did not (-5.0 points, not significant (p = 0.5" in note
    assert note.endswith("This is a loss of format, not of skill.")
    assert sentences(found)[-1] == note


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (read(30, 32), read(5, 6)),  # both fell: the skill is lost
        (read(30, 32), read(28, 32)),  # neither fell beyond chance
        (read(5, 30), read(30, 32)),  # the format was learned
    ],
)
def test_nothing_else_is_called_so(before: TaskScore, after: TaskScore) -> None:
    assert compare(measured("a", before), measured("b", after))["notes"] == []


def test_perplexities_are_compared_in_pairs() -> None:
    before = TextScore(task="wiki", nll=(4.0, 9.0, 2.0), tokens=(2, 3, 1))
    after = TextScore(task="wiki", nll=(5.0, 10.5, 2.5), tokens=(2, 3, 1))
    found = compare(measured("a", before), measured("b", after))
    (text,) = found["texts"]
    # Half a nat more for each token of each text, so that no draw of texts changes the ratio.
    assert text["times"] == pytest.approx(2.718281828**0.5)
    assert (text["low"], text["high"]) == pytest.approx((text["times"], text["times"]))
    assert text["words"].startswith("significant")
    assert (found["drop"], found["bwt"], found["ti"]) == (None, None, None)


def test_perplexities_that_cannot_be_compared_are_said() -> None:
    before = TextScore(task="wiki", nll=(4.0, 9.0), tokens=(2, 3))
    after = TextScore(task="wiki", nll=(4.0, 9.0), tokens=(2, 4))
    found = compare(measured("a", before), measured("b", after))
    assert found["texts"] == []
    assert "different tokens" in found["notes"][0]
    alone = compare(measured("a", before), measured("b"))
    assert alone["notes"] == ["The texts 'wiki' were measured on a alone."]


def test_each_pair_is_compared_once() -> None:
    def one(name: str) -> Measured:
        return measured(name, TaskScore(task="t", correct=(1.0, 0.0)))

    def pairs(base: Measured | None, *names: str) -> list[tuple[str, str]]:
        found = dump(Results(base=base, models=tuple(map(one, names))))["comparisons"]
        return [(each["against"], each["model"]) for each in found]

    assert pairs(one("base"), "a") == [("base", "a")]
    assert pairs(one("base"), "a", "b") == [("base", "a"), ("base", "b"), ("a", "b")]
    assert pairs(one("base"), "a", "b", "c") == [("base", "a"), ("base", "b"), ("base", "c")]
    assert pairs(None, "a", "b", "c") == [("a", "b"), ("a", "c")]
    assert pairs(None, "a") == []


def test_other_items_and_other_tasks_are_refused() -> None:
    def asked(fingerprint: str, template: str) -> Measured:
        score = TaskScore(task="t", correct=(1.0,), fingerprint=fingerprint)
        return measured(template, score, template=template)

    with pytest.raises(ValueError, match=r"A and B: .*different items.*templates differ.*--token"):
        check_same_items(asked("x", "A"), asked("y", "B"))
    with pytest.raises(ValueError, match=r"different items; measure both on the same$"):
        check_same_items(asked("x", "A"), asked("y", "A"))
    with pytest.raises(ValueError, match="same tasks: t"):
        check_same_items(asked("x", "A"), measured("C"))
