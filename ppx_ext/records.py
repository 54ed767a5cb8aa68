"""How measured scores lie on disk: plain JSON, with each item's result, so all is recomputable."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ppx_ext.files import write_atomic
from ppx_ext.suites import Score, TaskScore, TextScore

EVAL_FILE = "ppx_eval.json"
SCHEMA = 1


def evaluation_record(
    scores: Sequence[Score], *, when: str, step: int, seconds: float, **more: Any
) -> dict[str, Any]:
    """One evaluation as plain JSON values, raw item results included.

    The file ``ppx_eval.json`` of a training run is ``{"schema": 1, "evaluation": {...},
    "evaluations": [record, ...]}``: the first record is that of the untouched model (``when`` is
    ``before``), the last that of the trained one (``after``); between them lie ``during``.
    """
    return {
        "when": when,
        "step": step,
        "seconds": seconds,
        "scores": [dump_score(score) for score in scores if isinstance(score, TaskScore)],
        "texts": [_dump_text(score) for score in scores if isinstance(score, TextScore)],
        **more,
    }


def dump_score(score: TaskScore) -> dict[str, Any]:
    """A `TaskScore` as plain JSON values; right and wrong as 1 and 0. `items` are left out."""
    readings = {name: _plain(values) for name, values in score.readings.items()}
    known = {"readings": readings, "fingerprint": score.fingerprint}
    found = {"task": score.task, "target": score.target, "correct": _plain(score.correct)}
    return found | {key: value for key, value in known.items() if value}


def _plain(values: Sequence[float]) -> list[float]:
    return [int(value) if value in (0, 1) else float(value) for value in values]


def _dump_text(score: TextScore) -> dict[str, Any]:
    found = {"task": score.task, "nll": [*map(float, score.nll)]}
    found["tokens"] = [*map(int, score.tokens)]
    return found | ({"fingerprint": score.fingerprint} if score.fingerprint else {})


def load_score(found: Mapping[str, Any]) -> TaskScore:
    """What `dump_score` wrote.

    Raises:
        ValueError: a key is missing, or there is no item.
    """
    try:
        score = TaskScore(
            task=found["task"],
            correct=tuple(map(float, found["correct"])),
            target=bool(found["target"]),
            readings={
                name: tuple(map(float, values))
                for name, values in found.get("readings", {}).items()
            },
            fingerprint=found.get("fingerprint", ""),
        )
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise ValueError(f"not a task's score ({error!r}): {found!r}") from error
    if not score.correct:
        raise ValueError(f"task {score.task!r} has a score without items")
    return score


def load_scores(record: Mapping[str, Any]) -> list[Score]:
    """The scores of a record that `evaluation_record` made, tasks before texts.

    Raises:
        ValueError: a key is missing, or a score has no item.
    """
    scores: list[Score] = [load_score(found) for found in record["scores"]]
    for found in record.get("texts", []):
        try:
            nll, tokens = tuple(map(float, found["nll"])), tuple(map(int, found["tokens"]))
            fingerprint = found.get("fingerprint", "")
            scores.append(
                TextScore(task=found["task"], nll=nll, tokens=tokens, fingerprint=fingerprint)
            )
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"not a text's score ({error!r}): {found!r}") from error
    return scores


def write_text(path: Path, text: str) -> None:
    """Write a file whole or not at all, in a folder that is made where there is none."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, lambda file: file.write(text.encode()))


def write_json(path: Path, value: Any) -> None:
    """`write_text` of strict JSON (no NaN or infinity), indented."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")
