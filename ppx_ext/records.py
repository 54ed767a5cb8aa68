"""How measured scores lie on disk: plain JSON, with each item's result, so all is recomputable."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ppx_ext.contracts import TaskScore
from ppx_ext.files import write_atomic

EVAL_FILE = "ppx_eval.json"
SCHEMA = 1


def evaluation_record(
    scores: Sequence[TaskScore], *, when: str, step: int, seconds: float
) -> dict[str, Any]:
    """One evaluation as plain JSON values, raw item results included.

    The file ``ppx_eval.json`` of a training run is ``{"schema": 1, "suite": {...}, "evaluations":
    [record, ...]}``: the first record is that of the untouched model (``when`` is ``before``).
    """
    return {
        "when": when,
        "step": step,
        "seconds": seconds,
        "scores": [dump_score(score) for score in scores],
    }


def dump_score(score: TaskScore) -> dict[str, Any]:
    """A `TaskScore` as plain JSON values; items as 0 and 1."""
    return {"task": score.task, "target": score.target, "correct": [int(c) for c in score.correct]}


def load_score(found: Mapping[str, Any]) -> TaskScore:
    """What `dump_score` wrote.

    Raises:
        ValueError: a key is missing, or there is no item.
    """
    try:
        correct = tuple(bool(item) for item in found["correct"])
        score = TaskScore(task=found["task"], correct=correct, target=bool(found["target"]))
    except (KeyError, TypeError) as error:
        raise ValueError(f"not a task's score ({error!r}): {found!r}") from error
    if not correct:
        raise ValueError(f"task {score.task!r} has a score without items")
    return score


def write_text(path: Path, text: str) -> None:
    """Write a file whole or not at all, in a folder that is made where there is none."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, lambda file: file.write(text.encode()))


def write_json(path: Path, value: Any) -> None:
    """`write_text` of strict JSON (no NaN or infinity), indented."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")
