"""The measures in the terminal, and as one self-contained page with a histogram of each."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ppx_ext.choice_numbers import QUANTILES, histogram
from ppx_ext.files import write_atomic
from ppx_ext.measuring.numbers import Measure, Pair, Table, pairs
from ppx_ext.plots import ARMS, INK, LINE, SOFT, drawn, svg

if TYPE_CHECKING:
    from matplotlib.axes import Axes

BANDS = ("easy", "medium", "hard")
_TAIL = 0.005
_FAR = 1.5
"""An axis ends at the outer 0.5 % where the rest would take more than half as much room again."""


def show(table: Table) -> None:
    """Print quantiles and correlations."""
    from rich import box
    from rich.console import Console
    from rich.table import Table as Rich

    console = Console(markup=False)
    # Seven quantiles leave little of 80 columns for the name: one space between them will do.
    sizes = Rich(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    sizes.add_column("measure", overflow="fold", min_width=15)
    for name in ("rows", "lost", *(f"{q} %" for q in QUANTILES)):
        sizes.add_column(name, justify="right", no_wrap=True)
    for one in table.measures:
        told = one.dump()
        values = [number(value) for value in told["quantiles"].values()]
        unit = f"\n  {one.unit}" if one.unit else ""
        sizes.add_row(f"{one.label}{unit}", str(told["rows"]), str(told["not_measured"]), *values)
    console.print(sizes, crop=False)
    found = pairs(table.measures)
    if found:
        together = Rich(box=box.SIMPLE_HEAD, pad_edge=False)
        for name in ("correlation of", "and", "Spearman", "Pearson", "rows"):
            together.add_column(name)
        for pair in found:
            values = [coefficient(pair.spearman), coefficient(pair.pearson)]
            together.add_row(pair.first, pair.second, *values, str(pair.rows))
        console.print(together)


def number(value: float) -> str:
    """A quantile, short."""
    if value != 0 and not 0.01 <= abs(value) < 1_000_000:
        return f"{value:.2g}"
    return f"{value:,.0f}" if abs(value) >= 1000 or value == int(value) else f"{value:.3g}"


def coefficient(value: float | None) -> str:
    """A correlation; none where one measure is constant, or too few rows have both."""
    return "none" if value is None else f"{value:+.3f}"


def write_page(table: Table, path: Path, *, title: str) -> None:
    """Write the page: one file, no network, no script.

    Raises:
        OSError: it cannot be written.
    """
    text = render(table, title=title)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, lambda file: file.write(text.encode()))


def render(table: Table, *, title: str) -> str:
    """The page; everything from data is escaped."""
    import jinja2
    from markupsafe import Markup

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("ppx_ext"), autoescape=True, undefined=jinja2.StrictUndefined
    )
    environment.filters |= {"number": number, "coefficient": coefficient}
    plots = [Markup(draw(one)) for one in table.measures if len(one.known)]
    found: Sequence[Pair] = pairs(table.measures)
    return environment.get_template("measures.html.j2").render(
        title=title,
        quantiles=QUANTILES,
        measures=[one.dump() for one in table.measures],
        plots=plots,
        pairs=found,
    )


def draw(one: Measure) -> str:
    """The histogram of a measure with its three bands, as inline SVG."""
    score_N = one.known
    low, high = axis_of(score_N)
    inside_N = (score_N >= low) & (score_N <= high)
    bars: Any = histogram(score_N[inside_N], inside_N[inside_N])
    with drawn(one.label, width=7.5, height=3.0) as (figure, axes):
        axes.stairs(bars["all"], bars["edges"], fill=True, color=ARMS[1], alpha=0.85)
        if np.ptp(score_N) > 0:  # a constant has no bands
            _bands(axes, score_N, bars["edges"][0], bars["edges"][-1])
        axes.set_xlim(bars["edges"][0], bars["edges"][-1])
        axes.set_xlabel(f"{one.label} ({one.unit})" if one.unit else one.label)
        axes.set_ylabel("rows")
        beyond = len(score_N) - int(inside_N.sum())
        if beyond:
            note = f"{beyond} rows beyond the axis, {score_N.min():.3g} to {score_N.max():.3g}"
            axes.annotate(
                note, (1, 0.72), xycoords="axes fraction", ha="right", color=SOFT, fontsize=9
            )
        return svg(figure, f"Histogram of {one.label} with the bands easy, medium and hard")


def axis_of(score_N: Any) -> tuple[float, float]:
    """Where an axis begins and ends: at the extremes, unless a few rows lie far out."""
    low, high = (float(q) for q in np.quantile(score_N, (_TAIL, 1 - _TAIL)))
    least, most = float(score_N.min()), float(score_N.max())
    far = most - least > _FAR * (high - low) and high > low
    return (low, high) if far else (least, most)


def _bands(axes: Axes, score_N: Any, low: float, high: float) -> None:
    """Lines at the tertiles, and between them the names of the bands above the bars."""
    edges = [low, *np.quantile(score_N, (1 / 3, 2 / 3)), high]
    axes.set_ylim(top=axes.get_ylim()[1] * 1.18)
    for edge in edges[1:-1]:
        axes.axvline(edge, color=INK, linewidth=1, linestyle=(0, (4, 3)))
    for at, name in enumerate(BANDS):
        left, right = edges[at], edges[at + 1]
        if at % 2 == 0:
            axes.axvspan(left, right, color=LINE, alpha=0.35, linewidth=0, zorder=0)
        if right > left:
            axes.annotate(
                name, ((left + right) / 2, 0.92), xycoords=("data", "axes fraction"),
                ha="center", color=SOFT,
            )  # fmt: skip
