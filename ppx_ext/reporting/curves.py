"""What the trainer logged: its state in the output folder, or in that of its last checkpoint."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

TRAINER_FILE = "trainer_state.json"
HISTORY_FILE = "log_history.json"
_AT = ("step", "epoch")
_SUMMARY = ("train_runtime", "train_samples_per_second", "train_steps_per_second", "train_loss")
_LEFT_OUT = ("total_flos", "eval_runtime", "eval_samples_per_second", "eval_steps_per_second")

Json = Mapping[str, Any]


def find(folder: Path) -> Path | None:
    """The newest state of the trainer below an output folder; None where it left none."""
    whole = folder / TRAINER_FILE
    if whole.is_file():
        return whole
    states = [
        path
        for path in folder.glob(f"checkpoint-*/{TRAINER_FILE}")
        if path.parent.name.rpartition("-")[2].isdigit()
    ]
    return max(states, key=lambda path: int(path.parent.name.rpartition("-")[2]), default=None)


def read(path: Path, *, folder: Path) -> dict[str, Any]:
    """The log of a trainer as series over steps; see `schema.Training`.

    Args:
        path: a trainer's state, or the list of its log entries.
        folder: of the run, from which the source is named.

    Raises:
        ValueError: it cannot be read.
    """
    try:
        state = json.loads(path.read_text(encoding="utf-8"))
        if isinstance(state, list):
            state = _state(state)
        return of(state, source=str(path.relative_to(folder)))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path} is no trainer's state that can be read: {error!r}") from error


def _state(history: Sequence[Json]) -> Json:
    last = max(history, key=lambda entry: entry["step"], default={})
    return {
        "log_history": history,
        "global_step": last.get("step", 0),
        "epoch": last.get("epoch"),
    }


def of(state: Json, *, source: str) -> dict[str, Any]:
    """The series and totals of a trainer's state; values that are no finite number are counted."""
    history: Sequence[Json] = state["log_history"]
    series: dict[str, list[list[float]]] = {}
    totals: dict[str, float] = {}
    lost: dict[str, int] = {}
    for entry in history:
        for key, value in entry.items():
            if key in _SUMMARY:
                totals[key] = float(value)
            elif key in (*_AT, *_LEFT_OUT) or isinstance(value, bool | str) or value is None:
                continue
            elif not math.isfinite(value):
                lost[key] = lost.get(key, 0) + 1
            else:
                series.setdefault(key, []).append([entry["step"], float(value)])
    return {
        "source": source,
        "steps": int(state["global_step"]),
        "epochs": state.get("epoch"),
        "totals": totals,
        "series": series,
        "not_finite": lost,
    }


def warnings(training: Json | None) -> list[str]:
    """Losses that were no number."""
    if training is None:
        return []
    return [
        f"`{name}` was no finite number in {count:,} of the trainer's log entries."
        for name, count in training["not_finite"].items()
    ]
