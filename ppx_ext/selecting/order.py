"""One total order of rows: by score, and among equal scores by a seeded hash of the position."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Array: TypeAlias = NDArray[Any]
Positions: TypeAlias = NDArray[np.integer[Any]]
Hashes: TypeAlias = NDArray[np.uint64]


def mix(values: Hashes) -> Hashes:
    """Splitmix64's finalizer, in place: a bijection of 64 bits that looks random."""
    values ^= values >> np.uint64(30)
    values *= np.uint64(0xBF58476D1CE4E5B9)
    values ^= values >> np.uint64(27)
    values *= np.uint64(0x94D049BB133111EB)
    values ^= values >> np.uint64(31)
    return values


def hashes(positions: Positions, seed: int) -> Hashes:
    """A different number for each position, and another for each seed (below 2^64)."""
    key = mix(np.array([seed & (2**64 - 1)], dtype=np.uint64) + np.uint64(0x9E3779B97F4A7C15))
    return mix(positions.astype(np.uint64) + key)


def turned(values: Array, *, hardest: bool) -> Array:
    """Scores such that the first wanted are the smallest; its own inverse, for integers too."""
    if not hardest:
        return values
    return -values if values.dtype.kind == "f" else ~values


def tie_hashes(positions: Positions, seed: int, *, hardest: bool) -> Hashes:
    """`hashes`, reversed for the hardest: their order is the easiest's from its end."""
    found = hashes(positions, seed)
    return ~found if hardest else found


def refuse_nan(scores: Array, at: Positions) -> None:
    """Refuse scores that have no place in an order; ``at`` are their positions.

    Raises:
        ValueError: a score is NaN; the message names its row.
    """
    if scores.dtype.kind == "f" and len(scores) and np.isnan(scores.min()):
        row = int(at[np.argmax(np.isnan(scores))])
        raise ValueError(f"the score of row {row} (counted from 0) is not a number")


def sampled(rows: int, count: int) -> Positions:
    """A random position of each of ``count`` stretches of equal length, ascending."""
    edges = np.arange(count + 1, dtype=np.int64) * rows // count
    return np.random.default_rng(0).integers(edges[:-1], edges[1:])
