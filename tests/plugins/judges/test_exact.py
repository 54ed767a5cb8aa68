"""`exact`: equality of characters, after what is said to play no part."""

from __future__ import annotations

from typing import Any

import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ppx_ext.testing import check_judge
from ppx_judges.exact import EXACT, ExactSettings, normalised
from tests.plugins.judges.asking import answer, said


@pytest.mark.parametrize(
    ("settings", "gold", "response", "verdict"),
    [
        ({}, "a b", " a b\n", "correct"),
        ({}, "a b", "A b", "wrong"),
        ({}, "a b", "a  b", "wrong"),
        ({"strip": False}, "a b", "a b\n", "wrong"),
        ({"ignore_case": True}, "a ß", "A SS", "correct"),
        ({"collapse_whitespace": True}, "a b", "a \n b", "correct"),
        ({"strip_characters": ".!"}, "a", "a. !", "correct"),
        ({"strip_characters": ".!"}, "a", "a?", "wrong"),
        ({}, "é", "e\u0301", "correct"),
        ({}, ["a", "b"], "b", "correct"),
        ({}, 18, "18", "correct"),
        ({}, "18", "18.0", "wrong"),
        ({}, "", "", "unknown"),
        ({}, None, "a", "unknown"),
        ({}, [], "a", "unknown"),
        ({"strip_characters": "."}, "...", "", "unknown"),
        ({"after": "####"}, "x\n#### 18", "y #### 17\n#### 18 ", "correct"),
        ({"after": "####"}, "18", "#### 18\n19", "correct"),
        ({"after": "####"}, "18", "#### 18\n#### 19", "wrong"),
        ({"after": "####"}, "18", "18", "wrong"),
        (
            # As the demo grades its own tasks.
            {
                "after": r"\b(?:answer|tally)\b\s*(?:is|=>|=|:)?",
                "collapse_whitespace": True,
                "strip_characters": ".,;!:)",
            },
            "d c b",
            "first this. The Tally => d  c b :)",
            "correct",
        ),
    ],
)
def test_verdicts(settings: dict[str, Any], gold: Any, response: str, verdict: str) -> None:
    assert said(EXACT, gold, response, **settings) == verdict


def test_a_marker_that_is_no_regular_expression_is_refused() -> None:
    for after in ("(", "x*"):
        with pytest.raises(pydantic.ValidationError):
            ExactSettings(after=after)


SETTINGS = st.builds(
    ExactSettings,
    strip=st.booleans(),
    ignore_case=st.booleans(),
    collapse_whitespace=st.booleans(),
    strip_characters=st.sampled_from(["", ".!", " "]),
)
TEXTS = st.text(alphabet="aAbBéß .!\n\t", max_size=12)


@given(SETTINGS, TEXTS, TEXTS)
def test_normalising_twice_changes_nothing_and_never_joins_words(
    settings: ExactSettings, one: str, other: str
) -> None:
    once = normalised(settings, one)
    assert normalised(settings, once) == once
    if once == normalised(settings, other):
        assert one.casefold().strip(" .!\n\t").split() == other.casefold().strip(" .!\n\t").split()


def test_contract() -> None:
    check_judge(EXACT, right=answer("A", "A"), wrong=answer("A", "B"))
    check_judge(EXACT, {"after": "####"}, right=answer("A", "#### A"), wrong=answer("A", "A"))
