"""An exact quantile in one pass, in memory that grows with the distinct values only."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

    Float64s = npt.NDArray[np.float64]
    Int64s = npt.NDArray[np.int64]
    Bools = npt.NDArray[np.bool_]

BUFFER_VALUES = 1 << 20


@dataclass(frozen=True, kw_only=True)
class UpperQuantile:
    """The line above which at most the asked share lies.

    Attributes:
        line: the smallest value with no more than the allowed count above it.
        total: values seen, those not eligible included.
        above: eligible values above the line.
        tied: eligible values at the line.
    """

    line: float
    total: int
    above: int
    tied: int


def upper_quantile(rows: Iterable[tuple[Float64s, Bools]], fraction: float) -> UpperQuantile:
    """The line above which at most ``fraction`` of all values lie, eligible ones only.

    Args:
        rows: (values, eligible) of each row; the share is one of all values.
        fraction: in [0, 1).

    Where every eligible value may lie above, the line is just below the least of them.
    """
    total, pending, buffered = 0, [], 0
    values, counts = np.empty(0), np.empty(0, dtype=np.int64)
    for values_R, eligible_R in rows:
        total += len(values_R)
        pending.append(values_R[eligible_R])
        buffered += len(pending[-1])
        if buffered >= BUFFER_VALUES:
            values, counts = _merge(values, counts, pending)
            pending, buffered = [], 0
    values, counts = _merge(values, counts, pending)
    return _line(values, counts, total, fraction)


def _merge(values: Float64s, counts: Int64s, more: list[Float64s]) -> tuple[Float64s, Int64s]:
    if not more:
        return values, counts
    new_values, new_counts = np.unique(np.concatenate(more), return_counts=True)
    merged, place = np.unique(np.concatenate([values, new_values]), return_inverse=True)
    summed = np.zeros(len(merged), dtype=np.int64)
    np.add.at(summed, place, np.concatenate([counts, new_counts]))
    return merged, summed


def _line(values: Float64s, counts: Int64s, total: int, fraction: float) -> UpperQuantile:
    # The slack forgives a share such as 0.29 * 100 = 28.999999999999996 its last bit.
    allowed = math.floor(fraction * total * (1 + 2**-50))
    if not len(values):
        return UpperQuantile(line=1.0, total=total, above=0, tied=0)
    above = counts[::-1].cumsum()[::-1] - counts
    if counts.sum() <= allowed:
        below = float(np.nextafter(values[0], -math.inf))
        return UpperQuantile(line=below, total=total, above=int(counts.sum()), tied=0)
    place = int(np.argmax(above <= allowed))
    return UpperQuantile(
        line=float(values[place]), total=total, above=int(above[place]), tied=int(counts[place])
    )
