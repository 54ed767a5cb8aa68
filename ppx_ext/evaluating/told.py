"""An evaluation in the course of training: its numbers for trackers, and a line for the log."""

from __future__ import annotations

import math
from collections.abc import Sequence

from ppx_ext.metrics import change
from ppx_ext.suites import Score, TaskScore, TextScore


def line(
    when: str, step: int, before: Sequence[Score], scores: Sequence[Score], *, seconds: float
) -> str:
    """What was measured, when, and how long it took."""
    shown = [
        f"{score.task} {100 * score.accuracy:.1f} %"
        if isinstance(score, TaskScore)
        else f"{score.task} perplexity {score.perplexity:.4g}"
        for score in scores
    ]
    found = scalars(before, scores) if when != "before" else {}
    drop = found.get("eval_ppx_average_drop")
    shown += [] if drop is None else [f"average drop {drop:+.1f} points"]
    place = "untouched model" if when == "before" else f"step {step}"
    return f"{place}: {', '.join(shown)} ({seconds:.1f} s)"


def scalars(before: Sequence[Score], scores: Sequence[Score]) -> dict[str, float]:
    """What trackers are told of an evaluation; a number that is undefined is left out.

    Args:
        before: of the untouched model.
        scores: of the model as it is.
    """
    found: dict[str, float] = {}
    for score in scores:
        if isinstance(score, TextScore):
            found[f"eval_{score.task}_perplexity"] = score.perplexity
            continue
        found[f"eval_{score.task}_accuracy"] = score.accuracy
        for name, values in score.readings.items():
            found[f"eval_{score.task}_{name}"] = sum(values) / len(values)
    if scores is not before:
        tasks = ([s for s in one if isinstance(s, TaskScore)] for one in (before, scores))
        changed = change(*tasks)
        numbers = {"average_drop": changed.drop, "ti": changed.ti, "bwt": changed.bwt}
        found |= {f"eval_ppx_{name}": v for name, v in numbers.items() if v is not None}
    return {name: value for name, value in found.items() if math.isfinite(value)}


def undefined(before: Sequence[Score]) -> tuple[str, ...]:
    """What trackers will not be told, because the untouched model gives it no value; and why."""
    tasks = [score for score in before if isinstance(score, TaskScore)]
    return change(tasks, tasks).undefined if tasks else ()
