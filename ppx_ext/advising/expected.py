"""What a window should gain, and which further pilot would tell most of the optimum.

A gain is that of one window under every resampled surface: a window that each resampled surface
chose for itself would always gain.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from ppx_ext.advising.doubt import Fitted, Interval
from ppx_ext.advising.pilots import Results

_SAME = 0.02


@dataclass(frozen=True, kw_only=True)
class Gain:
    """Expected value of the window less that of something else; above 0 is better.

    Attributes:
        over: ``random``, ``everything``, ``fixed`` (the best band for all budgets) or ``base``.
        what: the same for people.
        significant: the interval excludes 0; and where only difficulty differs, that matters at
            all. Never where no seed differs from another, as chance is not known then.
    """

    over: str
    what: str
    interval: Interval
    significant: bool


@dataclass(frozen=True, kw_only=True)
class Next:
    """The pilot that would tell most of the optimum: one more seed of a cell.

    Attributes:
        seeds: that the cell has.
        width: of the optimum's interval now.
        expected: of it with this pilot.
    """

    examples: int
    low: float
    high: float
    seeds: int
    width: float
    expected: float


def gains_of(
    found: Fitted, results: Results, *, examples: int, rows: int | None, middle: float
) -> tuple[Gain, ...]:
    """Of rows around ``middle`` at a budget, ``rows`` being all that there are."""
    fixed = _best_band(found)
    same = abs(sum(fixed) / 2 - middle) < _SAME

    def over(name: str, what: str, other: Any) -> Gain:
        point, resampled = (
            surface.value(examples, middle) - other(surface)
            for surface in (found.point, found.resampled)
        )
        interval = found.interval(resampled, float(point[0]))
        sure = found.matters or name in ("base", "everything")
        sure = sure and found.noise > 0 and not (same and name == "fixed")
        return Gain(
            over=name, what=what, interval=interval, significant=sure and interval.excludes_zero
        )

    gains = [over("random", "rows at random", lambda s: s.at_random(examples))]
    if rows is not None and rows > examples:
        what = f"everything ({rows:,} rows)"
        gains.append(over("everything", what, lambda s: s.at_random(rows)))
    what = f"the best fixed band [{fixed[0]:.2f}, {fixed[1]:.2f}]" + same * " (much the same)"
    gains.append(over("fixed", what, lambda s: s.value(examples, sum(fixed) / 2)))
    base = [results.sign * pilot.value for pilot in results.pilots if pilot.kind == "base"]
    if base:
        gains.append(over("base", "the untouched base", lambda s: np.mean(base)))
    return tuple(gains)


def _best_band(found: Fitted) -> tuple[float, float]:
    """The band with the best mean over the pilots' budgets."""

    def mean(band: tuple[float, float]) -> float:
        values = [found.point.value(n, sum(band) / 2)[0] for n in found.cells.budgets]
        return float(np.mean(values))

    return max(found.cells.bands, key=mean)


def next_pilot(found: Fitted, examples: int) -> Next:
    """One more seed of the cell that narrows the optimum's interval most.

    Of a quantity q and a cell's value v, jointly normal over the resampled surfaces, a measurement
    of v with noise s leaves ``var(q) - cov(q, v)**2 / (var(v) + s**2)``.
    """
    cells, surfaces = found.cells, found.resampled
    optimum_B = surfaces.optimum(examples)
    width, spread = found.optimum(examples).width, float(optimum_B.var())
    seeds = {
        (int(n), low, high): len(values)
        for n, low, high, values in zip(
            cells.examples_M, cells.low_M, cells.high_M, cells.values, strict=True
        )
    }

    def left(cell: tuple[int, float, float]) -> float:
        value_B = surfaces.value(cell[0], (cell[1] + cell[2]) / 2)
        shared = float(np.mean((value_B - value_B.mean()) * (optimum_B - optimum_B.mean())))
        told = shared**2 / max(float(value_B.var()) + found.noise**2, 1e-300)
        return max(spread - told, 0.0)

    best = min(((n, *band) for n in cells.budgets for band in cells.bands), key=left)
    share = math.sqrt(left(best) / spread) if spread else 1.0
    return Next(
        examples=best[0],
        low=best[1],
        high=best[2],
        seeds=seeds.get(best, 0),
        width=width,
        expected=width * share,
    )
