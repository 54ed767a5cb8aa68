"""What the record tells of a choice: sizes, quantiles, window, strata, and a histogram."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from ppx_ext.contracts import Candidates, Choice

if TYPE_CHECKING:
    from ppx_ext.contracts import Bools, Floats, Places

QUANTILES = (0, 5, 25, 50, 75, 95, 100)
"""In per cent."""

BINS = 40


def of(choice: Choice, candidates: Candidates, *, unit: str) -> dict[str, Any]:
    """The record's numbers of a choice, as plain JSON values.

    Rows that are trained on in several epochs count once, but in ``rows_chosen`` and
    ``targets_chosen``, which are what training sees.
    """
    distinct = np.unique(choice.index_K)
    chosen_N = np.zeros(len(candidates), dtype=bool)
    chosen_N[distinct] = True
    score_N = candidates.score_N
    return {
        "candidates": len(candidates),
        "rows_chosen": len(choice.index_K),
        "distinct_rows_chosen": len(distinct),
        "targets_chosen": int(candidates.tokens_N[choice.index_K].sum()),
        "unit": unit,
        "score": {"all": quantiles(score_N), "chosen": quantiles(score_N[distinct])},
        "window": _window(choice, candidates),
        "prior": choice.prior,
        "strata": _strata(candidates, chosen_N),
        "histogram": histogram(score_N, chosen_N),
        "ordered": choice.ordered,
        "epochs": choice.epochs,
        "notes": list(choice.notes),
        "sampler": dict(choice.numbers),
    }


def quantiles(score_N: Floats) -> dict[str, float]:
    """Per cent -> quantile, at `QUANTILES`."""
    found = np.percentile(score_N, QUANTILES)
    return {str(q): float(value) for q, value in zip(QUANTILES, found, strict=True)}


def _window(choice: Choice, candidates: Candidates) -> Mapping[str, Any] | None:
    if choice.window is None:
        return None
    first_N = candidates.first_N == np.arange(len(candidates))
    # Where no duplicate was chosen, none of them took part in the order of difficulty.
    distinct = bool(first_N[choice.index_K].all())
    scores = np.quantile(candidates.score_N[first_N | (not distinct)], choice.window)
    return {"quantiles": list(choice.window), "scores": [float(score) for score in scores]}


def _strata(candidates: Candidates, chosen_N: Bools) -> list[dict[str, Any]]:
    if candidates.stratum_N is None:
        return []
    names = sorted(set(candidates.stratum_N), key=str)
    code_of = {name: code for code, name in enumerate(names)}
    code_N = np.asarray([code_of[name] for name in candidates.stratum_N])

    def count(which_N: Bools, weights: Places | None = None) -> list[int]:
        weights = None if weights is None else weights[which_N]
        found = np.bincount(code_N[which_N], weights=weights, minlength=len(names))
        return [int(number) for number in found]

    all_N = np.ones(len(candidates), dtype=bool)
    columns = {
        "stratum": names,
        "rows": count(all_N),
        "rows_chosen": count(chosen_N),
        "targets": count(all_N, candidates.tokens_N),
        "targets_chosen": count(chosen_N, candidates.tokens_N),
    }
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def histogram(score_N: Floats, chosen_N: Bools, *, bins: int = BINS) -> dict[str, list[float]]:
    """Edges (bins + 1), and rows between each two of them: all of them, and the chosen ones.

    Whole numbers of few values get a bin each, and so does the only value that there is.
    """
    low, high = float(score_N.min()), float(score_N.max())
    if low == high or (high - low < bins and np.array_equal(score_N, np.rint(score_N))):
        edges = np.arange(low, high + 2) - 0.5
    else:
        edges = np.linspace(low, high, bins + 1)
    return {
        "edges": edges.tolist(),
        "all": np.histogram(score_N, edges)[0].tolist(),
        "chosen": np.histogram(score_N[chosen_N], edges)[0].tolist(),
    }
