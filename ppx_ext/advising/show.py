"""Advice in a terminal."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from ppx_ext.advising.advice import Advice, Prior
from ppx_ext.advising.doubt import Interval

PRIOR = (
    "This is a prior and not a finding: nothing was measured on your model and data. The paper "
    "(arXiv 2605.12906) finds that the best difficulty gets harder as the budget grows, and gives "
    "no formula; this rule is ours. Pilots tell more: `ppx budget RECIPE --grid 250,500,1000`."
)
_WORTH, _NARROW = 0.98, 0.02


def block(choose: dict[str, Any]) -> str:
    """The `choose:` block as one line of YAML."""
    import yaml

    text = yaml.safe_dump(choose, default_flow_style=True, sort_keys=False, width=1000)
    return f"choose: {str(text).strip()}"


def show_prior(found: Prior, console: Console | None = None) -> None:
    """The window that is believed, and that it is only believed."""
    console = console or Console()
    low, high = found.window
    said = f"Take rows between the quantiles {low:.3g} and {high:.3g} of difficulty."
    console.print(Text(said, style="bold"))
    console.print(Text(PRIOR, style="yellow"))
    console.print(Text(f"\n{block(found.choose)}\n"), soft_wrap=True)


def show(found: Advice, console: Console | None = None) -> None:
    """Verdict, gains, caveats, the next pilot, and the block to paste."""
    console = console or Console()
    first, *others = found.verdict
    console.print(Text(f"\n{first}", style="bold"))
    for line in others:
        console.print(Text.assemble(("· ", "bold"), line))
    console.print()
    console.print(cells(found))
    console.print()
    console.print(gains(found))
    console.print(Text(f"\nWould tell most: {next_words(found)}"))
    if found.caveats:
        console.print("\n[yellow]Before you believe it:[/yellow]")
    for line in found.caveats:
        console.print(Text.assemble(("! ", "yellow"), line))
    console.print(Text("\nPaste into the recipe's `ppx:` block:", style="dim"))
    console.print(Text(f"{block(found.choose)}\n"), soft_wrap=True)


def next_words(found: Advice) -> str:
    """The pilot that would tell most, in words."""
    one = found.next
    if one.expected > _WORTH * one.width or one.width < _NARROW:
        return (
            f"no single further pilot would narrow the optimum's interval ({one.width:.2f} wide) "
            "by much."
        )
    return (
        f"one more pilot of {one.examples:,} examples in [{one.low:.2f}, {one.high:.2f}] (it has "
        f"{one.seeds}); it should narrow the optimum's interval from {one.width:.3f} to about "
        f"{one.expected:.3f}."
    )


def cells(found: Advice) -> Table:
    """Mean value of each cell, bands across, budgets down."""
    grid = found.fitted.cells
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2))
    table.add_column(found.results.metric)
    bands = [*grid.bands, (0.0, 1.0)]
    for low, high in bands:
        name = "at random" if (low, high) == (0.0, 1.0) else f"{low:.2f} to {high:.2f}"
        table.add_column(name, justify="right")
    keys = list(zip(grid.examples_M, grid.low_M, grid.high_M, strict=True))
    values = dict(zip(keys, grid.values, strict=True))
    for budget in sorted({int(n) for n in grid.examples_M}):
        line = [values.get((budget, low, high)) for low, high in bands]
        table.add_row(f"{budget:,}", *("-" if v is None else _cell(v, found) for v in line))
    return table


def _cell(values: Any, found: Advice) -> str:
    text = f"{found.results.sign * values.mean():.3f}"
    return f"{text} ± {values.std(ddof=1):.3f}" if len(values) > 1 else text


def gains(found: Advice) -> Table:
    """Expected value and gains of the window, each with its interval."""
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2))
    low, high = found.window
    examples = f"{found.question.examples:,} examples"
    table.add_column(f"fitted window [{low:.3g}, {high:.3g}], {examples}")
    table.add_column("expected", justify="right")
    table.add_column(f"{100 * found.fitted.confidence:.0f} % interval", justify="right")
    table.add_column("")
    table.add_row(found.results.metric, *_numbers(found.predicted, ""), "")
    for gain in found.gains:
        said = "significant" if gain.significant else "not significant"
        table.add_row(f"gain over {gain.what}", *_numbers(gain.interval, "+"), said)
    return table


def _numbers(found: Interval, sign: str) -> tuple[str, str]:
    # No minus before nothing.
    value, low, high = (round(one, 3) + 0.0 for one in (found.value, found.low, found.high))
    return f"{value:{sign}.3f}", f"{low:{sign}.3f} to {high:{sign}.3f}"
