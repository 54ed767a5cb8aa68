"""Pilots drawn from surfaces that are known."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence

import numpy as np

from ppx_ext.advising.pilots import Pilot, Results

BUDGETS = (250, 500, 1000)
REFERENCE = 500.0
"""Their geometric mean."""


def optimum(n: float) -> float:
    """0.45 at 500 examples, and 0.15 harder with each e-fold."""
    return float(np.clip(0.45 + 0.15 * np.log(n / REFERENCE), 0.0, 1.0))


def ridge(n: float) -> float:
    """0.5 at 500 examples; what is left to gain shrinks by exp(0.5) with each e-fold."""
    return 0.5 + 0.1 * (1 - np.exp(-0.5 * np.log(n / REFERENCE))) / 0.5


def hill(n: float, d: float) -> float:
    """An inverted U whose optimum drifts."""
    return ridge(n) - 0.3 * (d - optimum(n)) ** 2


def slope(n: float, d: float) -> float:
    """The harder the better."""
    return ridge(n) + 0.2 * (d - 0.5)


def plain(n: float, d: float) -> float:
    """Difficulty makes no difference."""
    return ridge(n)


def drawn(
    value: Callable[[float, float], float] = hill,
    *,
    noise: float = 0.0,
    seed: int = 0,
    seeds: int = 3,
    budgets: Sequence[int] = BUDGETS,
    bands: int = 3,
    at_random: Callable[[float], float] | None = lambda n: ridge(n) - 0.05,
    lower_is_better: bool = False,
) -> Results:
    """A grid of pilots, with normal noise."""
    rng = np.random.default_rng(seed)
    edges = np.linspace(0, 1, bands + 1)
    sign = -1 if lower_is_better else 1
    found = []
    for n in budgets:
        cells = [(low, high, value(n, (low + high) / 2)) for low, high in itertools.pairwise(edges)]
        if at_random is not None:
            cells.append((0.0, 1.0, at_random(n)))
        for low, high, mean in cells:
            for one in range(seeds):
                measured = sign * (mean + noise * rng.normal())
                found.append(
                    Pilot.model_validate(
                        {"examples": n, "low": low, "high": high, "seed": one, "value": measured}
                    )
                )
    return Results(pilots=tuple(found), metric="accuracy", lower_is_better=lower_is_better)
