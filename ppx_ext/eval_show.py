"""What `ppx eval` measured as tables and sentences for the terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

Json = Mapping[str, Any]


def show(found: Json) -> None:
    """Print what `eval_compare.dump` gives."""
    from rich.console import Console

    console = Console()
    models = [one for one in (found["base"], *found["models"]) if one is not None]
    console.print(_levels(models))
    for one in found["comparisons"]:
        console.print(_changes(one))
        for line in sentences(one):
            console.print(line, highlight=False)
    for one in found["gate"] or []:
        console.print(f"\n[bold]{one['model']}[/]: {one['words']}", highlight=False)
    if found["chosen"] is not None:
        console.print(f"\n[bold]Chosen[/]: {found['chosen']['words']}", highlight=False)


def _levels(models: Sequence[Json]) -> Any:
    """A row for each task and model: tables of many checkpoints stay as narrow as those of two."""
    from rich.table import Table

    readings = list(dict.fromkeys(name for one in models for name in _readings(one)))
    table = Table(title="Accuracy in %, perplexity as it is")
    table.add_column("task", overflow="fold")
    table.add_column("model", overflow="fold")
    for name in ("score", "95 % interval", *readings, "items"):
        table.add_column(name, justify="right")
    for task, first in models[0]["tasks"].items():
        label = f"{task} (target)" if first["target"] else task
        for one in models:
            found = one["tasks"][task]
            beside = [_share(found["readings"].get(name)) for name in readings]
            cells = [_share(found), _between(found, ".1f"), *beside, str(found["items"])]
            table.add_row(label, one["name"], *cells)
            label = ""
        table.add_section()
    for text in models[0]["texts"]:
        label = f"{text} (perplexity)"
        for one in (one for one in models if text in one["texts"]):
            found = one["texts"][text]
            beside = ["" for _ in readings]
            cells = [_times(found["perplexity"]), _between(found, ".4g"), *beside]
            table.add_row(label, one["name"], *cells, str(found["texts"]))
            label = ""
        table.add_section()
    return table


def _readings(model: Json) -> list[str]:
    return [name for task in model["tasks"].values() for name in task["readings"]]


def _share(level: Json | None) -> str:
    return "" if level is None else f"{level['accuracy']:.1f}"


def _times(value: float | None) -> str:
    return "overflow" if value is None else f"{value:.4g}"


def _between(found: Json, form: str) -> str:
    low, high = found["low"], found["high"]
    return "-" if low is None or high is None else f"{low:{form}} to {high:{form}}"


def _changes(one: Json) -> Any:
    from rich.table import Table

    table = Table(title=f"{one['model']} against {one['against']}", title_justify="left")
    for column in ("task", "change", "95 % interval", "beyond chance?"):
        table.add_column(column, justify="left" if column == "task" else "right")
    for task in one["tasks"]:
        change = task["change"]
        points = f"{_signed(task['after'] - task['before'])} points"
        chance = ["-", "one item: unknown"]
        if change is not None:
            chance = [_between(change, "+.1f"), change["words"]]
        table.add_row(task["task"], points, *chance)
    for text in one["texts"]:
        times = f"x {_times(text['times'])}"
        table.add_row(f"{text['task']} (perplexity)", times, _between(text, ".4g"), text["words"])
    return table


def sentences(one: Json) -> list[str]:
    """The numbers of a comparison, and what must be known of them, a line each."""
    lines = [
        f"{name}: {_signed(value['value'])} {unit}{_interval(value)}{_doubt(value)}"
        for key, name, unit in NUMBERS
        if (value := one[key]) is not None
    ]
    return [*lines, *one["undefined"], *one["notes"]]


NUMBERS = (
    ("drop", "Average drop on the other tasks (above 0 is forgetting)", "points"),
    ("bwt", "BWT (below 0 is forgetting)", "%"),
    ("ti", "TI (target improvement)", "%"),
)


def _interval(value: Json) -> str:
    if value["low"] is None:
        return " (no interval)"
    return f" (95 % CI {value['low']:+.1f} to {value['high']:+.1f})"


def _doubt(value: Json) -> str:
    if value["low"] is None:
        return ""
    return ", not significant" if value["low"] <= 0 <= value["high"] else ", significant"


def _signed(value: float) -> str:
    return f"{round(value, 1) + 0.0:+.1f}"
