"""What chance allows: intervals of an accuracy, and tests between two models on the same items.

Everything here speaks in words as well as numbers, so that a report cannot leave out the doubt.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

CONFIDENCE = 0.95
RESAMPLES = 9_999


def wilson(correct: int, items: int) -> tuple[float, float]:
    """The 95 % Wilson score interval of an accuracy, both ends in [0, 1]."""
    from scipy.stats import binomtest

    interval = binomtest(correct, items).proportion_ci(CONFIDENCE, method="wilson")
    return float(interval.low), float(interval.high)


@dataclass(frozen=True, kw_only=True)
class Difference:
    """``b`` against ``a`` on the same things, with what chance allows.

    Attributes:
        mean: mean of b - a, in the unit of the inputs.
        low, high: 95 % interval of the mean; None where the test gives none.
        p: two-sided p-value; None where the test gives none.
        n: how many pairs.
        test: its name.
    """

    mean: float
    n: int
    test: str
    p: float | None = None
    low: float | None = None
    high: float | None = None

    @property
    def significant(self) -> bool:
        """Whether chance alone explains the difference in fewer than 5 % of cases."""
        if self.p is not None:
            return self.p < 1 - CONFIDENCE
        return self.low is not None and self.high is not None and not self.low <= 0 <= self.high

    def words(self) -> str:
        """For instance ``not significant (p = 0.31, exact McNemar, n = 200)``."""
        verdict = "significant" if self.significant else "not significant"
        chance = f"p = {self.p:.2g}" if self.p is not None else f"95 % CI {self._interval()}"
        return f"{verdict} ({chance}, {self.test}, n = {self.n})"

    def _interval(self) -> str:
        return f"{self.low:+.3g} to {self.high:+.3g}"


def mcnemar(a: Sequence[bool], b: Sequence[bool]) -> Difference:
    """Exact McNemar test between two models on the same items (one run each).

    Raises:
        ValueError: the two differ in length.
    """
    from scipy.stats import binomtest

    only_b = sum(y and not x for x, y in zip(a, b, strict=True))
    only_a = sum(x and not y for x, y in zip(a, b, strict=True))
    p = binomtest(only_b, only_a + only_b).pvalue if only_a + only_b else 1.0
    mean = (only_b - only_a) / len(a)
    return Difference(mean=mean, n=len(a), test="exact McNemar over items", p=float(p))


def paired_bootstrap(*tasks: tuple[Sequence[float], Sequence[float]], seed: int = 0) -> Difference:
    """Percentile bootstrap, over items, of the mean of b - a; several tasks weigh alike.

    Args:
        tasks: ``(a_N, b_N)`` of each task: one value an item (right or wrong, or its mean over
            seeds). Items are drawn anew within each task.
        seed: of the resampling.

    Raises:
        ValueError: no task, the two of one differ in length, or it has fewer than two items.
    """
    if not tasks:
        raise ValueError("a paired test needs at least one task")
    diffs = [_differences(a_N, b_N) for a_N, b_N in tasks]
    a_RT, b_RT = resampled(tasks, seed=seed)
    low, high = interval((b_RT - a_RT).mean(axis=1))
    return Difference(
        mean=sum(float(diff_N.mean()) for diff_N in diffs) / len(diffs),
        n=sum(map(len, diffs)),
        test="paired bootstrap over items",
        low=low,
        high=high,
    )


def resampled(
    tasks: Sequence[tuple[Sequence[float], Sequence[float]]], *, seed: int = 0
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Means of both models over items drawn anew, the same items for both: two (R, T) arrays.

    Args:
        tasks: as in `paired_bootstrap`.
        seed: of the resampling.
    """
    import numpy as np

    rng = np.random.default_rng(seed)
    found_TR2 = [_drawn(np.column_stack(task).astype(float), rng) for task in tasks]
    a_RT, b_RT = np.stack(found_TR2, axis=1).transpose(2, 0, 1)
    return a_RT, b_RT


