"""`choice`: which letter a response claims."""

from __future__ import annotations

import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ppx_ext import Answer
from ppx_ext.testing import check_judge
from ppx_judges.choice import CHOICE, claims
from tests.plugins.judges.asking import answer, said, verdicts

TEN = "ABCDEFGHIJ"


@pytest.mark.parametrize(
    ("response", "claimed"),
    [
        ("The correct option is B because A is wrong", ["B"]),
        ("The answer is B, not A.", ["B"]),
        ("(B)", ["B"]),
        ("B.", ["B"]),
        ("**B**", ["B"]),
        ("B", ["B"]),
        ("B) Paris", ["B"]),
        ("B: Paris", ["B"]),
        ("Answer: B", ["B"]),
        ("**Answer:** (B) Paris", ["B"]),
        ("Answer:\nB", ["B"]),
        ("The answer is (C)", ["C"]),
        ("The final answer is **B**.", ["B"]),
        ("The answer is: A) because it is", ["A"]),
        ("The answer is option B", ["B"]),
        ("The best choice among these is C.", ["C"]),
        (r"\boxed{D}", ["D"]),
        (r"\boxed{\text{D}}", ["D"]),
        (r"The answer is $\boxed{(D)}$", ["D"]),
        ("B is the correct answer.", ["B"]),
        ("A. Paris\nB. Rome\nAnswer: B", ["B"]),
        ("B. As we know.\nSo the answer is B.", ["B"]),
        ("The answer is B. No, wait: the answer is C.", ["B", "C"]),
        ("Answer: A\nAnswer: A", ["A"]),
        ("", []),
        ("A. Paris\nB. Rome", []),
        ("A dog barks.", []),
        ("I think so", []),
        ("The answer is A dog", []),
        ("The answer is I think", []),
        ("The answer is a", []),
        ("The answer is not A", []),
        ("The wrong option is A", []),
        ("The answer is Apple", []),
        ("The answer is A's brother", []),
        ("The answer is Z", []),
        ("All of A, B and C are possible.", []),
    ],
)
def test_claims(response: str, claimed: list[str]) -> None:
    assert claims(response, TEN) == claimed


@pytest.mark.parametrize(
    ("gold", "response", "verdict"),
    [
        ("A", "The correct option is B because A is wrong", "wrong"),
        ("B", "The correct option is B because A is wrong", "correct"),
        ("(B)", "B", "correct"),
        ("b", "B", "correct"),
        ("B.", "B", "correct"),
        ("The answer is (B).", "B", "correct"),
        (1, "B", "correct"),
        ("1", "B", "correct"),
        ("B", "The answer is B. No, wait: the answer is C.", "unknown"),
        ("B", "I do not know", "wrong"),
        ("K", "A", "unknown"),
        ("Paris", "A", "unknown"),
        (10, "A", "unknown"),
        (-1, "A", "unknown"),
        (True, "B", "unknown"),
        (None, "B", "unknown"),
        ("", "B", "unknown"),
    ],
)
def test_verdicts(gold: Any, response: str, verdict: str) -> None:
    assert said(CHOICE, gold, response) == verdict


def test_numbers_may_begin_at_one() -> None:
    assert said(CHOICE, 1, "A", first_index=1) == "correct"
    assert said(CHOICE, 0, "A", first_index=1) == "unknown"


@pytest.mark.parametrize(
    ("choices", "gold", "response", "verdict"),
    [
        (["Rome", "Paris"], "Paris", "B", "correct"),
        (["Rome", "Paris"], "Paris", "The answer is Paris.", "correct"),
        (["Rome", "Paris"], "Paris", "paris", "correct"),
        (["Rome", "Paris"], "B", "The answer is Rome.", "wrong"),
        (["Rome", "Paris"], 1, "B", "correct"),
        (["Rome", "Paris"], "C", "B", "unknown"),
        (["Rome", "Paris"], "B", "C", "wrong"),
        (["1", "2", "0"], "0", "C", "correct"),
        (["same", "same"], "same", "A", "unknown"),
        ({"label": ["1", "2"], "text": ["Rome", "Paris"]}, "2", "B", "correct"),
        ({"label": ["A", "B"], "text": ["Rome", "Paris"]}, "B", "B", "correct"),
        (None, "B", "B", "unknown"),
        ("Rome, Paris", "B", "B", "unknown"),
    ],
)
def test_choices_in_a_column(choices: Any, gold: Any, response: str, verdict: str) -> None:
    row = {"gold": gold, "options": choices}
    (found,) = verdicts(CHOICE, [Answer(row=row, response=response)], choices="options")
    assert found.judgement.value == verdict, found.reason
    assert list(CHOICE.columns(CHOICE.settings(choices="options"))) == ["options"]


FRAMES = st.sampled_from(
    ["{}", "({})", "{}.", "Answer: {}", "The answer is {}.", r"\boxed{{{}}}", "**{}**", "{}) Rome"]
)


@given(st.sampled_from(TEN), st.sampled_from(TEN), FRAMES)
def test_a_letter_is_correct_if_and_only_if_it_is_the_golds(
    gold: str, letter: str, frame: str
) -> None:
    assert (said(CHOICE, gold, frame.format(letter)) == "correct") == (letter == gold)


@given(st.text(max_size=200))
def test_any_response_is_judged(response: str) -> None:
    assert said(CHOICE, "A", response) in ("correct", "wrong", "unknown")


@pytest.mark.parametrize("again", ["\n", " ", "* ", "_", "- ", r"\boxed{ "])
@pytest.mark.parametrize("start", ["", "answer is", r"\boxed{"])
def test_a_response_that_repeats_itself_takes_no_longer_than_its_length(
    start: str, again: str
) -> None:
    started = time.process_time()
    assert claims(start + again * 10**5, TEN) == []
    assert time.process_time() - started < 20


def test_contract() -> None:
    check_judge(CHOICE, right=answer("A", "A"), wrong=answer("A", "B"))
