"""Plots of a report as inline SVG: no network, no script, the same bytes for the same numbers.

Colours are written as CSS variables, so that one file is readable in light and in dark.
"""

from __future__ import annotations

import io
import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Json = Mapping[str, Any]

# matplotlib knows no CSS variables: each stands for one while it draws, and is then put back.
INK, SOFT, LINE = "#010101", "#020202", "#030303"
ARMS = ("#040404", "#050505", "#060606", "#070707")
_VARIABLES = {
    INK: "var(--ink)",
    SOFT: "var(--soft)",
    LINE: "var(--line)",
    **{colour: f"var(--arm-{place})" for place, colour in enumerate(ARMS)},
}
MARKERS = ("o", "D", "s", "^")
_FONT_SIZE = 11


def gain_against_forgetting(base: Json, arms: Sequence[Json]) -> str | None:
    """One point a run: change on the target (across) and on the other tasks (up), in points.

    None where there is no target or no other task.
    """
    if base["target"] is None or base["other"] is None:
        return None
    with drawn("gain", width=5.2, height=4.2) as (figure, axes):
        axes.axhline(0, color=LINE, linewidth=1)
        axes.axvline(0, color=LINE, linewidth=1)
        axes.plot(0, 0, marker="*", markersize=12, color=INK, linestyle="")
        axes.annotate("base", (0, 0), (6, 6), textcoords="offset points", color=INK)
        for place, arm in enumerate(arms):
            _draw_arm(axes, base, arm, place)
        axes.set_xlabel("change on the target (points)")
        axes.set_ylabel("change on the other tasks (points)")
        axes.margins(0.12)
        axes.legend(frameon=False, labelcolor=INK, loc="best")
        return svg(figure, "Gain on the target against change on the other tasks, one mark a run")


def _draw_arm(axes: Axes, base: Json, arm: Json, place: int) -> None:
    colour, marker = ARMS[place % len(ARMS)], MARKERS[place % len(MARKERS)]
    gains = [run["target"] - base["target"] for run in arm["runs"]]
    kept = [run["other"] - base["other"] for run in arm["runs"]]
    look: dict[str, Any] = {"color": colour, "marker": marker, "linestyle": ""}
    axes.plot(gains, kept, markersize=6, alpha=0.45, markeredgewidth=0, **look)
    mean = (sum(gains) / len(gains), sum(kept) / len(kept))
    label = f"{arm['name']} (mean of {len(gains)})" if len(gains) > 1 else arm["name"]
    axes.plot(*mean, markersize=12, markeredgecolor=INK, label=label, **look)


def tasks(base: Json, arms: Sequence[Json], *, target: Sequence[str]) -> str:
    """Accuracy of the base and of each arm (mean over seeds) on each task, in percent."""
    names = list(base["tasks"])
    with drawn("tasks", width=5.2, height=0.9 + 0.36 * len(names)) as (figure, axes):
        for row, name in enumerate(names):
            values = [base["tasks"][name], *(arm["mean"]["tasks"][name] for arm in arms)]
            axes.plot([min(values), max(values)], [row, row], color=LINE, linewidth=3, zorder=1)
        rows = range(len(names))
        base_values = [base["tasks"][name] for name in names]
        axes.plot(base_values, rows, marker="|", markersize=13, markeredgewidth=2, linestyle="",
                  color=INK, label="base", zorder=3)  # fmt: skip
        for place, arm in enumerate(arms):
            values = [arm["mean"]["tasks"][name] for name in names]
            axes.plot(values, rows, marker=MARKERS[place % 4], markersize=7, linestyle="",
                      color=ARMS[place % 4], label=arm["name"], zorder=2, alpha=0.85)  # fmt: skip
        labels = [f"{name} (target)" if name in target else name for name in names]
        axes.set_yticks(list(rows), labels)
        axes.invert_yaxis()
        axes.set_xlim(-3, 103)
        axes.set_xlabel("accuracy (%)")
        axes.legend(
            frameon=False, labelcolor=INK, loc="lower center", ncol=len(arms) + 1,
            bbox_to_anchor=(0.5, 1.0), handletextpad=0.3, columnspacing=1.2,
        )  # fmt: skip
        return svg(figure, "Accuracy on each task: the base and each way of tuning it")


