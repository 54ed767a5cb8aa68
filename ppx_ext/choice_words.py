"""What a record of the `choose:` stage says in words: the choice, and what to know of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Json = Mapping[str, Any]


def sentences(stage: Json) -> list[str]:
    """What was chosen of how much, from where, and in which order."""
    numbers = stage["numbers"]
    targets = f"{numbers['targets_chosen']:,} targets"
    if numbers["epochs"] > 1:
        targets += f" in {numbers['epochs']} epochs"
    found = [
        f"Of {numbers['rows']:,} rows, the sampler {_name(stage)} chose "
        f"{numbers['distinct_rows_chosen']:,} ({targets}) by `{measure_of(stage)}`"
        f"{_window(numbers)}."
    ]
    if numbers["ordered"]:
        found.append(f"They are trained on in the order of the sampler{_epochs(numbers)}.")
    return found


def warnings(stage: Json) -> list[str]:
    """Shortfalls and notes of the sampler, and rows that could not be measured."""
    numbers = stage["numbers"]
    found = [f"{_name(stage)}: {note}" for note in numbers["notes"]]
    for reason, rows in numbers["not_measured"].items():
        found.append(f"{rows:,} rows could not be chosen{_whose(stage)} ({reason}).")
    return found


def measure_of(stage: Json) -> str:
    """The measure's name."""
    return str(stage["settings"]["by"]["use"])


def _name(stage: Json) -> str:
    return f"`{stage['component']}`{_whose(stage)}"


def _whose(stage: Json) -> str:
    """Of a comparison, the arm."""
    return f" for {stage['arm']}" if stage.get("arm") else ""


def _window(numbers: Json) -> str:
    if numbers["window"] is None:
        return ""
    low, high = numbers["window"]["quantiles"]
    believed = " (a prior, not a finding)" if numbers["prior"] else ""
    return f", from the quantiles {low:.2f} to {high:.2f} of difficulty{believed}"


def _epochs(numbers: Json) -> str:
    passes = numbers["epochs"]
    return f", in which {passes} epochs follow one another" if passes > 1 else ""
