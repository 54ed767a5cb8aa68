"""Rephrase: SDFT's rule with its checks (arXiv 2402.13669)."""

from __future__ import annotations

from typing import Any

import pytest

from ppx_ext import Dropped, Failure, Response, testing
from ppx_s3ft.rephrase import REPHRASE
from ppx_s3ft.settings import RephraseSettings
from tests.plugins.s3ft.lent import Lent, row, shows_gold


def build(say: Any, *, judged: bool = False, **settings: Any) -> Any:
    lent = Lent(lambda request: say, judged=judged)
    (found,) = REPHRASE.build(RephraseSettings(**settings), [row(5)], lent.tools)
    assert all(shows_gold(request) for call in lent.generated for request in call)
    return found


@pytest.mark.parametrize(
    "leak",
    [
        "As the reference answer shows",
        "As the REFERENCE ANSWER shows",
        "Here is your response",
        "This is My Response.",
        "I wrote your own response",
        "Now it's your turn!",
        "NOW IT'S YOUR TURN",
        "Your turn: 42",
        "  your turn, then",
    ],
)
def test_a_rewrite_that_leaks_is_refused(leak: str) -> None:
    found = build(leak)
    assert (found.source, found.response) == ("gold", "right gold")
    assert "rewrite not taken (it " in found.note
    assert isinstance(build(leak, fallback="drop"), Dropped)


@pytest.mark.parametrize("fine", ["It is your turn", "The answer is 42", "references: answer 42"])
def test_a_rewrite_that_does_not_leak_is_taken_unjudged(fine: str) -> None:
    found = build(fine)
    assert (found.source, found.response, found.verdict) == ("paraphrase", fine, None)
    assert (found.seed, found.attempts) == (5000, 1)


def test_a_judge_is_asked_where_there_is_one() -> None:
    assert not REPHRASE.judged(RephraseSettings())
    assert build("right so", judged=True).source == "paraphrase"
    assert build("wrong so", judged=True).source == "gold"
    assert build("odd so", judged=True).source == "gold"
    dropped = build("wrong so", judged=True, fallback="drop")
    assert dropped.reason == "rewrite not taken (wrong: it says wrong)"


def test_failures_and_cut_off_rewrites_keep_the_gold() -> None:
    assert build(Failure(reason="down")).source == "gold"
    assert build(Response(text="so", finished=False)).source == "gold"
    assert build("so", leaks=("so",)).source == "gold"


@pytest.mark.parametrize("fallback", ["gold", "drop"])
def test_it_keeps_the_contract(fallback: str) -> None:
    testing.check_builder(REPHRASE, {"fallback": fallback})
