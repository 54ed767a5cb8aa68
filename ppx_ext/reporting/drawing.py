"""Plots of one run: its loss, what it forgot, how its rows were chosen, whose words they are."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ppx_ext.building.composition import WORDS
from ppx_ext.building.provenance import SOURCES
from ppx_ext.plots import ARMS, INK, LINE, PAPER, SOFT, Plot, drawn, plot

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Json = Mapping[str, Any]
Points = Sequence[tuple[float, float]]

LOST, GAINED = ARMS[0], ARMS[1]
_WIDTH = 5.2
_APART = 0.075
"""Two names nearer than this share of the axes' height would run into each other."""


def series(
    name: str,
    lines: Sequence[tuple[str, Points]],
    *,
    ylabel: str,
    label: str,
    colours: Sequence[str] = (ARMS[1], ARMS[0]),
) -> Plot:
    """Lines over steps, each with its name at its end where there are several.

    Args:
        name: of the figure, which keeps its ids apart.
        lines: name and (step, value), ... of each.
        ylabel: what the values are.
        label: what a screen reader says.
        colours: of the lines.
    """
    with drawn(name, width=_WIDTH, height=3.0) as (figure, axes):
        for (_, points), colour in zip(lines, itertools.cycle(colours), strict=False):
            steps, values = zip(*points, strict=True)
            mark = "o" if len(points) < 30 else None
            axes.plot(steps, values, color=colour, linewidth=1.8, marker=mark, markersize=3.5,
                      solid_capstyle="round")  # fmt: skip
        axes.set_xlabel("step")
        axes.set_ylabel(ylabel)
        axes.margins(x=0.02)
        if min(value for _, line in lines for _, value in line) >= 0:
            axes.set_ylim(bottom=0)
        if len(lines) > 1:
            _name_ends(axes, lines, colours)
        return plot(figure, label)


def _name_ends(axes: Axes, lines: Sequence[tuple[str, Points]], colours: Sequence[str]) -> None:
    """Names right of the last points, pushed apart where they would overlap."""
    low, high = axes.get_ylim()
    end = max(step for _, points in lines for step, _ in points)
    ends = sorted((points[-1][1], words, at) for at, (words, points) in enumerate(lines))
    height = -math.inf
    for value, words, at in ends:
        height = max(value, height + _APART * (high - low))
        axes.annotate(words, (end, height), (7, 0), textcoords="offset points", va="center",
                      color=colours[at % len(colours)], annotation_clip=False)  # fmt: skip


def forgetting(evaluations: Sequence[Json], *, limit: float | None) -> Plot:
    """What the other tasks lost on average, in points, with its interval; breaches are crossed.

    Args:
        evaluations: those of a run, the untouched model's first (it has lost nothing).
        limit: of the gate, in points; None draws none.
    """
    with drawn("forgetting", width=_WIDTH, height=3.2) as (figure, axes):
        found = [(one["step"], one["drop"]) for one in evaluations if one["drop"]]
        steps = [evaluations[0]["step"], *(step for step, _ in found)]
        lost = [0.0, *(drop["points"] for _, drop in found)]
        low = [0.0, *(drop["low"] for _, drop in found)]
        high = [0.0, *(drop["high"] for _, drop in found)]
        axes.axhline(0, color=LINE, linewidth=1.2)
        axes.fill_between(steps, low, high, color=LOST, alpha=0.16, linewidth=0)
        axes.plot(steps, lost, color=LOST, linewidth=1.8, marker="o", markersize=5)
        if limit is not None:
            _draw_limit(axes, limit)
        _mark(axes, evaluations, lambda one: one["drop"]["points"] if one["drop"] else 0.0)
        axes.set_xlabel("step")
        axes.set_ylabel("average drop (points)")
        axes.margins(x=0.03)
        return plot(
            figure,
            "Average drop of the other tasks over steps, in points, with its 95 % interval",
        )


def _draw_limit(axes: Axes, limit: float) -> None:
    axes.axhline(limit, color=INK, linewidth=1.2, linestyle=(0, (4, 3)))
    axes.annotate(f"limit {limit:g}", (1, limit), (-2, 3), xycoords=("axes fraction", "data"),
                  textcoords="offset points", color=INK, ha="right", va="bottom")  # fmt: skip


