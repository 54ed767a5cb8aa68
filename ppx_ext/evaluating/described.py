"""An `eval:` stage in words, and what of it is wrong before anything is measured."""

from __future__ import annotations

from collections.abc import Iterator

from ppx_ext import gates
from ppx_ext.eval_plan import Evaluation
from ppx_ext.evaluating.measure import check_names
from ppx_ext.suites import Planned, Score, TaskScore, TextScore

_ENDS = {
    "warn": "a warning",
    "stop": "training stops",
    "restore_best": "training stops and ends with the best weights within the limits",
}


def described(evaluation: Evaluation) -> str:
    """Which suites, when, and how much may be forgotten: one line."""
    names = [suite.stage.component.name for suite in evaluation.suites]
    times = ["before the first step", *_between(evaluation), "at the end"]
    parts = [f"measured by {', '.join(names)}: {', '.join(times)}", *_gate(evaluation)]
    if evaluation.keep == "best":
        parts.append("ends with the weights of the best target score within the gate")
    if evaluation.where == "apart":
        parts.append("each time from a checkpoint in a process of its own")
    return "; ".join(parts)


def _between(evaluation: Evaluation) -> Iterator[str]:
    every = evaluation.every
    if every is not None and every.steps is not None:
        yield "every step" if every.steps == 1 else f"every {every.steps} steps"
    elif every is not None:
        yield "every epoch" if every.epochs == 1 else f"every {every.epochs:g} epochs"


def _gate(evaluation: Evaluation) -> Iterator[str]:
    gate = evaluation.gate
    if gate is None:
        return
    limits = [] if gate.max_drop is None else [f"average drop {gate.max_drop:g}"]
    limits += [f"{task} {limit:g}" for task, limit in gate.tasks.items()]
    chance = ", beyond chance" if gate.beyond_chance else ""
    yield f"gate: at most {', '.join(limits)} points{chance}, else {_ENDS[gate.on_breach]}"


def problems(evaluation: Evaluation) -> list[str]:
    """What is wrong beforehand: files, tasks and libraries that lack, and names in the gate."""
    found = []
    for suite in evaluation.suites:
        try:
            suite.stage.component.check(suite.stage.settings)
        except ValueError as error:
            found.append(f"ppx.eval ({suite.stage.component.name}): {error}")
    if found:
        return found
    try:
        check_planned(evaluation)
    except ValueError as error:
        return [f"ppx.eval: {error}"]
    return []


def check_planned(evaluation: Evaluation) -> None:
    """Make sure that the scores to come have names of their own, and are what the stage speaks of.

    Raises:
        ValueError: two suites name a task alike; or, where every suite can tell its tasks, the gate
            or ``keep: best`` asks for one that will not be measured.
    """
    planned = [one.stage.component.planned(one.stage.settings) for one in evaluation.suites]
    check_names(name for one in planned for name in one or ())
    if None in planned:
        return
    scores = [_stand_in(name, kind) for one in planned for name, kind in (one or {}).items()]
    if evaluation.gate is not None:
        gates.check_tasks(evaluation.gate, scores)
    if evaluation.keep == "best":
        gates.best(scores, [scores], None)


def _stand_in(name: str, kind: Planned) -> Score:
    if kind == "text":
        return TextScore(task=name, nll=(0.0,), tokens=(1,))
    return TaskScore(task=name, correct=(0.0,), target=kind == "target")
