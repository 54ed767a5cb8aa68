"""Plots of the advice: the surface over its cells, the drift of the optimum, slices by budget."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ppx_ext.advising.advice import WHOLE, Advice
from ppx_ext.plots import ARMS, INK, LINE, MARKERS, SOFT, drawn, svg

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from ppx_ext.advising.surface import Array

_STEPS = 121
_AT_RANDOM = -0.09
# Over the colours of the surface, which are the same in light and in dark.
_BRIGHT, _DEEP = "#ffffff", "#0b1c33"


def budgets_of(found: Advice) -> Array:
    """Budgets from the smallest pilot to the largest, or to the one asked for, evenly in ln n."""
    ends = [*found.fitted.cells.examples_M, found.question.examples]
    return np.geomspace(min(ends) / 1.15, max(ends) * 1.15, _STEPS)


def _colours() -> Any:
    """Deep blue to pale green: without the end that white lines would be lost on."""
    from matplotlib import colormaps
    from matplotlib.colors import ListedColormap

    return ListedColormap(colormaps["YlGnBu_r"](np.linspace(0.04, 0.8, 256)))


def _outlined(width: float) -> Any:
    from matplotlib import patheffects

    return [patheffects.withStroke(linewidth=width, foreground=_DEEP)]


def heat(found: Advice) -> str:
    """Measured cells over the fitted surface, the optimum with its interval, the window."""
    from matplotlib.colors import Normalize

    cells, sign = found.fitted.cells, found.results.sign
    n_N, d_D = budgets_of(found), np.linspace(0, 1, _STEPS)
    value_ND = np.array([found.fitted.point.value(n, d_D) for n in n_N])
    # The scale is the measured range with a margin, so that a far extrapolation does not eat it.
    low, high = cells.mean_M.min(), cells.mean_M.max()
    margin = 0.15 * max(high - low, 1e-9)
    shade = Normalize(low - margin, high + margin)
    with drawn("heat", width=9.0, height=5.2) as (figure, axes):
        axes.pcolormesh(
            n_N, d_D, value_ND.T, cmap=_colours(), norm=shade, shading="gouraud", rasterized=True
        )
        _extrapolated(axes, found)
        _optimum(axes, found, n_N)
        place_M = np.where(cells.random_M, _AT_RANDOM, cells.middle_M)
        axes.scatter(cells.examples_M, place_M, s=215, color=_DEEP, zorder=5, clip_on=False)
        dots = axes.scatter(
            cells.examples_M, place_M, s=150, c=cells.mean_M, cmap=_colours(), norm=shade,
            edgecolors=_BRIGHT, linewidths=2.2, zorder=6, clip_on=False,
        )  # fmt: skip
        _window(axes, found)
        bar = figure.colorbar(dots, ax=axes, pad=0.02, aspect=28)
        bar.outline.set_visible(False)
        bar.ax.tick_params(color=LINE, labelcolor=SOFT)
        bar.ax.yaxis.set_major_formatter(lambda value, _: f"{sign * value:.3g}")
        bar.set_label(f"{found.results.metric} (circles: measured)", color=SOFT)
        _axes_of(axes, found, n_N)
        axes.set_ylim(_AT_RANDOM - 0.07 if cells.random_M.any() else 0, 1)
        if cells.random_M.any():
            ticks = [0, 0.25, 0.5, 0.75, 1]
            axes.set_yticks([_AT_RANDOM, *ticks], ["at random", *map(str, ticks)])
        axes.grid(False)
        return svg(figure, "Measured values over the fitted surface of budget and difficulty")


def _extrapolated(axes: Axes, found: Advice) -> None:
    """Hatch what lies beyond the pilots."""
    n_M = found.fitted.cells.examples_M
    left, right = budgets_of(found)[[0, -1]]
    for start, end in ((left, n_M.min() / 1.15), (n_M.max() * 1.15, right)):
        if end > start * 1.01:
            axes.fill_between([start, end], 0, 1, facecolor="none", hatch="///", zorder=1,
                              edgecolor=_DEEP, linewidth=0, alpha=0.2)  # fmt: skip
            axes.text(np.sqrt(start * end), 0.975, "extrapolated", color=_DEEP, ha="center",
                      va="top", fontsize=9, zorder=7)  # fmt: skip


def _optimum(axes: Axes, found: Advice, n_N: Array) -> None:
    one = [found.fitted.optimum(n) for n in n_N]
    line = [o.value for o in one]
    ends = [o.low for o in one], [o.high for o in one]
    axes.fill_between(n_N, *ends, color=_BRIGHT, alpha=0.3, linewidth=0, zorder=3)
    for end in ends:
        axes.plot(n_N, end, color=_DEEP, linewidth=1.1, linestyle=(0, (4, 3)), zorder=4)
    axes.plot(n_N, line, color=_BRIGHT, linewidth=2.4, zorder=4, path_effects=_outlined(4.4))


def _window(axes: Axes, found: Advice) -> None:
    n, (low, high) = found.question.examples, found.window
    axes.plot([n, n], [low, high], color=_BRIGHT, linewidth=5, solid_capstyle="butt", zorder=7,
              path_effects=_outlined(7.5))  # fmt: skip


def _axes_of(axes: Axes, found: Advice, n_N: Array) -> None:
    from matplotlib.ticker import NullLocator

    axes.set_xscale("log")
    axes.set_xlim(n_N[0], n_N[-1])
    ticks = sorted({*map(int, found.fitted.cells.examples_M), found.question.examples})
    # Labels that would touch each other are left out, but never that of the budget asked for.
    kept = [found.question.examples]
    for tick in ticks:
        if all(abs(np.log(tick / other)) > np.log(n_N[-1] / n_N[0]) / 14 for other in kept):
            kept.append(tick)
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xticks(sorted(kept), [f"{tick:,}" for tick in sorted(kept)])
    axes.set_xlabel("examples")
    axes.set_ylabel("difficulty (quantile)")


def drift(found: Advice) -> str:
    """The optimum over the budget, with its interval, and the bounds of what was measured."""
    n_N = budgets_of(found)
    one = [found.fitted.optimum(n) for n in n_N]
    middles = found.fitted.cells.middle_M[~found.fitted.cells.random_M]
    with drawn("drift", width=5.2, height=4.0) as (figure, axes):
        axes.fill_between(n_N, [o.low for o in one], [o.high for o in one], color=ARMS[1],
                          alpha=0.18, linewidth=0)  # fmt: skip
        axes.plot(n_N, [o.value for o in one], color=ARMS[1], linewidth=2.4)
        for bound in (middles.min(), middles.max()):
            axes.axhline(bound, color=SOFT, linewidth=1, linestyle=(0, (2, 3)))
        axes.text(
            n_N[0], middles.max(), " hardest band's middle", color=SOFT, va="bottom", fontsize=9
        )
        axes.text(n_N[0], middles.min(), " easiest band's middle", color=SOFT, va="top", fontsize=9)
        asked = found.question.examples
        optimum, (low, high) = found.optimum, found.window
        axes.plot([asked, asked], [low, high], color=ARMS[0], linewidth=5, alpha=0.35,
                  solid_capstyle="butt")  # fmt: skip
        axes.errorbar(
            asked, optimum.value, capsize=4, fmt="o", color=ARMS[0], markersize=8,
            yerr=[[optimum.value - optimum.low], [optimum.high - optimum.value]],
        )  # fmt: skip
        _axes_of(axes, found, n_N)
        axes.set_ylim(-0.03, 1.03)
        axes.set_ylabel("best middle (quantile of difficulty)")
        return svg(figure, "The best difficulty over the budget, with its interval")


def slices(found: Advice) -> str:
    """Value over difficulty at each budget: fitted curves, measured means with standard errors."""
    cells, sign = found.fitted.cells, found.results.sign
    d_D = np.linspace(0, 1, _STEPS)
    noise = found.fitted.noise
    with drawn("slices", width=5.2, height=4.0) as (figure, axes):
        for place, budget in enumerate(cells.budgets):
            look: dict[str, Any] = {"color": ARMS[place % len(ARMS)]}
            axes.plot(d_D, sign * found.fitted.point.value(budget, d_D), linewidth=2, **look)
            here = (cells.examples_M == budget) & ~cells.random_M
            axes.errorbar(
                cells.middle_M[here], sign * cells.mean_M[here],
                noise / np.sqrt(cells.seeds_M[here]),
                fmt=MARKERS[place % len(MARKERS)], markersize=7, capsize=0, elinewidth=1.6,
                label=f"{budget:,} examples", **look,
            )  # fmt: skip
            drew = (cells.examples_M == budget) & cells.random_M
            if drew.any():
                level = sign * float(cells.mean_M[drew][0])
                axes.axhline(level, linewidth=1.1, linestyle=(0, (2, 3)), **look)
        if cells.random_M.any():
            axes.plot([], [], color=INK, linewidth=1.1, linestyle=(0, (2, 3)), label="at random")
        axes.set_xlim(WHOLE)
        axes.set_xlabel("difficulty (quantile)")
        axes.set_ylabel(found.results.metric)
        axes.legend(
            frameon=False, labelcolor=INK, loc="lower center", ncol=2, bbox_to_anchor=(0.5, 1.0),
            handletextpad=0.4, columnspacing=1.4, fontsize=10,
        )  # fmt: skip
        return svg(figure, "Value over difficulty at each budget, fitted and measured")