def _mark(axes: Axes, evaluations: Sequence[Json], height: Any) -> None:
    """A cross where the gate was breached, and a ring round the evaluation that was kept."""
    for one in evaluations:
        at = (one["step"], height(one))
        if one["gate"] and not one["gate"]["ok"]:
            axes.plot(*at, marker="x", markersize=11, markeredgewidth=2.2, color=INK, zorder=5)
        if one["kept"]:
            axes.plot(*at, marker="o", markersize=14, markerfacecolor="none", color=INK,
                      markeredgewidth=1.6, zorder=5)  # fmt: skip
            axes.annotate("kept", at, (0, 11), textcoords="offset points", color=INK, ha="center")


def task(
    name: str, place: int, evaluations: Sequence[Json], *, target: bool, limit: float | None
) -> Plot:
    """One task's accuracy over steps with its interval; the untouched model's as a line.

    Args:
        name: of the task.
        place: among the tasks, which keeps the ids of their figures apart.
        evaluations: those of a run, the untouched model's first.
        target: whether it is what the model is trained for.
        limit: the largest drop that the gate allows, in points; None draws none.
    """
    colour = GAINED if target else LOST
    found = [(one["step"], one["tasks"][name]) for one in evaluations if name in one["tasks"]]
    steps = [step for step, _ in found]
    levels = [level["accuracy"] for _, level in found]
    with drawn(f"task-{place}", width=3.4, height=2.1) as (figure, axes):
        axes.axhline(levels[0], color=SOFT, linewidth=1, linestyle=(0, (1, 2)))
        if all(level["low"] is not None for _, level in found):
            low = [level["low"] for _, level in found]
            high = [level["high"] for _, level in found]
            axes.fill_between(steps, low, high, color=colour, alpha=0.16, linewidth=0)
        axes.plot(steps, levels, color=colour, linewidth=1.8, marker="o", markersize=4)
        if limit is not None:
            axes.axhline(levels[0] - limit, color=INK, linewidth=1.2, linestyle=(0, (4, 3)))
        _ends(axes, steps, levels)
        axes.set_yticks(range(0, 101, 25))
        axes.set_ylim(*_window(found, levels[0] - (limit or 0.0)))
        axes.margins(x=0.09)
        axes.set_xlabel("step")
        axes.set_ylabel("accuracy (%)")
        return plot(figure, f"Accuracy on {name} over steps with its 95 % interval")


def _window(found: Sequence[tuple[float, Json]], least: float) -> tuple[float, float]:
    """What of the accuracies is shown: what was measured, and never less than 50 points of them."""
    ends = [level[key] for _, level in found for key in ("low", "high") if level[key] is not None]
    values = [*ends, *(level["accuracy"] for _, level in found), least]
    low, high = min(values) - 3, max(values) + 9
    middle = (low + high) / 2
    return min(low, middle - 25), max(high, middle + 25)


def _ends(axes: Axes, steps: Sequence[float], levels: Sequence[float]) -> None:
    """The first and the last accuracy in figures."""
    for at in dict.fromkeys((0, len(steps) - 1)):
        axes.annotate(f"{levels[at]:.1f}", (steps[at], levels[at]), (0, 7), ha="center",
                      textcoords="offset points", color=INK, fontsize=10)  # fmt: skip


def readings(found: Sequence[Json]) -> Plot:
    """Before and after of each reading of each task: a hollow mark, and a full one."""
    with drawn("readings", width=_WIDTH, height=0.9 + 0.42 * len(found)) as (figure, axes):
        for row, one in enumerate(found):
            before, after = one["before"]["accuracy"], one["after"]["accuracy"]
            colour = LOST if after < before else GAINED
            axes.plot([before, after], [row, row], color=colour, linewidth=2, alpha=0.5)
            axes.plot(before, row, marker="o", markersize=8, color=colour, markerfacecolor="none",
                      markeredgewidth=1.8)  # fmt: skip
            axes.plot(after, row, marker="o", markersize=8, color=colour)
        names = [f"{one['task']}, {one['reading']}" for one in found]
        axes.set_yticks(range(len(names)), names)
        axes.set_ylim(len(names) - 0.5, -0.5)
        axes.set_xlim(-3, 103)
        axes.set_xlabel("accuracy (%): hollow before, full after")
        return plot(figure, "Accuracy by reading of the answers, before and after")


