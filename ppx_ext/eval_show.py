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
    from rich.table import Table

    table = Table(title="Accuracy in %, perplexity as it is; with 95 % intervals")
    table.add_column("task")
    for one in models:
        table.add_column(one["name"], justify="right")
    for task, first in models[0]["tasks"].items():
        mark = " (target)" if first["target"] else ""
        table.add_row(f"{task}{mark}", *(_share(one["tasks"].get(task)) for one in models))
        for name in first["readings"]:
            cells = [
                _share(one["tasks"].get(task, {}).get("readings", {}).get(name)) for one in models
            ]
            table.add_row(f"  {name}", *cells)
    for text in models[0]["texts"]:
        table.add_row(f"{text} (perplexity)", *(_times(one["texts"].get(text)) for one in models))
    return table


def _share(level: Json | None) -> str:
    if level is None:
        return "-"
    return f"{level['accuracy']:.1f}{_between(level['low'], level['high'], '.1f')}"


def _times(level: Json | None) -> str:
    if level is None:
        return "-"
    value = level["perplexity"]
    shown = "overflow" if value is None else f"{value:.4g}"
    return f"{shown}{_between(level['low'], level['high'], '.4g')}"


def _between(low: float | None, high: float | None, form: str) -> str:
    return "" if low is None or high is None else f" ({low:{form}} to {high:{form}})"


def _changes(one: Json) -> Any:
    from rich.table import Table

    table = Table(title=f"{one['model']} against {one['against']}", title_justify="left")
    for column in ("task", "change", "95 % interval", "beyond chance?"):
        table.add_column(column, justify="left" if column == "task" else "right")
    for task in one["tasks"]:
        change = task["change"]
        points = task["after"] - task["before"]
        cells = ["-", "one item: unknown"]
        if change is not None:
            cells = [f"{change['low']:+.1f} to {change['high']:+.1f}", change["words"]]
        table.add_row(task["task"], f"{_signed(points)} points", *cells)
    for text in one["texts"]:
        times = "overflow" if text["times"] is None else f"x {text['times']:.4g}"
        interval = _between(text["low"], text["high"], ".4g").strip(" ()") or "-"
        table.add_row(f"{text['task']} (perplexity)", times, interval, text["words"])
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
