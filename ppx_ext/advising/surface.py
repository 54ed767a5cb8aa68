"""The surface that pilots are fitted with: value over the budget and the difficulty.

With ``x = ln(n / n0)``, n0 the geometric mean of the pilots' budgets, and d the middle quantile of
the rows' difficulty, after what arXiv 2605.12906 finds (sections 3 and 4)::

    value(n, d) = level + rise * (1 - exp(-bend x)) / bend - curve * (d - optimum(n))**2
    optimum(n)  = clip(centre + drift * x, 0, 1)

Six parameters: an inverted U in difficulty (curve >= 0), saturating in ln n (bend >= 0; 0 is
straight), whose optimum drifts with ln n. Rows drawn from all difficulties have the same rise and
no U: ``value(n) = level + rise * ... - spread``, where any pilot drew so.

Given bend, centre and drift, the rest is linear (variable projection, Golub and Pereyra 1973).
Hundreds of resampled data sets are fitted at once: all on one grid, then each by a pattern search
of its own, which needs no derivative where the optimum is clipped.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from ppx_ext.advising.pilots import Pilot, Results

Array: TypeAlias = npt.NDArray[np.float64]

MAX_BEND = 2.0
"""Per unit of ln n: with it, what is left to gain shrinks by 4 with each doubling."""
_LOWEST = np.array([0.0, -0.5, -1.0])
_HIGHEST = np.array([MAX_BEND, 1.5, 1.0])
_GRID = (4, 31, 21)
_ROUNDS = 32
_TINY = 1e-12


@dataclass(frozen=True, kw_only=True, eq=False)
class Cells:
    """Pilots by budget and band; M cells.

    Attributes:
        examples_M: budgets.
        low_M, high_M: quantiles of the bands.
        random_M: drawn from all difficulties.
        values: of each cell, one for each seed; larger is better.
        reference: n0, the geometric mean of the budgets.
    """

    examples_M: Array
    low_M: Array
    high_M: Array
    random_M: npt.NDArray[np.bool_]
    values: tuple[Array, ...]
    reference: float

    @property
    def middle_M(self) -> Array:
        """Middle quantile of each band."""
        return (self.low_M + self.high_M) / 2

    @property
    def mean_M(self) -> Array:
        """Mean over seeds."""
        return np.array([values.mean() for values in self.values])

    @property
    def seeds_M(self) -> Array:
        """Seeds of each cell: its weight."""
        return np.array([float(len(values)) for values in self.values])

    @property
    def budgets(self) -> list[int]:
        """Distinct budgets of bands, in order."""
        return sorted({int(n) for n in self.examples_M[~self.random_M]})

    @property
    def bands(self) -> list[tuple[float, float]]:
        """Distinct bands, from the easiest."""
        pairs = zip(self.low_M[~self.random_M], self.high_M[~self.random_M], strict=True)
        return sorted({(float(low), float(high)) for low, high in pairs}, key=sum)


def cells_of(results: Results) -> Cells:
    """Pilots but the base's, by cell.

    Raises:
        ValueError: the surface cannot be told from so few; what is missing is said.
    """
    trained = [pilot for pilot in results.pilots if pilot.kind != "base"]
    groups: dict[tuple[int, float, float], list[float]] = {}
    for one in sorted(trained, key=lambda p: (p.examples, p.middle, p.high, p.seed)):
        groups.setdefault((one.examples, one.low, one.high), []).append(results.sign * one.value)
    random_M = np.array([(low, high) == (0.0, 1.0) for _, low, high in groups], dtype=bool)
    _require(trained, groups)
    budgets = {n for (n, *_), drawn in zip(groups, random_M, strict=True) if not drawn}
    n_M, low_M, high_M = (np.array(part, dtype=float) for part in zip(*groups, strict=True))
    return Cells(
        examples_M=n_M,
        low_M=low_M,
        high_M=high_M,
        random_M=random_M,
        values=tuple(np.array(values) for values in groups.values()),
        reference=float(np.exp(np.mean(np.log(sorted(budgets))))),
    )


def _require(trained: Sequence[Pilot], groups: dict[tuple[int, float, float], list[float]]) -> None:
    bands = {key: values for key, values in groups.items() if key[1:] != (0.0, 1.0)}
    budgets = {n for n, *_ in bands}
    middles = {round((low + high) / 2, 6) for _, low, high in bands}
    spare = sum(len(values) - 1 for values in groups.values())
    missing = []
    if len(budgets) < 2:
        missing.append(f"two or more budgets ({len(budgets)} here), to tell how the optimum drifts")
    if len(middles) < 3:
        missing.append(f"three or more bands ({len(middles)} here), to tell an inverted U")
    if len(bands) < 6:
        missing.append(f"six or more cells of budget and band ({len(bands)} here)")
    if spare < 4:
        missing.append(
            "a second seed in four or more cells "
            f"({sum(len(values) > 1 for values in groups.values())} here), to tell chance"
        )
    if missing:
        lines = "\n".join(f"  {line}" for line in missing)
        raise ValueError(f"{len(trained)} pilots do not tell a surface. They lack:\n{lines}")


@dataclass(frozen=True, kw_only=True, eq=False)
class Surfaces:
    """B fitted surfaces; every method takes numbers and gives one for each, (B,).

    Attributes:
        rss_B: weighted residual sum of squares.
        spread_B: see the module; None where no pilot drew from all difficulties.
    """

    level_B: Array
    rise_B: Array
    bend_B: Array
    curve_B: Array
    centre_B: Array
    drift_B: Array
    spread_B: Array | None
    rss_B: Array
    reference: float

    def optimum(self, examples: float) -> Array:
        """The best middle quantile for a budget, in [0, 1]."""
        x = np.log(examples / self.reference)
        return np.asarray(np.clip(self.centre_B + self.drift_B * x, 0.0, 1.0))

    def value(self, examples: float, middle: float | Array) -> Array:
        """Value of rows around a quantile of difficulty; larger is better."""
        return self._ridge(examples) - self.curve_B * (middle - self.optimum(examples)) ** 2

    def at_random(self, examples: float) -> Array:
        """Value of rows drawn from all difficulties; their mean over d where none were drawn."""
        if self.spread_B is not None:
            return self._ridge(examples) - self.spread_B
        best = self.optimum(examples)
        # The mean of (d - best)**2 over d uniform in [0, 1].
        return self._ridge(examples) - self.curve_B * ((0.5 - best) ** 2 + 1 / 12)

    def _ridge(self, examples: float) -> Array:
        x = np.array(np.log(examples / self.reference))
        return self.level_B + self.rise_B * _risen(self.bend_B, x)


def _risen(bend: Array, x: Array) -> Array:
    """``(1 - exp(-bend x)) / bend``, and its limit x where bend is 0."""
    safe = np.where(bend < _TINY, 1.0, bend)
    return np.where(bend < _TINY, x, -np.expm1(-safe * x) / safe)


def fit(cells: Cells, mean_BM: Array) -> Surfaces:
    """Least squares of B sets of cell means, each cell weighing as many as it has seeds."""
    weight_M = np.sqrt(cells.seeds_M)
    target_BM = mean_BM * weight_M
    grid, step = _grid(cells)
    best_B3 = grid[0, np.argmin(_rss(cells, grid, target_BM), axis=1)]
    best_B3 = _search(cells, best_B3, step, target_BM)
    return _surfaces(cells, best_B3, target_BM)


def flat_rss(cells: Cells, mean_BM: Array) -> Array:
    """Residual sums of squares of the same surface without difficulty (curve 0), (B,)."""
    target_BM = mean_BM * np.sqrt(cells.seeds_M)
    bends = _grid(cells)[0][:, :, 0]
    flat = np.stack([np.unique(bends)[None], *[np.zeros((1, len(np.unique(bends))))] * 2], axis=-1)
    return np.asarray(_rss(cells, flat, target_BM, curved=False).min(axis=1))


def _grid(cells: Cells) -> tuple[Array, Array]:
    """Points (1, G, 3) of bend, centre and drift, and the steps between them (3,)."""
    axes = [np.linspace(*ends) for ends in zip(_LOWEST, _HIGHEST, _GRID, strict=True)]
    if len(set(cells.examples_M)) < 3:
        axes[0] = np.zeros(1)  # two budgets tell no bend
    step = np.array([axis[1] - axis[0] if len(axis) > 1 else 0.0 for axis in axes])
    return np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(1, -1, 3), step


def _search(cells: Cells, best_B3: Array, step: Array, target_BM: Array) -> Array:
    # All 27 neighbours, as the three are not independent; itself is the first.
    sides = np.array(np.meshgrid(*[(0, -1, 1)] * 3, indexing="ij")).reshape(3, -1).T
    step_B3 = np.tile(step, (len(best_B3), 1))
    for _ in range(_ROUNDS):
        around = best_B3[:, None] + sides * step_B3[:, None]
        around = np.clip(around, _LOWEST, _HIGHEST)
        chosen = np.argmin(_rss(cells, around, target_BM), axis=1)
        best_B3 = around[np.arange(len(around)), chosen]
        step_B3[chosen == 0] /= 2
    return best_B3


def _columns(cells: Cells, points: Array) -> list[Array]:
    """Weighted regressors at points (..., 3), each (..., M); the curve's is last."""
    x_M = np.log(cells.examples_M / cells.reference)
    bend, centre, drift = (points[..., [at]] for at in range(3))
    away = cells.middle_M - np.clip(centre + drift * x_M, 0.0, 1.0)
    ones = np.ones(np.broadcast_shapes((*points.shape[:-1], 1), x_M.shape))
    found = [ones, _risen(bend, x_M)]
    if cells.random_M.any():
        found.append(-ones * cells.random_M)
    found.append(-(away**2) * ~cells.random_M)
    return [column * np.sqrt(cells.seeds_M) for column in found]


