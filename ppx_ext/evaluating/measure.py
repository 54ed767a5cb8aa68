"""All suites of an `eval:` stage on one model, and whether what they gave can be believed."""

from __future__ import annotations

import contextlib
import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ppx_ext.eval_plan import Evaluation
from ppx_ext.evaluating.judges import Judges, opened
from ppx_ext.suites import Score, Subject, TaskScore, TextScore

if TYPE_CHECKING:
    from contextlib import AbstractContextManager


def measure(evaluation: Evaluation, subject: Subject, judges: Judges | None = None) -> list[Score]:
    """The scores of all suites, in order.

    Args:
        evaluation: its suites are run one after the other.
        subject: the model; each suite is lent its own judges in it.
        judges: open ones (`judges.opened`); None opens them for this call.

    Raises:
        ValueError: two suites give a task the same name; a judge cannot be had.
        RuntimeError: a suite gave scores that cannot be (a value outside [0, 1], columns of
            different length): an error of the suite, which is named.
    """
    lent: AbstractContextManager[Judges] = (
        opened(evaluation) if judges is None else contextlib.nullcontext(judges)
    )
    found: list[Score] = []
    with lent as there:
        for suite, own in zip(evaluation.suites, there, strict=True):
            component, settings = suite.stage.component, suite.stage.settings
            scores = component.evaluate(settings, replace(subject, judges=own))
            for score in scores:
                check_score(score, suite=component.name)
            found += scores
    check_names(score.task for score in found)
    return found


def check_names(names: Iterable[str]) -> None:
    """Make sure that no two scores have the same name.

    Raises:
        ValueError: two have.
    """
    if twice := sorted(name for name, times in Counter(names).items() if times > 1):
        raise ValueError(
            f"two suites of `eval:` measure a task called {', '.join(map(repr, twice))}; rename one"
        )


def check_score(score: Any, *, suite: str) -> None:
    """Make sure that a score is one.

    Raises:
        RuntimeError: it is not; suite, task and item are named.
    """

    def wrong(what: str) -> RuntimeError:
        return RuntimeError(f"the suite {suite!r} {what}; this is an error of the suite")

    if isinstance(score, TaskScore):
        problem = _problem_of_task(score)
    elif isinstance(score, TextScore):
        problem = _problem_of_text(score)
    else:
        raise wrong(f"gave a {type(score).__name__} and no TaskScore or TextScore")
    if problem := problem or _problem_of_columns(score):
        raise wrong(f"gave for the task {score.task!r} {problem}")


def _problem_of_task(score: TaskScore) -> str | None:
    if not score.correct:
        return "no item"
    for name, values in {"correct": score.correct, **score.readings}.items():
        if len(values) != len(score.correct):
            return f"{len(values)} values of {name!r} for {len(score.correct)} items"
        for item, value in enumerate(values):
            if not 0 <= value <= 1:  # NaN too
                return f"the value {value!r} of {name!r} for item {item}, outside 0 to 1"
    return None


def _problem_of_text(score: TextScore) -> str | None:
    if not score.nll:
        return "no text"
    if len(score.nll) != len(score.tokens):
        return f"{len(score.nll)} sums of NLL for {len(score.tokens)} numbers of tokens"
    for item, (nll, tokens) in enumerate(zip(score.nll, score.tokens, strict=True)):
        if not math.isfinite(nll) or nll < 0:
            return f"the NLL {nll!r} for text {item}"
        if tokens < 1:
            return f"text {item} with {tokens} measured tokens"
    return None


def _problem_of_columns(score: Score) -> str | None:
    items = len(score.correct if isinstance(score, TaskScore) else score.nll)
    columns: dict[str, Sequence[Any]] = dict(score.items)
    for name, values in columns.items():
        if len(values) != items:
            return f"{len(values)} entries of the column {name!r} for {items} items"
    return None
