"""Several judges as one: the first that can tell decides."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Any

from ppx_ext.answering import Answer, Judge, JudgeAll, Judgement, Verdict
from ppx_ext.contracts import Tools
from ppx_ext.stages import JudgeStage, Stage


@dataclass(frozen=True, kw_only=True, slots=True)
class _Opened:
    """A judge that is open, by its name and version, with the columns that it reads."""

    judge: JudgeAll
    named: str
    columns: tuple[str, ...]
    needs_gold: bool


@contextlib.contextmanager
def open_judges(
    judges: Sequence[JudgeStage], lend: Callable[[JudgeStage], Tools]
) -> Iterator[JudgeAll]:
    """Open all judges, and lend them as one that puts name and version into each verdict.

    What the first judge cannot tell goes to the next one, and so on; where none can tell, the
    reasons of all are joined.

    Args:
        judges: in order, with checked settings.
        lend: the effects for one judge.

    Raises:
        ValueError: a judge could not judge here; with the mend. From the lent judge, at its first
            answers: they lack a column that is needed.
    """
    with ExitStack() as stack:
        opened = [_open(stack, one, lend(one)) for one in judges]
        checked = False

        def judge_all(answers: Sequence[Answer]) -> list[Verdict]:
            nonlocal checked
            if answers and not checked:
                _check_columns(opened, answers)
                checked = True
            return _judge(opened, answers)

        yield judge_all


def _open(stack: ExitStack, judge: JudgeStage, tools: Tools) -> _Opened:
    component, settings = judge.stage.component, judge.stage.settings
    lent = stack.enter_context(component.open(settings, tools))
    return _Opened(
        judge=lent,
        named=named(judge.stage),
        columns=tuple(component.columns(settings)),
        needs_gold=component.needs_gold,
    )


def named(stage: Stage[Judge]) -> str:
    """A judge's name and version, as they stand in a verdict."""
    return f"{stage.component.name} {stage.component.version()}"


def needed_columns(judges: Sequence[JudgeStage]) -> tuple[str, ...]:
    """Columns that any of the judges reads, each once; ``gold`` too where one needs it."""
    names = [name for one in judges for name in one.stage.component.columns(one.stage.settings)]
    gold = ["gold"] if any(one.stage.component.needs_gold for one in judges) else []
    return tuple(dict.fromkeys([*gold, *names]))


def _check_columns(opened: Sequence[_Opened], answers: Sequence[Answer]) -> None:
    there = {name for answer in answers for name in answer.row}
    for one in opened:
        needed = (*(["gold"] if one.needs_gold else []), *one.columns)
        require(needed, there, reader=f"the judge {one.named}")


def require(needed: Iterable[str], there: Iterable[str], *, reader: str) -> None:
    """Make sure that columns are there.

    Raises:
        ValueError: one is not; it is named, with those that are there.
    """
    missing = [name for name in needed if name not in set(there)]
    if missing:
        plural = "s" if len(missing) > 1 else ""
        raise ValueError(
            f"{reader} reads the column{plural} {', '.join(map(repr, missing))}, which no row has. "
            f"Columns: {', '.join(sorted(there)) or 'none'}."
        )


def _judge(opened: Sequence[_Opened], answers: Sequence[Answer]) -> list[Verdict]:
    heard: list[list[Verdict]] = [[] for _ in answers]
    waiting = list(range(len(answers)))
    for one in opened:
        if waiting:
            _ask(one, answers, waiting, heard)
            waiting = [at for at in waiting if heard[at][-1].judgement is Judgement.UNKNOWN]
    return [_decided(verdicts) for verdicts in heard]


def _ask(
    one: _Opened, answers: Sequence[Answer], waiting: Sequence[int], heard: list[list[Verdict]]
) -> None:
    """Have one judge tell of the answers that wait; what it must not read it is not asked."""
    asked = [at for at in waiting if not (one.needs_gold and _no_gold(answers[at]))]
    verdicts = one.judge([answers[at] for at in asked]) if asked else []
    if len(verdicts) != len(asked):
        raise RuntimeError(
            f"the judge {one.named} gave {len(verdicts)} verdicts on {len(asked)} answers; this is "
            "an error of the judge"
        )
    found = dict(zip(asked, verdicts, strict=True))
    none = Verdict(judgement=Judgement.UNKNOWN, reason="the row has no gold")
    for at in waiting:
        heard[at].append(replace(found.get(at, none), judge=one.named))


def _no_gold(answer: Answer) -> bool:
    gold: Any = answer.row.get("gold")
    return gold is None or (isinstance(gold, str) and not gold.strip())


def _decided(verdicts: Sequence[Verdict]) -> Verdict:
    last = verdicts[-1]
    if last.judgement is not Judgement.UNKNOWN or len(verdicts) == 1:
        return last
    reasons = "; ".join(f"{one.judge}: {one.reason}" for one in verdicts)
    names = ", ".join(one.judge for one in verdicts)
    return Verdict(judgement=Judgement.UNKNOWN, reason=reasons, judge=names)
