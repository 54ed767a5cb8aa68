"""What is believed of difficulty before anything was measured: a rule, and no finding."""

from __future__ import annotations

import math

SMALL, LARGE = 1_000, 100_000
"""Budgets, in examples, at which the prior is the easiest and the hardest third."""


def prior_window(examples: int, rows: int) -> tuple[float, float]:
    """Quantiles of difficulty from which to take ``examples`` of ``rows`` rows, a priori.

    arXiv 2605.12906 finds that the best difficulty gets harder as the budget grows (sections 3
    and 4), and gives no formula. The rule here is ours: a window of a third (wider where the
    budget needs it), whose middle goes in proportion to the logarithm of the budget from the
    easiest third at `SMALL` examples to the hardest at `LARGE`. It knows neither the model nor the
    data; pilots (`ppx budget`) do.

    Args:
        examples: the budget.
        rows: to choose from.

    Returns:
        Low and high quantile, 0 <= low < high <= 1; high - low >= examples / rows.

    Raises:
        ValueError: a number below 1.
    """
    if examples < 1 or rows < 1:
        raise ValueError(f"a budget of {examples} examples of {rows} rows: both are at least 1")
    width = min(1.0, max(1 / 3, examples / rows))
    along = math.log(examples / SMALL) / math.log(LARGE / SMALL)
    low = min(max(along, 0.0), 1.0) * (1 - width)
    return low, low + width
