"""`qa`: SQuAD's exact match and F1, by cases computed by hand."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ppx_ext import JudgeAll, Judgement
from ppx_ext.testing import check_judge
from ppx_judges.qa import QA, QaSettings
from tests.plugins.judges.asking import NOTHING, answer, said


@pytest.fixture(scope="module")
def em() -> Iterator[JudgeAll]:
    with QA.open(QaSettings(), NOTHING) as judge_all:
        yield judge_all


@pytest.mark.parametrize(
    ("gold", "response", "verdict"),
    [
        ("Denver Broncos", "the Denver Broncos.", "correct"),
        ("The Denver Broncos", "denver   broncos", "correct"),
        (["Broncos", "Denver Broncos"], "Denver Broncos", "correct"),
        ({"text": ["14 December 1972", "December 1972"]}, "December, 1972!", "correct"),
        ({"text": ["14 December 1972", "December 1972"]}, "December", "wrong"),
        ("Paris", "The answer is Paris.", "correct"),
        ("Paris", "Let me see.\nAnswer: Paris\nThat is in France.", "correct"),
        ("The answer is Paris.", "Paris", "correct"),
        ("Paris", "Paris, France", "wrong"),
        ("Paris", "", "wrong"),
        (1972, "1972", "correct"),
        ("", "Paris", "unknown"),
        ("the", "", "unknown"),
        ("...", "", "unknown"),
        ([], "Paris", "unknown"),
        ([None], "Paris", "unknown"),
        (None, "Paris", "unknown"),
        (["", "Paris"], "Paris", "correct"),
    ],
)
def test_exact_match(em: JudgeAll, gold: Any, response: str, verdict: str) -> None:
    (found,) = em([answer(gold, response)])
    assert found.judgement.value == verdict, found.reason


def test_f1_by_hand() -> None:
    # Without the article: 3 words given, 2 of them among the 4 of the gold.
    # Precision 2/3, recall 2/4, F1 = 2 * (2/3 * 1/2) / (2/3 + 1/2) = 4/7 = 0.5714...
    gold, response = "cat sat on mats", "the cat sat down"
    assert said(QA, gold, response, metric="f1", threshold=4 / 7) == "correct"
    assert said(QA, gold, response, metric="f1", threshold=0.572) == "wrong"
    # Against the second gold: precision 1, recall 3/3, F1 = 1.
    assert said(QA, [gold, "a cat sat down"], response, metric="f1", threshold=1.0) == "correct"
    with QA.open(QaSettings(metric="f1", threshold=0.5), NOTHING) as judge_all:
        (verdict,) = judge_all([answer(gold, response)])
    assert "F1 0.571" in verdict.reason


def test_a_threshold_goes_with_f1() -> None:
    for settings in ({"metric": "f1"}, {"threshold": 0.5}, {"metric": "f1", "threshold": 0}):
        with pytest.raises(pydantic.ValidationError):
            QaSettings.model_validate(settings)


WORDS = st.lists(st.sampled_from(["blue", "red", "sky", "sea"]), min_size=1, max_size=6)


@given(WORDS, WORDS)
def test_exact_match_is_equality_of_words(em: JudgeAll, gold: list[str], given: list[str]) -> None:
    # The gold's spelling is another one: capitals, articles and marks play no part.
    response = ", ".join(f"the {word.upper()}" for word in given)
    (found,) = em([answer(" ".join(gold), response)])
    assert (found.judgement is Judgement.CORRECT) == (gold == given)


def test_contract() -> None:
    check_judge(QA, right=answer(["Paris"], "paris"), wrong=answer("Paris", "Rome"))
    check_judge(
        QA,
        {"metric": "f1", "threshold": 0.6},
        right=answer(["New York City"], "New York"),
        wrong=answer("Paris", "Rome"),
    )
