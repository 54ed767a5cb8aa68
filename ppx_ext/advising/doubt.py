"""What chance allows: surfaces of resampled pilots, and whether difficulty matters at all."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from ppx_ext.advising.surface import Array, Cells, Surfaces, fit, flat_rss

RESAMPLES = 500
CONFIDENCE = 0.9
LEVEL = 0.05


@dataclass(frozen=True, kw_only=True, slots=True)
class Interval:
    """An estimate with its interval."""

    value: float
    low: float
    high: float

    @property
    def width(self) -> float:
        """From end to end."""
        return self.high - self.low

    @property
    def excludes_zero(self) -> bool:
        """Whether 0 lies outside."""
        return not self.low <= 0.0 <= self.high


@dataclass(frozen=True, kw_only=True, eq=False)
class Fitted:
    """The surface of the pilots, and those of resampled ones.

    Attributes:
        point: one surface (B = 1).
        resampled: `RESAMPLES` of them.
        noise: standard deviation of a value over seeds, pooled over cells.
        chance: p-value of "difficulty does not matter": values permuted between the bands of each
            budget.
        misfit: p-value of "the surface has the right form": F-test of its lack of fit against the
            noise; None where no degree of freedom is left.
        stretch: by how much deviations are stretched for a misfit: Birge's ratio where `misfit` is
            below `LEVEL`, else 1.
    """

    cells: Cells
    point: Surfaces
    resampled: Surfaces
    noise: float
    chance: float
    misfit: float | None
    stretch: float
    confidence: float

    @property
    def matters(self) -> bool:
        """Whether difficulty makes a difference that chance does not explain."""
        return self.chance < LEVEL

    def interval(self, value_B: Array, point: float) -> Interval:
        """Percentile interval of a quantity over the resampled surfaces, around its estimate."""
        tail = (1 - self.confidence) / 2
        low, high = np.quantile(value_B, [tail, 1 - tail])
        # A clipped or lopsided quantity can have its estimate outside the percentiles.
        return Interval(value=point, low=float(min(low, point)), high=float(max(high, point)))

    def optimum(self, examples: float) -> Interval:
        """The best middle quantile for a budget."""
        point = float(self.point.optimum(examples)[0])
        return self.interval(self.resampled.optimum(examples), point)


def fitted(
    cells: Cells,
    *,
    confidence: float = CONFIDENCE,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Fitted:
    """Fit the surface, resample seeds within budgets, and test against no difference at all."""
    rng = np.random.default_rng(seed)
    point = fit(cells, cells.mean_M[None])
    noise, spare = _noise(cells)
    misfit, stretch = _misfit(cells, point, noise, spare)
    return Fitted(
        cells=cells,
        point=point,
        resampled=fit(cells, cells.mean_M + stretch * deviations(cells, resamples, rng)),
        noise=noise,
        chance=_chance(cells, point, resamples, rng),
        misfit=misfit,
        stretch=stretch,
        confidence=confidence,
    )


def deviations(cells: Cells, resamples: int, rng: np.random.Generator) -> Array:
    """Deviations of cell means, seeds drawn anew within each budget, (B, M).

    With s seeds a plain bootstrap of a mean has (s - 1) / s of its variance, and of so few its
    variance is hardly known: so deviations from a cell's mean are stretched by what is missing,
    shared by the cells of a budget, and each resample's scale is drawn too (Student's t). A budget
    without a second seed borrows from all.
    """
    own = [_stretched(values) for values in cells.values]
    found = np.zeros((resamples, len(own)))
    for budget in np.unique(cells.examples_M):
        places = np.flatnonzero(cells.examples_M == budget)
        lenders = [own[at] for at in places if len(own[at]) > 1]
        lenders = lenders or [some for some in own if len(some) > 1]
        pool = np.concatenate(lenders)
        spare = len(pool) - len(lenders)
        scale_B = np.sqrt(spare / rng.chisquare(spare, size=resamples))
        for at in places:
            drawn = rng.choice(pool, size=(resamples, len(own[at])))
            found[:, at] = scale_B * drawn.mean(axis=1)
    return found


def _stretched(values: Array) -> Array:
    seeds = len(values)
    return np.asarray(_off(values) * np.sqrt(seeds / max(seeds - 1, 1)))


def _off(values: Array) -> Array:
    """Deviations from the mean; of equal values exactly 0, which their rounded mean is not."""
    return np.asarray((values - values.mean()) * (np.ptp(values) > 0))


def _noise(cells: Cells) -> tuple[float, int]:
    spare = sum(len(values) - 1 for values in cells.values)
    within = sum(float((_off(values) ** 2).sum()) for values in cells.values)
    return float(np.sqrt(within / spare)), spare


def _chance(cells: Cells, point: Surfaces, resamples: int, rng: np.random.Generator) -> float:
    """Share of permutations within budgets that a U fits at least as well, the real one included.

    The statistic is by how much the U lowers the residual sum of squares, relative to what is left,
    seeds' own scatter included.
    """
    scatter = sum(float((values**2).sum() - len(values) * values.mean() ** 2)
                  for values in cells.values)  # fmt: skip
    real = _explained(point.rss_B, flat_rss(cells, cells.mean_M[None]), np.array([scatter]))[0]
    if real <= 0:
        return 1.0
    drawn_BM, scatter_B = _permuted(cells, resamples, rng)
    found = _explained(fit(cells, drawn_BM).rss_B, flat_rss(cells, drawn_BM), scatter_B)
    return float((1 + (found >= real - 1e-12).sum()) / (1 + resamples))


def _explained(curved_B: Array, flat_B: Array, scatter_B: Array) -> Array:
    left = curved_B + scatter_B
    return np.asarray((flat_B - curved_B) / np.maximum(left, 1e-15 * np.maximum(flat_B, 1e-300)))


def _permuted(cells: Cells, resamples: int, rng: np.random.Generator) -> tuple[Array, Array]:
    """Cell means, and scatter within cells, of values permuted between a budget's bands."""
    mean_BM = np.tile(cells.mean_M, (resamples, 1))
    scatter_B = np.zeros(resamples)
    for at in np.flatnonzero(cells.random_M):
        scatter_B += ((cells.values[at] - cells.mean_M[at]) ** 2).sum()
    for budget in cells.budgets:
        places = np.flatnonzero((cells.examples_M == budget) & ~cells.random_M)
        values = np.concatenate([cells.values[at] for at in places])
        shuffled = rng.permuted(np.tile(values, (resamples, 1)), axis=1)
        ends = np.cumsum([len(cells.values[at]) for at in places])
        for at, part in zip(places, np.split(shuffled, ends[:-1], axis=1), strict=True):
            mean_BM[:, at] = part.mean(axis=1)
            scatter_B += ((part - part.mean(axis=1, keepdims=True)) ** 2).sum(axis=1)
    return mean_BM, scatter_B


def _misfit(cells: Cells, point: Surfaces, noise: float, spare: int) -> tuple[float | None, float]:
    from scipy.stats import f

    bends = len(set(cells.examples_M)) > 2
    free = len(cells.values) - (5 + bends + bool(cells.random_M.any()))
    if free < 1 or noise == 0:
        return None, 1.0
    ratio = float(point.rss_B[0] / free / noise**2)
    chance = float(f.sf(ratio, free, spare))
    return chance, math.sqrt(ratio) if chance < LEVEL else 1.0
