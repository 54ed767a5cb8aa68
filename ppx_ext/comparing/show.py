"""A comparison on the terminal: the table first, then what it means, then where more is."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from ppx_ext.verdict import sentences

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
_COLUMNS = (
    ("target, %", "target", 1),
    ("others, %", "other", 1),
    ("TI, %", "ti", 1),
    ("BWT, %", "bwt", 1),
    ("drop, points", "drop", 1),
    ("masked, %", "tokens_masked", 1),
    ("moved", "update_norm", 2),
)
_SHARES = ("own", "paraphrase", "gold", "tokens_masked", "loss_kept")
_CHANGES = ("ti", "bwt")
_MEASURED = (*_CHANGES, "drop")
_OF_BASE = ("target", "other", "perplexity")
_WIDE = 4


def show(report: Json, *, out: Path, seconds: float, console: Console | None = None) -> None:
    """Print the comparison table, the verdict, the warnings and the paths of the report."""
    console = console or Console()
    study = report["study"]
    console.print()
    console.print(table(study) if len(study["arms"]) <= _WIDE else long_table(study))
    count = max(arm["n"] for arm in study["arms"])
    others = sum(not task["target"] for task in report["items"]["base"]["scores"])
    console.print(
        f"Accuracies are of final answers; other tasks: mean of {others}. ± is the standard "
        f"deviation over {count} seed{'s' if count > 1 else ''}, [ ] a 95 % interval over items.\n",
        style="dim",
    )
    said = _said(report)
    for sentence in said:
        console.print(Text.assemble(("· ", "bold"), sentence))
    if more := len(report["verdict"]) - len(said):
        console.print(Text(f"  {more} more sentences, on all other pairs: in the report.", "dim"))
    if report["warnings"]:
        console.print("\n[yellow]Before you believe it:[/yellow]")
    for warning in report["warnings"]:
        console.print(Text.assemble(("! ", "yellow"), warning))
    console.print(
        Text(f"\n{seconds:.0f} s. Report: {out / 'report.html'} and {out / 'report.json'}")
    )


def _said(report: Json) -> list[str]:
    """All sentences of few arms; of many, none on pairs that the comparison is not made for."""
    study = report["study"]
    if len(study["arms"]) <= _WIDE:
        return list(report["verdict"])
    planned = ("base", study["arms"][0]["name"])
    others = [test for test in study["tests"] if test["against"] not in planned]
    left_out = set(sentences(others))
    return [sentence for sentence in report["verdict"] if sentence not in left_out]


def table(study: Json) -> Table:
    """One column for the base and one for each arm: mean ± standard deviation over seeds."""
    found = _empty("base", *(arm["name"] for arm in study["arms"]))
    for title, key, digits in _LINES:
        if not any(key in arm["mean"] or key in _CHANGES for arm in study["arms"]):
            continue
        base = _cell(study["base"], {}, key, digits) if key in _OF_BASE else ""
        cells = (_cell(arm["mean"], arm["sd"], key, digits) for arm in study["arms"])
        found.add_row(title, base, *cells)
        if key in _MEASURED:
            found.add_row("", "", *(_interval(arm, key) for arm in study["arms"]), style="dim")
    return found


def long_table(study: Json) -> Table:
    """One row for the base and one for each arm."""
    found = _empty(*(title for title, _, _ in _COLUMNS), gap=1)
    base = [_cell(study["base"], {}, key, d) if key in _OF_BASE else "" for _, key, d in _COLUMNS]
    found.add_row("base", *base)
    for arm in study["arms"]:
        name = f"{arm['name']} *" if arm["name"] in study["frontier"] else arm["name"]
        cells = []
        for _, key, digits in _COLUMNS:
            cell = _cell(arm["mean"], arm["sd"], key, digits)
            cells.append(f"{cell}\n{_interval(arm, key)}" if key in _MEASURED else cell)
        found.add_row(name, *cells)
    found.caption = "* none is better on both, target and others"
    found.caption_justify = "left"
    return found


def _empty(*titles: str, gap: int = 2) -> Table:
    found = Table(box=None, pad_edge=False, header_style="bold", padding=(0, gap))
    # On a narrow terminal names break as well, rather than lose what tells them apart.
    found.add_column("", overflow="fold")
    for title in titles:
        found.add_column(title, justify="right", overflow="fold")
    return found


def _interval(arm: Json, key: str) -> str:
    found = arm["intervals"].get(key)
    return "" if found is None else f"[{found[0]:+.1f}, {found[1]:+.1f}]"


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