def chosen(numbers: Json, *, measure: str) -> str:
    """How hard the rows are: all of them, those that are trained on, and the window between.

    Args:
        numbers: of the record of the `choose:` stage (`choice_numbers.of`).
        measure: its name.
    """
    counts, unit = numbers["histogram"], numbers["unit"]
    edges = counts["edges"]
    widths = [high - low for low, high in itertools.pairwise(edges)]
    with drawn("chosen", width=7.2, height=3.2) as (figure, axes):
        for name, colour in (("all", LINE), ("chosen", ARMS[0])):
            rows = sum(counts[name])
            axes.bar(edges[:-1], counts[name], widths, align="edge", color=colour,
                     linewidth=0, label=f"{name}: {rows:,}")  # fmt: skip
        if numbers["window"] is not None:
            _draw_window(axes, numbers["window"])
        axes.set_xlabel(f"{measure} ({unit})" if unit else measure)
        axes.set_ylabel("rows")
        axes.grid(visible=False, axis="x")
        axes.margins(x=0.01)
        axes.legend(
            frameon=False, labelcolor=INK, loc="lower left", ncol=3, bbox_to_anchor=(0.0, 1.0),
            handlelength=1.4, handletextpad=0.5, columnspacing=1.4, borderaxespad=0.2,
        )  # fmt: skip
        return svg(figure, "Rows by difficulty: all, and those that were chosen")


def _draw_window(axes: Axes, window: Json) -> None:
    low, high = window["quantiles"]
    names = (f"quantiles {low:.2f} to {high:.2f}", None)
    for score, name in zip(window["scores"], names, strict=True):
        axes.axvline(score, color=INK, linewidth=1.2, linestyle=(0, (4, 3)), label=name)


@contextmanager
def drawn(name: str, *, width: float, height: float) -> Iterator[tuple[Figure, Axes]]:
    """A figure in the page's colours; ``name`` keeps its ids apart from those of other figures."""
    import matplotlib as mpl
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    look = {"svg.hashsalt": name, "svg.fonttype": "none", "font.size": _FONT_SIZE}
    with mpl.rc_context(look):
        figure = Figure(figsize=(width, height), layout="constrained")
        FigureCanvasSVG(figure)
        figure.patch.set_alpha(0)
        axes = figure.add_subplot()
        axes.patch.set_alpha(0)
        axes.spines[["top", "right"]].set_visible(False)
        axes.spines[["left", "bottom"]].set_color(LINE)
        axes.tick_params(color=LINE, labelcolor=SOFT)
        axes.xaxis.label.set_color(SOFT)
        axes.yaxis.label.set_color(SOFT)
        axes.grid(color=LINE, linewidth=0.5, alpha=0.6)
        axes.set_axisbelow(True)
        yield figure, axes


def svg(figure: Figure, label: str) -> str:
    """A drawn figure as inline SVG; ``label`` is what a screen reader says."""
    stream = io.StringIO()
    figure.savefig(stream, format="svg", metadata={"Date": None, "Creator": None})
    text = stream.getvalue()
    text = text[text.index("<svg") :]
    # An inline figure has the page's font and width; the namespace of its root needs no address.
    text = re.sub(r'<svg [^>]*?viewBox="([^"]+)"[^>]*>', _root(label), text, count=1)
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r'<g id="[^"]*"', "<g", text)  # two figures of a page would share these
    text = text.replace("xlink:href", "href")
    text = re.sub(r" font-family: [^;\"]*;", "", text)
    text = re.sub(r"font: ([\d.]+px) [^;\"]*", r"font-size: \1", text)  # older matplotlib
    for colour, variable in _VARIABLES.items():
        text = text.replace(colour, variable)
    return text


def _root(label: str) -> str:
    return rf'<svg viewBox="\1" role="img" aria-label="{label}">'
