"""Judges put to work: composed, on files, killed and resumed, and from the command line."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

import pytest

from ppx_ext import Answer, Judge, JudgeAll, Judgement, Row, Tools, Verdict
from ppx_ext.stages import JudgeStage, Stage
from ppx_ext.testing import check_judge
from tests.core.judged import Settings, equal, judged, saying, stage


def test_the_first_that_can_tell_decides() -> None:
    judges = [stage(saying("one"), "first"), stage(saying("two"), "second")]
    rows = [
        {"gold": "g", "one": "correct", "two": "wrong"},
        {"gold": "g", "one": "wrong", "two": "correct"},
        {"gold": "g", "two": "correct"},
        {"gold": "g", "two": "wrong"},
        {"gold": "g"},
    ]
    found = judged(judges, *rows)
    assert [(one.judgement.value, one.judge) for one in found] == [
        ("correct", "first 7"),
        ("wrong", "first 7"),
        ("correct", "second 7"),
        ("wrong", "second 7"),
        ("unknown", "first 7, second 7"),
    ]
    assert found[-1].reason == "first 7: one says unknown; second 7: two says unknown"


def test_a_judge_is_asked_only_about_what_is_open() -> None:
    seen: list[str] = []

    def noting(settings: Settings, row: Row, response: str) -> Verdict:
        seen.append(response)
        return equal(settings, row, response)

    rows = [
        {"gold": "g", "one": "correct", "response": "a"},
        {"gold": "g", "response": "b"},
        {"gold": None, "response": "c"},
    ]
    found = judged([stage(saying("one")), stage(noting, "second")], *rows)
    assert seen == ["b"]
    assert found[2].judgement is Judgement.UNKNOWN
    assert "no gold" in found[2].reason


def test_a_judge_without_gold_reads_none() -> None:
    (found,) = judged([stage(saying("one"), needs_gold=False)], {"one": "correct"})
    assert found.correct


@pytest.mark.parametrize(
    ("judges", "row", "problem"),
    [
        ([stage(equal)], {"answer": "x"}, "'gold'.*Columns: answer"),
        ([stage(equal, columns=("tests", "setup"))], {"gold": "x"}, "columns 'tests', 'setup'"),
        ([stage(equal), stage(equal, "two", columns=("tests",))], {"gold": "x"}, "two 7.*'tests'"),
    ],
)
def test_a_missing_column_is_named(judges: list[JudgeStage], row: Row, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        judged(judges, row)


def test_judges_are_closed_in_turn_and_a_wrong_count_is_an_error() -> None:
    events: list[str] = []

    def opened(name: str) -> Callable[..., contextlib.AbstractContextManager[JudgeAll]]:
        @contextlib.contextmanager
        def open_it(settings: Settings, tools: Tools) -> Iterator[JudgeAll]:
            events.append(f"open {name}")
            try:
                yield lambda answers: []
            finally:
                events.append(f"close {name}")

        return open_it

    judges = [
        JudgeStage(
            stage=Stage(
                component=Judge(
                    name=name,
                    paper="none",
                    settings=Settings,
                    open=opened(name),
                    version=lambda: "1",
                ),
                settings=Settings(),
            )
        )
        for name in ("a", "b")
    ]
    with pytest.raises(RuntimeError, match="a 1 gave 0 verdicts on 1 answers"):
        judged(judges, {"gold": "g"})
    assert events == ["open a", "open b", "close b", "close a"]


def test_check_judge_finds_what_is_wrong() -> None:
    right, wrong = (Answer(row={"gold": "g"}, response=text) for text in ("g", "h"))
    check_judge(stage(equal).stage.component, right=right, wrong=wrong)

    def silent(settings: Settings, row: Row, response: str) -> Verdict:
        return Verdict(judgement=equal(settings, row, response).judgement, reason=" ")

    def lenient(settings: Settings, row: Row, response: str) -> Verdict:
        same = response in ("g", "")
        return Verdict(judgement=Judgement.CORRECT if same else Judgement.WRONG, reason="r")

    def brittle(settings: Settings, row: Row, response: str) -> Verdict:
        response.encode()
        return equal(settings, row, response)

    def strict(settings: Settings, row: Row, response: str) -> Verdict:
        return Verdict(judgement=Judgement.WRONG, reason="r")

    for judge, problem in ((silent, "reason"), (lenient, "''"), (strict, "not correct")):
        with pytest.raises(AssertionError, match=problem):
            check_judge(stage(judge).stage.component, right=right, wrong=wrong)
    with pytest.raises(UnicodeEncodeError):
        check_judge(stage(brittle).stage.component, right=right, wrong=wrong)


# ------------------------------------------------------------------------------------- on files
