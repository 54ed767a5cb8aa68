"""The demo's results on the terminal: the table first, then what it means, then where more is."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

Json = Mapping[str, Any]

_LINES = (
    ("target accuracy, %", "target", 1),
    ("other tasks' accuracy, %", "other", 1),
    ("TI, %", "ti", 1),
    ("BWT, %", "bwt", 1),
    ("average drop, points", "drop", 1),
    ("perplexity of held-out gold", "perplexity", 2),
    ("own answers trained on, %", "own", 1),
    ("own paraphrases, %", "paraphrase", 1),
    ("golds, %", "gold", 1),
    ("tokens masked, %", "tokens_masked", 1),
    ("loss kept, %", "loss_kept", 1),
    ("weights moved (L2 norm)", "update_norm", 2),
    ("training, seconds", "seconds", 1),
)
_SHARES = ("own", "paraphrase", "gold", "tokens_masked", "loss_kept")
_CHANGES = ("ti", "bwt")
_OF_BASE = ("target", "other", "perplexity")


def show(report: Json, *, out: Path, seconds: float, console: Console | None = None) -> None:
    """Print the comparison table, the verdict, the warnings and the paths of the report."""
    console = console or Console()
    study = report["study"]
    console.print()
    console.print(table(study))
    count = study["arms"][0]["n"]
    others = sum(not task["target"] for task in report["items"]["base"]["scores"])
    console.print(
        f"Accuracies are of final answers; other tasks: mean of {others}. ± is the standard "
        f"deviation over {count} seed{'s' if count > 1 else ''}.\n",
        style="dim",
    )
    for sentence in report["verdict"]:
        console.print(Text.assemble(("· ", "bold"), sentence))
    if report["warnings"]:
        console.print("\n[yellow]Before you believe it:[/yellow]")
    for warning in report["warnings"]:
        console.print(Text.assemble(("! ", "yellow"), warning))
    console.print(
        Text(f"\n{seconds:.0f} s. Report: {out / 'report.html'} and {out / 'report.json'}")
    )


def table(study: Json) -> Table:
    """One column for the base and one for each arm: mean ± standard deviation over seeds."""
    found = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2))
    found.add_column("")
    for name in ("base", *(arm["name"] for arm in study["arms"])):
        found.add_column(name, justify="right")
    for title, key, digits in _LINES:
        base = _cell(study["base"], {}, key, digits) if key in _OF_BASE else ""
        cells = (_cell(arm["mean"], arm["sd"], key, digits) for arm in study["arms"])
        found.add_row(title, base, *cells)
    return found


def _cell(mean: Json, sd: Json, key: str, digits: int) -> str:
    value = mean.get(key)
    if value is None:
        return "undefined" if key in _CHANGES else "-"
    if key in _SHARES:
        return f"{100 * value:.{digits}f}"
    digits = 0 if value >= 1000 else digits
    text = f"{value:{'+' if key in _CHANGES else ''}.{digits}f}"
    deviation = sd.get(key)
    return text if deviation is None else f"{text} ± {deviation:.{digits}f}"