def chosen(numbers: Json, *, measure: str, place: int = 0) -> Plot:
    """How hard the rows are: all of them, those that are trained on, and the window between.

    Args:
        numbers: of the record of the `choose:` stage (`choice_numbers.of`).
        measure: its name.
        place: among the samplers, which keeps the ids of their figures apart.
    """
    counts, unit = numbers["histogram"], numbers["unit"]
    edges = counts["edges"]
    widths = [high - low for low, high in itertools.pairwise(edges)]
    with drawn(f"chosen-{place}", width=6.4, height=3.0) as (figure, axes):
        for name, colour in (("all", LINE), ("chosen", ARMS[1])):
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
        return plot(figure, "Rows by difficulty: all, and those that were chosen")


def _draw_window(axes: Axes, window: Json) -> None:
    low, high = window["quantiles"]
    names = (f"quantiles {low:.2f} to {high:.2f}", None)
    for score, name in zip(window["scores"], names, strict=True):
        axes.axvline(score, color=INK, linewidth=1.2, linestyle=(0, (4, 3)), label=name)


def composition(numbers: Json, *, place: int = 0) -> Plot:
    """Whose words the targets are: one bar for this data set, one for each of the paper's."""
    rows = {"this data set": numbers["shares"], **numbers["published"]}
    with drawn(f"composition-{place}", width=_WIDTH, height=1.2 + 0.5 * len(rows)) as (
        figure,
        axes,
    ):
        for row, shares in enumerate(rows.values()):
            left = 0.0
            for at, source in enumerate(SOURCES):
                share = 100 * (shares.get(source) or 0.0)
                colour = (ARMS[1], ARMS[4], ARMS[0])[at]
                axes.barh(row, share, left=left, color=colour, height=0.62, linewidth=0,
                          alpha=1 if row == 0 else 0.45)  # fmt: skip
                if share >= 9:
                    axes.text(left + share / 2, row, f"{share:.0f} %", ha="center", va="center",
                              color=INK if row else PAPER, fontsize=10)  # fmt: skip
                left += share
        _name_sources(axes)
        axes.set_yticks(range(len(rows)), [name.replace("_", " ") for name in rows])
        axes.invert_yaxis()
        axes.set_xlim(0, 100)
        axes.grid(visible=False)
        axes.set_xlabel("share of the targets (%)")
        return plot(figure, "Whose words the targets are: own answers, paraphrases and golds")


def _name_sources(axes: Axes) -> None:
    from matplotlib.patches import Patch

    keys = [
        Patch(color=colour, label=WORDS[source])
        for source, colour in zip(SOURCES, (ARMS[1], ARMS[4], ARMS[0]), strict=True)
    ]
    axes.legend(
        handles=keys, frameon=False, labelcolor=INK, loc="lower left", ncol=3,
        bbox_to_anchor=(0.0, 1.0), handlelength=1.0, handletextpad=0.5, columnspacing=1.4,
        borderaxespad=0.2,
    )  # fmt: skip


def masked(groups: Json, *, place: int = 0) -> Plot:
    """Targets of each kind of token: how many are masked, and how many are trained on."""
    rows = {name: cell for name, cell in groups.items() if cell["targets"]}
    with drawn(f"masked-{place}", width=_WIDTH, height=1.2 + 0.4 * len(rows)) as (figure, axes):
        names = list(rows)
        taken = [rows[name]["masked"] for name in names]
        rest = [rows[name]["targets"] - rows[name]["masked"] for name in names]
        axes.barh(names, rest, color=LINE, height=0.62, linewidth=0, left=taken,
                  label="trained on")  # fmt: skip
        axes.barh(names, taken, color=ARMS[1], height=0.62, linewidth=0, label="masked")
        for row, name in enumerate(names):
            share = 100 * rows[name]["masked_rate"]
            axes.annotate(f"{share:.0f} %", (rows[name]["targets"], row), (5, 0), va="center",
                          textcoords="offset points", color=INK, fontsize=10)  # fmt: skip
        axes.invert_yaxis()
        axes.margins(x=0.12)
        axes.grid(visible=False, axis="y")
        axes.set_xlabel("targets; in per cent, those masked")
        axes.legend(
            frameon=False, labelcolor=INK, loc="lower left", ncol=2, bbox_to_anchor=(0.0, 1.0),
            handlelength=1.0, handletextpad=0.5, columnspacing=1.4, borderaxespad=0.2, reverse=True,
        )  # fmt: skip
        return plot(figure, "Targets by kind of token: masked, and trained on")