def _rss(cells: Cells, points: Array, target_BM: Array, *, curved: bool = True) -> Array:
    """Residual sum of squares of B targets at G points ((B or 1), G, 3), (B, G)."""
    found = np.broadcast_to((target_BM**2).sum(axis=1)[:, None], (len(target_BM), points.shape[1]))
    directions: list[Array] = []
    columns = _columns(cells, points)
    for place, column in enumerate(columns if curved else columns[:-1]):
        for other in directions:  # modified Gram-Schmidt
            column = column - other * (other * column).sum(axis=-1, keepdims=True)
        norm = np.sqrt((column**2).sum(axis=-1, keepdims=True))
        directions.append(column / np.maximum(norm, _TINY))
        along = (directions[-1] @ target_BM[:, :, None])[..., 0]
        if place == len(columns) - 1:
            along = np.maximum(along, 0.0)  # curve >= 0
        found = found - along**2
    return np.asarray(found)


def _surfaces(cells: Cells, best_B3: Array, target_BM: Array) -> Surfaces:
    columns_BMP = np.stack(_columns(cells, best_B3), axis=-1)
    free = _linear(columns_BMP, target_BM)
    flat = np.concatenate([_linear(columns_BMP[..., :-1], target_BM), 0 * free[:, -1:]], axis=1)
    found = np.where(free[:, -1:] < 0, flat, free)
    residual_BM = target_BM - (columns_BMP @ found[..., None])[..., 0]
    return Surfaces(
        level_B=found[:, 0],
        rise_B=found[:, 1],
        spread_B=found[:, 2] if cells.random_M.any() else None,
        curve_B=found[:, -1],
        bend_B=best_B3[:, 0],
        centre_B=best_B3[:, 1],
        drift_B=best_B3[:, 2],
        rss_B=(residual_BM**2).sum(axis=1),
        reference=cells.reference,
    )


def _linear(columns_BMP: Array, target_BM: Array) -> Array:
    return np.asarray((np.linalg.pinv(columns_BMP) @ target_BM[..., None])[..., 0])
