"""What samplers share: distinct rows, their order of difficulty, windows of it, and quotas."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import numpy as np

from ppx_ext import Candidates

if TYPE_CHECKING:
    import numpy.typing as npt

    Places = npt.NDArray[np.int64]


def distinct(candidates: Candidates, *, unique: bool) -> Places:
    """Places of the rows that are no duplicate of an earlier one, or of all rows."""
    places = np.arange(len(candidates), dtype=np.int64)
    return places[candidates.first_N == places] if unique else places


def by_difficulty(
    candidates: Candidates, places: Places, rng: np.random.Generator, *, sampler: str
) -> Places:
    """``places``, the easiest first; rows of equal difficulty in an order drawn by ``rng``.

    Raises:
        ValueError: all rows are equally hard, so that there is no order.
    """
    score_K = candidates.score_N[places]
    if len(places) > 1 and score_K.min() == score_K.max():
        raise ValueError(
            f"ppx.choose: every one of the {len(places)} rows has the difficulty {score_K[0]:g}, "
            f"so that `{sampler}` has nothing to order by. Choose another measure with `by`."
        )
    ordered: Places = places[np.lexsort((rng.permutation(len(places)), score_K))]
    return ordered


def window_of(ordered: Places, window: tuple[float, float], *, asked: str) -> Places:
    """Of n rows in their order, those at places round(low n) to round(high n) - 1.

    Windows that share an end share no row, and together they miss none.

    Raises:
        ValueError: there is none.
    """
    low, high = (round(quantile * len(ordered)) for quantile in window)
    if low == high:
        raise ValueError(
            f"ppx.choose: {asked} is empty: from quantile {window[0]:g} to {window[1]:g} there is "
            f"no row among {len(ordered)}"
        )
    return ordered[low:high]


def proportional(total: int, sizes: Sequence[int]) -> list[int]:
    """``total`` in proportion to ``sizes``, by the method of the largest remainder.

    Each quota is its exact share rounded down; what is missing then goes, one each, to the largest
    remainders (of equal ones, to the first). ``total`` is at most the sum of ``sizes``.
    """
    whole = sum(sizes)
    shares = [Fraction(total * size, whole) for size in sizes]
    quotas = [int(share) for share in shares]
    remainders = [share - quota for share, quota in zip(shares, quotas, strict=True)]
    missing = total - sum(quotas)
    for at in sorted(range(len(sizes)), key=lambda at: (-remainders[at], at))[:missing]:
        quotas[at] += 1
    return quotas


def equal(total: int, sizes: Sequence[int]) -> list[int]:
    """``total`` in equal parts, none larger than its size; what a small one lacks, others give.

    The parts of those that are not used up differ by at most 1 (the first get one more).
    """
    quotas = [0] * len(sizes)
    left, open_ = total, list(range(len(sizes)))
    while open_ and left:
        part = max(1, left // len(open_))
        for at in list(open_):
            more = min(part, sizes[at] - quotas[at], left)
            quotas[at] += more
            left -= more
            if quotas[at] == sizes[at]:
                open_.remove(at)
    return quotas


def by_stratum(strata: Sequence[Any], places: Places) -> dict[Any, Places]:
    """``places`` of each stratum, in their order; strata sorted by name."""
    found: dict[Any, list[int]] = {}
    for at in places.tolist():
        found.setdefault(strata[at], []).append(at)
    return {name: np.array(found[name], dtype=np.int64) for name in sorted(found, key=str)}


def counts(**reasons: int) -> dict[str, int]:
    """Reasons in words -> rows, without those that struck no row."""
    return {name.replace("_", " "): rows for name, rows in reasons.items() if rows}
