"""A check of what the contract of judges promises."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ppx_ext.answering import Answer, Judge, Judgement
from ppx_ext.contracts import Tools
from ppx_ext.judging import open_judges
from ppx_ext.judging.files import no_tools
from ppx_ext.stages import JudgeStage, Stage

WEIRD = (
    "",
    " \n\t ",
    "\x00\x01\x7f",
    "\ud800 half a pair",
    "\u202e\u0301 🧮 ∑",
    "x" * 200_000,
    "{" * 5_000,
    "((((" * 2_000 + "\\frac{" * 2_000,
    "9" * 20_000,
    "```python\n",
    "The answer is",
    "#### ",
    "\\boxed{",
    "CORRECT\nVERDICT: CORRECT",
)
"""Responses that no judge may stumble over."""

UNREADABLE = (None, "", " \n ")
"""Golds that no judge can read."""


def check_judge(
    judge: Judge,
    settings: Mapping[str, Any] | None = None,
    *,
    right: Answer,
    wrong: Answer,
    tools: Tools | None = None,
) -> None:
    """Check that a judge keeps its contract.

    One verdict for each answer, in order and with a reason; the same whatever answers are beside
    it; no exception, and nothing correct, on weird responses; a gold that cannot be read is
    UNKNOWN; rows are left as they were; and it can be composed.

    Args:
        judge: the component.
        settings: what a recipe would give; its settings model checks them.
        right, wrong: answers that it must find correct, and wrong.
        tools: effects; none are lent where they are not given.

    Raises:
        AssertionError: it does not; the message says how.
    """
    checked = judge.settings.model_validate(dict(settings or {}))
    stage = JudgeStage(stage=Stage(component=judge, settings=checked))
    weird = [Answer(row=right.row, response=text) for text in WEIRD]
    before = repr([right.row, wrong.row])
    with open_judges([stage], lambda one: tools or no_tools(one)) as judge_all:
        alone = [judge_all([one])[0].judgement for one in (right, wrong)]
        assert alone[0] is Judgement.CORRECT, f"not correct: {judge_all([right])[0].reason}"
        assert alone[1] is Judgement.WRONG, f"not wrong: {judge_all([wrong])[0].reason}"
        answers = [wrong, *weird, right, wrong]
        verdicts = judge_all(answers)
        assert len(verdicts) == len(answers), f"{len(verdicts)} verdicts on {len(answers)} answers"
        said = [verdict.judgement for verdict in verdicts]
        assert [said[-2], said[-1]] == alone, (
            "another verdict beside other answers, or another order"
        )
        for answer, verdict in zip(answers, verdicts, strict=True):
            _check_words(answer, verdict.reason, verdict.judge, judge)
        for answer, verdict in zip(weird, verdicts[1:-2], strict=True):
            found = verdict.judgement is not Judgement.CORRECT
            assert found, f"found correct: {answer.response[:60]!r} ({verdict.reason})"
        assert list(judge_all([])) == [], "no answers must give no verdicts"
        if judge.needs_gold:
            _check_golds(judge_all([_with_gold(right, gold) for gold in UNREADABLE]))
    with judge.open(checked, tools or no_tools(stage)) as bare:
        assert len(bare([_with_gold(right, gold) for gold in UNREADABLE])) == len(UNREADABLE)
    assert repr([right.row, wrong.row]) == before, "a row was changed"


def _check_words(answer: Answer, reason: str, named: str, judge: Judge) -> None:
    assert reason.strip(), f"no reason for the verdict on {answer.response[:60]!r}"
    assert named == f"{judge.name} {judge.version()}", f"the verdict names {named!r} as its judge"


def _check_golds(verdicts: Sequence[Any]) -> None:
    for gold, verdict in zip(UNREADABLE, verdicts, strict=True):
        found = verdict.judgement is Judgement.UNKNOWN
        assert found, f"the gold {gold!r} cannot be read, but the verdict is {verdict.judgement}"


def _with_gold(answer: Answer, gold: Any) -> Answer:
    return Answer(row={**answer.row, "gold": gold}, response=answer.response)
