"""A study's judgements on a terminal."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.table import Table

Json = dict[str, Any]

_COLOURS = {"reproduced": "green", "not reproduced": "red", "not significant": "yellow"}


def show(report: Json, console: Console | None = None) -> None:
    """Print each observation with its verdict and its claims."""
    console = console or Console()
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2))
    for title in ("", "observation", "verdict"):
        table.add_column(title)
    for found in report["observations"]:
        colour = _COLOURS[found["verdict"]]
        table.add_row(
            str(found["number"]), found["words"], f"[{colour}]{found['verdict']}[/{colour}]"
        )
        for claim in found["claims"]:
            table.add_row("", f"[dim]{claim['words']}: {interval_words(claim)}[/dim]", "")
        if found["note"]:
            table.add_row("", f"[dim]{found['note']}[/dim]", "")
    console.print(table)
    console.print(f"{report['seeds']} seeds; 1 to 6 are the paper's, the others beyond.")


def interval_words(claim: Json) -> str:
    """For instance ``+3.1 points (+0.2 to +6.0), holds by accuracy``."""
    measure = claim["judged_by"]
    found = claim["intervals"][measure]
    counted = "place" in claim["words"]
    scale = 100 if measure == "accuracy" and not counted else 1
    unit = " places" if counted else " points" if measure == "accuracy" else " nats"
    digits = 3 if unit == " nats" else 1

    def shown(value: float) -> str:
        return f"{scale * value:+.{digits}f}"

    ends = "" if found["low"] is None else f" ({shown(found['low'])} to {shown(found['high'])})"
    return f"{shown(found['mean'])}{unit}{ends}, {claim['outcome']} by {measure}"
