"""Plots of a comparison: what was gained against what was lost, and each task."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ppx_ext.plots import ARMS, INK, LINE, MARKERS, SOFT, Plot, drawn, plot

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Json = Mapping[str, Any]
Point = tuple[float, float]

BASE = "base"
Box = tuple[float, float, float, float]

MANY = 4
"""With more arms a plot of each task is a thicket, and the other one needs room."""

_LETTER = 6.2
_HEIGHTS = (8, -8, 17, -17, 27, -27)
"""Of a letter's width, and of names above and below their marks, in points of the page."""


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


def frontier_words(study: Json) -> str | None:
    """The Pareto frontier in a sentence; None where there is nothing to choose from."""
    if len(study["arms"]) < 2 or not study["frontier"]:
        return None
    best = [name for name in study["frontier"] if name != BASE]
    if not best:
        return "By the measured means no arm is better than the untouched base on either count."
    others = len(study["arms"]) - len(best)
    if not others:
        rest = ": none of the arms is beaten by another"
    else:
        whom = f"each of the other {others} is" if others > 1 else "the other one is"
        by = "by one of these" if len(best) > 1 else "by it"
        by += " or by the base" if BASE in study["frontier"] else ""
        rest = f"; {whom} beaten {by}"
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
    many = len(arms) > MANY
    size = {"width": 7.6, "height": 5.2} if many else {"width": 5.2, "height": 4.6}
    with drawn("gain", **size) as (figure, axes):
        axes.axhline(0, color=LINE, linewidth=1.2)
        axes.axvline(0, color=LINE, linewidth=1.2)
        _draw_frontier(axes, study["frontier"], means)
        axes.plot(0, 0, marker="*", markersize=13, color=INK, linestyle="", zorder=4)
        for place, arm in enumerate(arms):
            _draw_arm(axes, base, arm, place)
            _draw_interval(axes, study, arm["name"], place, faint=many)
        axes.set_xlabel("change on the target (points)")
        axes.set_ylabel("change on the other tasks (points)")
        axes.margins(x=0.12, y=0.1)
        _label(axes, {BASE: (0.0, 0.0), **means}, **size)
        return plot(figure, "Gain on the target against change on the other tasks, one mark a run")


def _draw_frontier(axes: Axes, names: Sequence[str], means: Mapping[str, Point]) -> None:
    points = {BASE: (0.0, 0.0), **means}
    best = sorted(points[name] for name in names)
    if len(best) > 1:
        xs, ys = zip(*best, strict=True)
        axes.plot(xs, ys, color=SOFT, linewidth=1.4, linestyle=(0, (1, 2)), zorder=2)


def marker_of(place: int) -> str:
    """The marker of an arm: arms with the same colour have different ones."""
    return MARKERS[(place + place // len(ARMS)) % len(MARKERS)]


def _draw_arm(axes: Axes, base: Json, arm: Json, place: int) -> None:
    colour, marker = ARMS[place % len(ARMS)], marker_of(place)
    gains = [run["target"] - base["target"] for run in arm["runs"]]
    kept = [run["other"] - base["other"] for run in arm["runs"]]
    look: dict[str, Any] = {"color": colour, "marker": marker, "linestyle": ""}
    axes.plot(gains, kept, markersize=5, alpha=0.4, markeredgewidth=0, **look)
    mean = (sum(gains) / len(gains), sum(kept) / len(kept))
    axes.plot(*mean, markersize=10, markeredgecolor=INK, markeredgewidth=0.8, zorder=5, **look)


def _draw_interval(axes: Axes, study: Json, name: str, place: int, *, faint: bool) -> None:
    """Both intervals against the base, where the tests give them."""
    test: Json = next(
        (one for one in study["tests"] if one["arm"] == name and one["against"] == BASE), {}
    )
    if not test.get("target") or not test.get("other"):
        return
    x, y = test["target"]["points"], test["other"]["points"]
    look: dict[str, Any] = {"color": ARMS[place % len(ARMS)], "linewidth": 1.2, "zorder": 3}
    look["alpha"] = 0.35 if faint else 0.8
    across, up = (test[key]["tests"][0] for key in ("target", "other"))
    if across["low"] is not None:
        axes.plot((across["low"], across["high"]), (y, y), **look)
    if up["low"] is not None:
        axes.plot((x, x), (up["low"], up["high"]), **look)


def _label(axes: Axes, points: Mapping[str, Point], *, width: float, height: float) -> None:
    """Names beside their means, each at the place that least runs into marks and other names.

    ``width`` and ``height`` are of the figure, in inches.
    """
    (left, right), (low, high) = axes.get_xlim(), axes.get_ylim()
    # In points of the page, of which the axes take all but some for their own labels.
    across, up = 72 * (width - 0.9) / (right - left), 72 * (height - 0.7) / (high - low)
    at = {name: ((x - left) * across, (y - low) * up) for name, (x, y) in points.items()}
    taken = [(x - 6, y - 6, x + 6, y + 6) for x, y in at.values()]
    colours = [INK, *itertools.islice(itertools.cycle(ARMS), len(points) - 1)]
    for colour, (name, (x, y)) in zip(colours, at.items(), strict=True):
        size = _LETTER * len(name)
        places = [(dx, dy, dx + (size if dx > 0 else -size)) for dy in _HEIGHTS for dx in (9, -9)]

        def box(place: tuple[float, float, float], x: float = x, y: float = y) -> Box:
            dx, dy, end = place
            return (x + min(dx, end), y + dy - 6, x + max(dx, end), y + dy + 6)

        def cost(place: tuple[float, float, float]) -> float:
            one = box(place)
            outside = max(0.0, -one[0]) + max(0.0, one[2] - 72 * (width - 0.9))
            return sum(_common(one, other) for other in taken) + 50 * outside + abs(place[1]) / 10

        best = min(places, key=cost)
        taken.append(box(best))
        axes.annotate(
            name, points[name], best[:2], textcoords="offset points", color=colour,
            ha="left" if best[0] > 0 else "right", va="center", fontsize=10, zorder=6,
        )  # fmt: skip


def _common(one: Box, other: Box) -> float:
    """Area that two boxes share."""
    wide = min(one[2], other[2]) - max(one[0], other[0])
    tall = min(one[3], other[3]) - max(one[1], other[1])
    return max(0.0, wide) * max(0.0, tall)


def tasks(base: Json, arms: Sequence[Json], *, target: Sequence[str]) -> Plot | None:
    """Accuracy of the base and of each arm (mean over seeds) on each task, in percent.

    None where there are so many arms that their marks would cover one another.
    """
    if len(arms) > MANY:
        return None
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
            axes.plot(values, rows, marker=marker_of(place), markersize=6.5,
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
