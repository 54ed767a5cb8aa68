"""Plots of a comparison: what was gained against what was lost, and each task."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ppx_ext.plots import ARMS, INK, LINE, MARKERS, SOFT, Plot, drawn, plot

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Json = Mapping[str, Any]
Point = tuple[float, float]

BASE = "base"
_NEAR = 0.055
"""Two labels nearer than this share of the axes' height would run into each other."""


def changes(base: Json, arms: Sequence[Json]) -> dict[str, Point]:
    """Mean change of each arm on the target and on the other tasks, in points; empty where the
    study lacks either.
    """
    if base["target"] is None or base["other"] is None:
        return {}
    return {
        arm["name"]: (arm["mean"]["target"] - base["target"], arm["mean"]["other"] - base["other"])
        for arm in arms
    }


def frontier(found: Mapping[str, Point]) -> list[str]:
    """Pareto frontier: what no other arm, nor the base, beats on one count and equals on the other.

    By measured means: which of two near ones is on it can be chance. By gain, the least first.
    """
    points = {BASE: (0.0, 0.0), **found}
    best = [
        name
        for name, (gain, kept) in points.items()
        if not any(g >= gain and k >= kept and (g > gain or k > kept) for g, k in points.values())
    ]
    return sorted(best, key=lambda name: points[name])


def frontier_words(found: Mapping[str, Point]) -> str | None:
    """The frontier in a sentence; None where there is nothing to choose from."""
    if len(found) < 2:
        return None
    best = [name for name in frontier(found) if name != BASE]
    if not best:
        return "By the measured means no arm is better than the untouched base on either count."
    others = len(found) - len(best)
    if not others:
        rest = "; each of them gains more or keeps more than any other"
    else:
        whom = f"each of the other {others} is" if others > 1 else "the other one is"
        rest = f"; {whom} beaten or equalled on both counts by one of these or by the base"
    return (
        f"On the frontier of target against forgetting {'lie' if len(best) > 1 else 'lies'} "
        f"{_listed(best)}{rest} (measured means; neighbours can differ by chance)."
    )


def _listed(names: Sequence[str]) -> str:
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def gain_against_forgetting(study: Json) -> Plot | None:
    """Change on the target (across) and on the other tasks (up), in points, and the frontier.

    A small mark for each run, a large one for each arm's mean with its 95 % interval over items.
    None where there is no target or no other task.
    """
    base, arms = study["base"], study["arms"]
    means = changes(base, arms)
    if not means:
        return None
    with drawn("gain", width=5.2, height=4.6) as (figure, axes):
        axes.axhline(0, color=LINE, linewidth=1.2)
        axes.axvline(0, color=LINE, linewidth=1.2)
        _draw_frontier(axes, means)
        axes.plot(0, 0, marker="*", markersize=13, color=INK, linestyle="", zorder=4)
        for place, arm in enumerate(arms):
            _draw_arm(axes, base, arm, place)
            _draw_interval(axes, study, arm["name"], means[arm["name"]], place)
        axes.set_xlabel("change on the target (points)")
        axes.set_ylabel("change on the other tasks (points)")
        axes.margins(x=0.16, y=0.1)
        _label(axes, {BASE: (0.0, 0.0), **means})
        return plot(figure, "Gain on the target against change on the other tasks, one mark a run")


def _draw_frontier(axes: Axes, means: Mapping[str, Point]) -> None:
    points = {BASE: (0.0, 0.0), **means}
    best = [points[name] for name in frontier(means)]
    if len(best) > 1:
        xs, ys = zip(*best, strict=True)
        axes.plot(xs, ys, color=SOFT, linewidth=1.4, linestyle=(0, (1, 2)), zorder=2)


def _draw_arm(axes: Axes, base: Json, arm: Json, place: int) -> None:
    colour, marker = ARMS[place % len(ARMS)], MARKERS[place % len(MARKERS)]
    gains = [run["target"] - base["target"] for run in arm["runs"]]
    kept = [run["other"] - base["other"] for run in arm["runs"]]
    look: dict[str, Any] = {"color": colour, "marker": marker, "linestyle": ""}
    axes.plot(gains, kept, markersize=5, alpha=0.4, markeredgewidth=0, **look)
    mean = (sum(gains) / len(gains), sum(kept) / len(kept))
    axes.plot(*mean, markersize=10, markeredgecolor=INK, markeredgewidth=0.8, zorder=5, **look)


