"""What a finished training of a pilot left behind -> its value."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ppx_ext.advising.grid import Job, Metric
from ppx_ext.advising.pilots import Pilot
from ppx_ext.records import EVAL_FILE, load_score

STATE_FILE = "ppx_state.json"


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """A pilot that came through.

    Attributes:
        examples: rows that were really trained on.
        base: value of the untouched base; None where it was not measured.
        rows: that there were to choose from.
        notes: shortfalls that the stage told of.
    """

    examples: int
    low: float
    high: float
    seed: int
    value: float
    base: float | None
    rows: int
    notes: tuple[str, ...] = ()

    @property
    def pilot(self) -> Pilot:
        """As a row of the results."""
        whole = (self.low, self.high) == (0.0, 1.0)
        kind = "all" if whole and self.examples >= self.rows else "random" if whole else "band"
        fields = {
            name: getattr(self, name) for name in ("examples", "low", "high", "seed", "value")
        }
        return Pilot.model_validate({**fields, "kind": kind})

    def dump(self) -> dict[str, Any]:
        """As plain JSON values."""
        return {**asdict(self), "notes": list(self.notes)}


def measured(folder: Path, job: Job, metric: Metric) -> Outcome:
    """Read what a host wrote into its output folder.

    Raises:
        ValueError: nothing was chosen, or nothing was measured; what to do is said.
    """
    base, value = (_accuracies if metric == "accuracy" else _losses)(folder)
    numbers = _choice(folder)
    examples = int(numbers["distinct_rows_chosen"])
    rows = int(numbers["candidates"]) - int(numbers["left_out"].get("duplicates", 0))
    notes = [f"{job.name}: {note}" for note in numbers["notes"]]
    return Outcome(
        examples=examples,
        low=job.low,
        high=job.high,
        seed=job.seed,
        value=value,
        base=base,
        rows=rows,
        notes=tuple(notes),
    )


def _choice(folder: Path) -> dict[str, Any]:
    path = folder / STATE_FILE
    records = _read(path)["records"] if path.is_file() else []
    for record in records:
        if record["stage"] == "choose":
            numbers: dict[str, Any] = record["numbers"]
            return numbers
    raise ValueError(f"{path} tells of no choice of rows, so that this was no pilot")


def _accuracies(folder: Path) -> tuple[float | None, float]:
    """Mean accuracy over the target tasks: of the base, and after training."""
    path = folder / EVAL_FILE
    found = _read(path)["evaluations"] if path.is_file() else []
    values: dict[str, float] = {}
    for record in found:
        scores = [load_score(score) for score in record["scores"]]
        targets = [score.accuracy for score in scores if score.target]
        if not targets:
            raise ValueError(
                "no task of the `eval:` stage is marked as the target, so that pilots have no "
                "value: set `target: true` on one, or give --metric eval_loss"
            )
        values[record["when"]] = sum(targets) / len(targets)
    if "after" not in values:
        raise ValueError(f"{path}: the trained model was not evaluated")
    return values.get("before"), values["after"]


def _losses(folder: Path) -> tuple[float | None, float]:
    """Evaluation loss before the first step, and after the last."""
    states = sorted(folder.glob("checkpoint-*/trainer_state.json"), key=_step)
    history = _read(states[-1])["log_history"] if states else []
    losses = [
        (entry["step"], float(entry["eval_loss"])) for entry in history if "eval_loss" in entry
    ]
    after = [loss for step, loss in losses if step > 0]
    if not after:
        raise ValueError(
            "the run evaluated no loss: the recipe needs evaluation rows of its own (an evaluation "
            "split or file), or an `eval:` stage with a target task"
        )
    before = [loss for step, loss in losses if step == 0]
    return (before[0] if before else None), after[-1]


def _step(state: Path) -> int:
    return int(state.parent.name.rpartition("-")[2])


def _read(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found
