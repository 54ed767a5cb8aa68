"""A check of what the contract of evaluation suites promises."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ppx_ext.catalog import Catalog, load
from ppx_ext.eval_plan import Evaluation, SuiteStage
from ppx_ext.evaluating.judges import Judges, opened
from ppx_ext.evaluating.measure import measure
from ppx_ext.stages import Stage, judges_of
from ppx_ext.suites import EvalSuite, Score, Subject, TaskScore

CLOSE = 1e-4


def check_suite(
    suite: EvalSuite,
    settings: Mapping[str, Any] | None = None,
    *,
    model: Any,
    tokenizer: Any,
    catalog: Catalog | None = None,
    processes: int = 3,
) -> list[Score]:
    """Check that a suite keeps its contract.

    Its settings come back from JSON; its judges can be opened; its scores are in range, with names
    of their own and columns of one length; the same model gives the same scores again; several
    processes that share the work all have the scores of one; and the weights and their gradients
    are left alone.

    Args:
        suite: the component.
        settings: what a recipe would give.
        model, tokenizer: of a small model that can do something of what is asked.
        catalog: where judges are looked up; None takes the installed ones.
        processes: that share the work.

    Returns:
        The scores.

    Raises:
        AssertionError: it does not; the message says how.
        ValueError: as the suite's own ``check``.
    """
    checked = suite.settings.model_validate(dict(settings or {}))
    again = suite.settings.model_validate(json.loads(checked.model_dump_json()))
    assert again == checked, "settings are not the same after a way through JSON"
    suite.check(checked)
    evaluation = _evaluation(suite, checked, catalog or load())
    weights = {name: value.clone() for name, value in model.state_dict().items()}
    gradients = {name: one.grad for name, one in model.named_parameters()}
    model.eval()
    with opened(evaluation) as judges:
        scores = measure(evaluation, Subject(model=model, tokenizer=tokenizer), judges)
        second = measure(evaluation, Subject(model=model, tokenizer=tokenizer), judges)
        _same(scores, second, "measured again")
        for found in _together(evaluation, model, tokenizer, judges, processes):
            _same(scores, found, f"measured by {processes} processes")
    for name, value in model.state_dict().items():
        assert value.equal(weights[name]), f"the weights of {name} were changed"
    for name, one in model.named_parameters():
        assert one.grad is gradients[name], f"the gradient of {name} was changed"
    return scores


def _evaluation(suite: EvalSuite, settings: Any, catalog: Catalog) -> Evaluation:
    problems: list[str] = []
    judges = {
        name: judges_of(block, f"judge {name!r}", catalog, problems)
        for name, block in suite.judges(settings).items()
    }
    assert not problems, "its judges cannot be had: " + "; ".join(problems)
    stage = Stage(component=suite, settings=settings)
    return Evaluation(suites=(SuiteStage(stage=stage, judges=judges),))


def _together(
    evaluation: Evaluation, model: Any, tokenizer: Any, judges: Judges, processes: int
) -> list[list[Score]]:
    """The scores that each of several processes would have.

    One process after the other runs up to its next gather, and from the start again with what all
    of them had to say there: on one model, nothing may run side by side.
    """
    said: list[list[Any]] = []
    while True:
        found: list[Any] = []
        for rank in range(processes):
            subject = Subject(
                model=model,
                tokenizer=tokenizer,
                rank=rank,
                processes=processes,
                gather=_gather(said),
            )
            try:
                found.append(measure(evaluation, subject, judges))
            except _GatheredError as gathered:
                found.append(gathered)
        waiting = [one for one in found if isinstance(one, _GatheredError)]
        if not waiting:
            return found
        assert len(waiting) == processes, "the processes do not gather equally often"
        said.append([one.value for one in waiting])


class _GatheredError(BaseException):
    """A process has come to a gather; no suite catches this."""

    def __init__(self, value: Any) -> None:
        self.value = value


def _gather(said: Sequence[list[Any]]) -> Callable[[Any], Sequence[Any]]:
    known = iter(list(said))

    def gather(value: Any) -> Sequence[Any]:
        for values in known:
            return list(values)
        raise _GatheredError(value)

    return gather


def _same(scores: Sequence[Score], others: Sequence[Score], when: str) -> None:
    names = [score.task for score in scores]
    found = [score.task for score in others]
    assert found == names, f"{when}, there are the tasks {found} for {names}"
    for one, other in zip(scores, others, strict=True):
        assert _alike(one, other), f"{when}, {one.task!r} has other scores: {other} for {one}"


def _alike(one: Score, other: Score) -> bool:
    if isinstance(one, TaskScore):
        return one == other
    return (
        not isinstance(other, TaskScore)
        and (one.tokens, one.fingerprint) == (other.tokens, other.fingerprint)
        and all(map(_close, one.nll, other.nll))
    )


def _close(one: float, other: float) -> bool:
    return math.isclose(one, other, rel_tol=CLOSE, abs_tol=CLOSE)