def _draw_interval(axes: Axes, study: Json, name: str, mean: Point, place: int) -> None:
    """Both intervals against the base, where the tests give them."""
    test: Json = next(
        (one for one in study["tests"] if one["arm"] == name and one["against"] == BASE), {}
    )
    look: dict[str, Any] = {"color": ARMS[place % len(ARMS)], "linewidth": 1.3, "alpha": 0.8}
    for key, across in (("target", True), ("other", False)):
        found = test.get(key)
        one = found["tests"][0] if found else {"low": None}
        if one["low"] is None:
            continue
        ends, middle = (one["low"], one["high"]), mean[1 if across else 0]
        axes.plot(*((ends, (middle, middle)) if across else ((middle, middle), ends)), **look)


def _label(axes: Axes, points: Mapping[str, Point]) -> None:
    """Names beside their means, pushed apart where they would overlap."""
    low, high = axes.get_ylim()
    left, right = axes.get_xlim()
    apart = _NEAR * (high - low)
    names = sorted(points, key=lambda name: points[name][1])
    colours = {name: ARMS[at % len(ARMS)] for at, name in enumerate(n for n in points if n != BASE)}
    heights: dict[str, float] = {}
    for name in names:
        x, y = points[name]
        near = [
            heights[other] for other in heights if abs(points[other][0] - x) < 0.3 * (right - left)
        ]
        height = y + 0.018 * (high - low)
        for taken in sorted(near):
            if abs(height - taken) < apart:
                height = taken + apart
        heights[name] = height
        to_left = x > left + 0.72 * (right - left)
        axes.annotate(
            name, (x, y), (x + (-1 if to_left else 1) * 0.022 * (right - left), height),
            color=colours.get(name, INK), ha="right" if to_left else "left", va="bottom",
            fontsize=10, zorder=6,
        )  # fmt: skip


def tasks(base: Json, arms: Sequence[Json], *, target: Sequence[str]) -> Plot:
    """Accuracy of the base and of each arm (mean over seeds) on each task, in percent."""
    names = list(base["tasks"])
    key_rows = -(-(len(arms) + 1) // 4)
    height = 0.8 + 0.24 * key_rows + 0.36 * len(names)
    with drawn("tasks", width=5.2, height=height) as (figure, axes):
        for row, name in enumerate(names):
            values = [base["tasks"][name], *(arm["mean"]["tasks"][name] for arm in arms)]
            axes.plot([min(values), max(values)], [row, row], color=LINE, linewidth=3, zorder=1)
        rows = range(len(names))
        base_values = [base["tasks"][name] for name in names]
        axes.plot(base_values, rows, marker="|", markersize=13, markeredgewidth=2, linestyle="",
                  color=INK, label="base", zorder=3)  # fmt: skip
        for place, arm in enumerate(arms):
            values = [arm["mean"]["tasks"][name] for name in names]
            axes.plot(values, rows, marker=MARKERS[place % len(MARKERS)], markersize=6.5,
                      linestyle="", color=ARMS[place % len(ARMS)], label=arm["name"], zorder=2,
                      alpha=0.85)  # fmt: skip
        labels = [f"{name} (target)" if name in target else name for name in names]
        axes.set_yticks(list(rows), labels)
        axes.invert_yaxis()
        axes.set_xlim(-3, 103)
        axes.set_xlabel("accuracy (%)")
        axes.legend(
            frameon=False, labelcolor=INK, loc="lower center", ncol=min(len(arms) + 1, 4),
            bbox_to_anchor=(0.5, 1.0), handletextpad=0.3, columnspacing=1.2, fontsize=10,
        )  # fmt: skip
        return plot(figure, "Accuracy on each task: the base and each way of tuning it")
