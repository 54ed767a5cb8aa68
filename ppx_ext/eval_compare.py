"""One measured model against another, on the same items: every change with what chance allows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ppx_ext import metrics
from ppx_ext.eval_run import Results, tasks_of
from ppx_ext.evaluating.models import Measured
from ppx_ext.reporting import changes
from ppx_ext.suites import TaskScore, TextScore

SCHEMA = 1


def dump(results: Results) -> dict[str, Any]:
    """All results as plain JSON values; accuracies in percent, drops in points.

    Keys: ``schema``; ``base`` and ``models`` (each model's `level` of every task, reading and
    text); ``comparisons`` (see `compare`); ``gate`` (of each model, see `gates.Checked`, or null);
    ``chosen`` (the model that was chosen and why, or null); ``ok``.
    """
    best = results.best
    chosen = None
    if best is not None:
        one = None if best.at is None else results.models[best.at]
        chosen = {
            "model": one and one.name,
            "path": one and one.path,
            "target": [100 * score for score in best.target],
            "words": best.words,
        }
    gate = [
        {"model": one.name, **found.dump()}
        for one, found in zip(results.models, results.checked, strict=False)
    ]
    return {
        "schema": SCHEMA,
        "base": None if results.base is None else level(results.base),
        "models": [level(one) for one in results.models],
        "comparisons": [compare(old, new) for old, new in results.pairs],
        "gate": gate or None,
        "chosen": chosen,
        "ok": results.ok,
    }


def level(measured: Measured) -> dict[str, Any]:
    """What one model can do: accuracy of each task and reading, perplexity of each text."""
    tasks = {
        score.task: {
            "target": score.target,
            **changes.level(score.correct),
            "readings": {name: changes.level(found) for name, found in score.readings.items()},
        }
        for score in tasks_of(measured)
    }
    return {
        "name": measured.name,
        "path": measured.path,
        "step": measured.step,
        "seconds": measured.seconds,
        "kept": measured.kept,
        "tasks": tasks,
        "texts": {score.task: changes.perplexity(score) for score in _texts(measured)},
    }


def compare(before: Measured, after: Measured) -> dict[str, Any]:
    """``after`` against ``before``.

    Keys: ``against``, ``model``; ``tasks`` (change of each, in points, with paired bootstrap
    interval and, for right and wrong answers, exact McNemar test); ``texts`` (times the perplexity,
    paired); ``drop``, ``ti``, ``bwt`` (``value``, ``low``, ``high``); ``undefined`` and ``notes``
    (sentences).
    """
    old, new = tasks_of(before), tasks_of(after)
    value, chance = metrics.change(old, new), metrics.intervals(old, new)
    texts, notes = _text_changes(before, after)
    return {
        "against": before.name,
        "model": after.name,
        "tasks": [
            {"task": a.task, "target": a.target, **_change(a, b)} for a, b in metrics.pair(old, new)
        ],
        "texts": texts,
        **{
            name: _valued(getattr(value, name), getattr(chance, name))
            for name in ("drop", "ti", "bwt")
        },
        "undefined": [*value.undefined, *chance.undefined],
        "notes": [*_formats(old, new), *notes],
    }


def _change(before: TaskScore, after: TaskScore) -> dict[str, Any]:
    return {
        "before": 100 * before.accuracy,
        "after": 100 * after.accuracy,
        "change": changes.shift([(before.correct, after.correct)]),
    }


def _valued(value: float | None, interval: metrics.Interval | None) -> dict[str, Any] | None:
    if value is None:
        return None
    low, high = interval or (None, None)
    return {"value": value, "low": low, "high": high}


def _formats(before: Sequence[TaskScore], after: Sequence[TaskScore]) -> list[str]:
    """What is lost in form and not in skill: the strict reading fell, the flexible one did not."""
    found: dict[str, dict[str, Any]] = {}
    for one in changes.readings(before, after):
        found.setdefault(one["task"], {})[one["reading"]] = one["change"]
    return [
        f"{task}: read strictly it fell ({_told(read['strict'])}), read flexibly it did not "
        f"({_told(read['flexible'])}): the answers are there, but not in the form that is asked "
        "for. This is a loss of format, not of skill."
        for task, read in found.items()
        if _fell(read.get("strict")) and read.get("flexible") and not _fell(read["flexible"])
    ]


def _fell(change: dict[str, Any] | None) -> bool:
    return change is not None and change["significant"] and change["points"] < 0


def _told(change: dict[str, Any]) -> str:
    return f"{change['points']:+.1f} points, {change['words']}"


def _texts(measured: Measured) -> list[TextScore]:
    return [score for score in measured.scores if isinstance(score, TextScore)]


def _text_changes(before: Measured, after: Measured) -> tuple[list[dict[str, Any]], list[str]]:
    new = {score.task: score for score in _texts(after)}
    found, notes = [], []
    for old in _texts(before):
        if old.task not in new:
            notes.append(f"The texts {old.task!r} were measured on {before.name} alone.")
            continue
        try:
            found.append({"task": old.task, **changes.perplexity_change(old, new[old.task])})
        except ValueError as error:
            notes.append(f"Their perplexities cannot be compared: {error}.")
    return found, notes
