"""Several measures of the same rows: their quantiles, and the correlation of any two."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ppx_ext.choice_numbers import quantiles

if TYPE_CHECKING:
    from ppx_ext.contracts import Floats, Places

LEAST_ROWS = 3
"""Of fewer rows, a correlation says nothing."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Measure:
    """One measure of all rows.

    Attributes:
        label: its name, with its settings where it was given some.
        unit: of its numbers.
        score_N: float64; NaN where a row cannot be measured.
    """

    label: str
    unit: str
    score_N: Floats

    @property
    def known(self) -> Floats:
        """The numbers of the rows that were measured."""
        known: Floats = self.score_N[np.isfinite(self.score_N)]
        return known

    def dump(self) -> dict[str, Any]:
        """As plain JSON values."""
        known = self.known
        return {
            "measure": self.label,
            "unit": self.unit,
            "rows": len(self.score_N),
            "not_measured": len(self.score_N) - len(known),
            "quantiles": quantiles(known) if len(known) else {},
        }


@dataclass(frozen=True, kw_only=True)
class Pair:
    """Two measures of the same rows.

    Attributes:
        first, second: their labels.
        rows: that both could measure.
        spearman, pearson: correlation of the ranks, and of the numbers, in [-1, 1]; None where one
            of the two is the same for every row, or there are fewer than `LEAST_ROWS`.
    """

    first: str
    second: str
    rows: int
    spearman: float | None
    pearson: float | None


@dataclass(frozen=True, kw_only=True, eq=False)
class Table:
    """Rows with their measures.

    Attributes:
        row_N: places in the user's data.
        targets_N: target tokens.
        measures: in the order that was asked for.
    """

    row_N: Places
    targets_N: Places
    measures: Sequence[Measure]

    def dump(self) -> dict[str, Any]:
        """As plain JSON values."""
        found = [
            {
                "pair": [pair.first, pair.second],
                "rows": pair.rows,
                "spearman": pair.spearman,
                "pearson": pair.pearson,
            }
            for pair in pairs(self.measures)
        ]
        return {"measures": [one.dump() for one in self.measures], "correlations": found}


def pairs(measures: Sequence[Measure]) -> list[Pair]:
    """The correlation of any two measures."""
    return [_pair(one, other) for one, other in itertools.combinations(measures, 2)]


def _pair(one: Measure, other: Measure) -> Pair:
    from scipy import stats

    both_N = np.isfinite(one.score_N) & np.isfinite(other.score_N)
    x, y = one.score_N[both_N], other.score_N[both_N]
    varied = len(x) >= LEAST_ROWS and np.ptp(x) > 0 and np.ptp(y) > 0
    return Pair(
        first=one.label,
        second=other.label,
        rows=len(x),
        spearman=float(stats.spearmanr(x, y).statistic) if varied else None,
        pearson=float(stats.pearsonr(x, y).statistic) if varied else None,
    )