def _drawn(pairs_N2: npt.NDArray[np.float64], rng: np.random.Generator) -> npt.NDArray[np.float64]:
    """Means over items drawn anew, (R, 2).

    Items with the same pair of values are alike, and how often each pair is drawn is multinomial:
    where there are few pairs, as of right and wrong, nothing need be drawn item by item.
    """
    import numpy as np

    pairs_P2, counts_P = np.unique(pairs_N2, axis=0, return_counts=True)
    items, pairs = len(pairs_N2), len(pairs_P2)
    if 16 * pairs < items:  # a binomial takes so much longer than a look-up
        shares_P = counts_P / items
        parts = [
            rng.multinomial(items, shares_P, size=rows) @ pairs_P2 / items
            for rows in _batches(RESAMPLES, pairs)
        ]
    else:
        parts = [
            pairs_N2[rng.integers(items, size=(rows, items))].mean(axis=1)
            for rows in _batches(RESAMPLES, 2 * items)
        ]
    return np.concatenate(parts)


def _batches(total: int, width: int) -> list[int]:
    """Numbers of rows, so that no more than some four million cells are held at once."""
    step = max(1, min(total, 4_000_000 // width))
    return [min(step, total - start) for start in range(0, total, step)]


def interval(drawn_R: npt.NDArray[np.float64]) -> tuple[float, float]:
    """The middle 95 % of what was drawn."""
    import numpy as np

    tail = 50 * (1 - CONFIDENCE)
    low, high = np.percentile(drawn_R, [tail, 100 - tail])
    return float(low), float(high)


def chance_of_zero(drawn_R: npt.NDArray[np.float64]) -> float:
    """Two-sided p of no difference: 1 less the confidence of the interval that just reaches 0."""
    import numpy as np

    fewer = min(int(np.sum(drawn_R <= 0)), int(np.sum(drawn_R >= 0)))
    return min(1.0, 2 * (fewer + 1) / (len(drawn_R) + 1))


def holm(chances: Sequence[float]) -> list[float]:
    """p-values of several comparisons after Holm's correction, in the order given.

    Below the level, they are right for any number of comparisons at once, however they hang
    together: the i-th smallest of m is multiplied by m - i + 1, and none falls below a smaller one.
    """
    order = sorted(range(len(chances)), key=lambda at: chances[at])
    found, floor = [0.0] * len(chances), 0.0
    for rank, at in enumerate(order):
        floor = max(floor, min(1.0, (len(chances) - rank) * chances[at]))
        found[at] = floor
    return found


def over_seeds(a_S: Sequence[float], b_S: Sequence[float]) -> Difference:
    """Exact sign-flip (permutation) test of the mean of b - a over seeds; no normality assumed.

    With n seeds no p below ``2 / 2**n`` can come out, so five seeds can never be significant.

    Raises:
        ValueError: the two differ in length, or there are fewer than two seeds.
    """
    import numpy as np
    from scipy.stats import permutation_test

    diff_S = _differences(a_S, b_S)
    if np.any(diff_S):
        found = permutation_test(
            (diff_S,),
            lambda x, axis: np.mean(x, axis=axis),
            permutation_type="samples",
            vectorized=True,
            n_resamples=RESAMPLES,
            rng=np.random.default_rng(0),
        )
        p = float(found.pvalue)
    else:
        p = 1.0
    name = "sign-flip test over seeds"
    return Difference(mean=float(diff_S.mean()), n=len(diff_S), test=name, p=p)


def smallest_p(seeds: int) -> float:
    """The smallest p-value that `over_seeds` can give."""
    return float(min(1.0, 2 / 2**seeds))


def _differences(a: Sequence[float], b: Sequence[float]) -> npt.NDArray[np.float64]:
    import numpy as np

    if len(a) != len(b) or len(a) < 2:
        raise ValueError(f"a paired test needs two or more pairs; got {len(a)} and {len(b)}")
    diff: npt.NDArray[np.float64] = np.asarray(b, float) - np.asarray(a, float)
    return diff
