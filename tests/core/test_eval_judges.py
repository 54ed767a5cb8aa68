"""Judges for suites, opened for a whole training; and scores that cannot be, refused."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pydantic
import pytest

from ppx_ext import (
    Answer,
    Ask,
    EvalSuite,
    Generator,
    Judge,
    JudgeAll,
    Judgement,
    LentModel,
    Request,
    Response,
    Score,
    Subject,
    TaskScore,
    TextScore,
    Tools,
    Verdict,
    catalog,
)
from ppx_ext.eval_plan import Evaluation, evaluation_of
from ppx_ext.evaluating import measure
from ppx_ext.evaluating.judges import opened


class Empty(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="forbid", frozen=True)


class Server(Empty):
    model: str | None = None


class Asking(Empty):
    judges: dict[str, Any] = {}
    task: str = "t"
    answers: tuple[str, ...] = ("4", "5")


OPENED: list[str] = []
ASKED: list[str] = []


@contextlib.contextmanager
def counted(settings: Any, tools: Tools) -> Iterator[JudgeAll]:
    """A judge that needs nothing, and tells when it is opened and closed."""
    OPENED.append("open")
    yield lambda answers: [_verdict(one.response == one.row["gold"]) for one in answers]
    OPENED.append("closed")


@contextlib.contextmanager
def asking(settings: Any, tools: Tools) -> Iterator[JudgeAll]:
    """A judge that asks its engine."""
    generate = tools.generate
    if generate is None:
        raise ValueError("the judge asking has no engine to ask")

    def judge(answers: Sequence[Answer]) -> list[Verdict]:
        requests = [Request(prompt=one.response, decoding=_greedy()) for one in answers]
        return [_verdict(getattr(said, "text", "") == "right") for said in generate(requests)]

    yield judge


def _greedy() -> Any:
    from ppx_ext import Decoding

    return Decoding()


def _verdict(right: bool) -> Verdict:
    return Verdict(judgement=Judgement.CORRECT if right else Judgement.WRONG, reason="")


@contextlib.contextmanager
def serve(settings: Any, model: LentModel) -> Iterator[Ask]:
    def ask(requests: Sequence[Request]) -> Iterator[tuple[int, Response]]:
        for place, request in enumerate(requests):
            ASKED.append(f"{model.name}: {request.prompt}")
            yield place, Response(text="right" if request.prompt == "4" else "wrong")

    yield ask


def evaluate(settings: Any, subject: Subject) -> list[Score]:
    """Judges fixed answers to the gold 4 with each judge that it was lent."""
    correct = [0.0] * len(settings.answers)
    for judge in subject.judges.values():
        row = {"prompt": "2+2", "gold": "4"}
        verdicts = judge([Answer(row=row, response=said) for said in settings.answers])
        correct = [float(one.correct) for one in verdicts]
    return [TaskScore(task=settings.task, correct=tuple(correct))]


def plan(*suites: Mapping[str, Any]) -> Evaluation:
    """The evaluation of these blocks of the suite `judged`, in a catalog of fakes."""
    parts = [
        EvalSuite(
            name="judged",
            paper="",
            settings=Asking,
            evaluate=evaluate,
            judges=lambda settings: settings.judges,
        ),
        Judge(name="counted", paper="", settings=Empty, open=counted, version=lambda: "1"),
        Judge(name="asking", paper="", settings=Empty, open=asking, version=lambda: "1"),
        Generator(name="server", paper="", settings=Server, open=serve, remote=True),
        Generator(name="local", paper="", settings=Empty, open=serve),
    ]
    kinds = {"EvalSuite": "eval suite", "Judge": "judge", "Generator": "generator"}
    entries = {
        (kinds[type(part).__name__], part.name): catalog.Entry(
            kind=kinds[type(part).__name__], component=part, distribution="tests"
        )
        for part in parts
    }
    problems: list[str] = []
    blocks = [{"use": "judged", **suite} for suite in suites]
    found = evaluation_of({"suites": blocks}, catalog.Catalog(entries=entries), problems)
    assert found is not None, problems
    return found


SUBJECT = Subject(model=None, tokenizer=None)


def test_judges_are_opened_once_and_lent_to_their_own_suite() -> None:
    OPENED.clear()
    evaluation = plan({"judges": {"a": "counted"}}, {"task": "u", "answers": ["1", "4", "4"]})
    with opened(evaluation) as judges:
        assert [sorted(one) for one in judges] == [["a"], []]
        for _ in range(3):
            first, second = measure(evaluation, SUBJECT, judges)
            assert isinstance(first, TaskScore)
            assert isinstance(second, TaskScore)
            assert first.correct == (1.0, 0.0)
            assert second.correct == (0.0, 0.0, 0.0)
        assert OPENED == ["open"]
    assert OPENED == ["open", "closed"]
    measure(evaluation, SUBJECT)  # without open ones, they are opened for the call
    assert OPENED == ["open", "closed"] * 2


def test_a_judge_with_an_engine_of_its_own_asks_each_thing_once(tmp_path: Path) -> None:
    ASKED.clear()
    engine = {"use": "asking", "generator": {"use": "server", "model": "big"}}
    evaluation = plan({"judges": {"a": engine}}, {"task": "u", "judges": {"b": engine}})
    for _ in range(2):  # the second time as a run that was resumed
        with opened(evaluation, folder=tmp_path) as judges:
            for score in measure(evaluation, SUBJECT, judges):
                assert isinstance(score, TaskScore)
                assert score.correct == (1.0, 0.0)
    assert ASKED == ["big: 4", "big: 5"]


def test_a_model_does_not_grade_itself() -> None:
    own = plan({"judges": {"a": {"use": "asking", "generator": "local"}}})
    unnamed = plan({"judges": {"a": {"use": "asking", "generator": {"use": "server"}}}})
    for evaluation, mend in ((own, "generator: {use: openai"), (unnamed, "generator.model")):
        with (
            pytest.raises(ValueError, match=f"would grade itself.*{mend}"),
            opened(evaluation),
        ):
            raise AssertionError("it was opened")
    with (
        pytest.raises(ValueError, match="has no engine to ask"),
        opened(plan({"judges": {"a": "asking"}})),
    ):
        raise AssertionError("it was opened")


def test_the_shipped_judges_open_for_a_suite() -> None:
    problems: list[str] = []
    block = {
        "use": "tasks",
        "tasks": {"t": {"path": "t.jsonl", "judge": "math"}, "u": {"path": "t.jsonl"}},
    }
    evaluation = evaluation_of(block, catalog.load(), problems)
    assert evaluation is not None, problems
    with opened(evaluation) as (judges,):
        (judge,) = judges.values()
        row = {"prompt": "?", "gold": "1/2"}
        verdicts = judge(
            [Answer(row=row, response=said) for said in (r"\boxed{0.5}", r"\boxed{2}")]
        )
        assert [one.correct for one in verdicts] == [True, False]


# --------------------------------------------------------------------- what a suite may not give


def measured(*scores: Any) -> list[Score]:
    suite = EvalSuite(
        name="odd", paper="", settings=Empty, evaluate=lambda settings, subject: scores
    )
    entry = catalog.Entry(kind="eval suite", component=suite, distribution="tests")
    fake = catalog.Catalog(entries={("eval suite", "odd"): entry})
    problems: list[str] = []
    evaluation = evaluation_of({"use": "odd"}, fake, problems)
    assert evaluation is not None
    return measure(evaluation, SUBJECT)


@pytest.mark.parametrize(
    ("score", "problem"),
    [
        (TaskScore(task="t", correct=()), "no item"),
        (TaskScore(task="t", correct=(1.0, 1.5)), "the value 1.5 of 'correct' for item 1"),
        (TaskScore(task="t", correct=(float("nan"),)), "the value nan of 'correct' for item 0"),
        (TaskScore(task="t", correct=(1,), readings={"strict": (1, 0)}), "2 values of 'strict'"),
        (TaskScore(task="t", correct=(1,), readings={"strict": (-1,)}), "-1 of 'strict'"),
        (TaskScore(task="t", correct=(1,), items={"gold": []}), "0 entries of the column 'gold'"),
        (TextScore(task="t", nll=(), tokens=()), "no text"),
        (TextScore(task="t", nll=(1.0, 2.0), tokens=(1,)), "2 sums of NLL for 1"),
        (TextScore(task="t", nll=(float("inf"),), tokens=(1,)), "the NLL inf for text 0"),
        (TextScore(task="t", nll=(1.0,), tokens=(0,)), "text 0 with 0 measured tokens"),
        (0.5, "gave a float and no TaskScore"),
    ],
)
def test_a_suite_that_gives_what_cannot_be_is_named(score: Any, problem: str) -> None:
    with pytest.raises(RuntimeError, match="the suite 'odd'") as caught:
        measured(score)
    assert problem in str(caught.value)
    assert "error of the suite" in str(caught.value)


def test_two_tasks_of_one_name_are_refused() -> None:
    one = TaskScore(task="t", correct=(1,))
    assert measured(one) == [one]
    with pytest.raises(ValueError, match="measure a task called 't'; rename one"):
        measured(one, TextScore(task="t", nll=(1.0,), tokens=(1,)))
