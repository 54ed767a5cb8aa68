"""The sampler `budget`: so many examples or target tokens, of a band of difficulty."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pydantic

from ppx_difficulty import ordering
from ppx_ext import Candidates, Choice, Sampler, prior_window

if TYPE_CHECKING:
    from ppx_difficulty.ordering import Places

PAPER = "arXiv 2605.12906"
BANDS = {"easy": (0.0, 1 / 3), "medium": (1 / 3, 2 / 3), "hard": (2 / 3, 1.0)}
"""The paper's three buckets: tertiles of difficulty."""

WHOLE = (0.0, 1.0)
_PRIOR = (
    "band: auto took the quantiles {:.3g} to {:.3g} by a rule believed beforehand: a prior, not a "
    "finding. `ppx budget` finds the band by pilots."
)


class BudgetSettings(pydantic.BaseModel):
    """Settings of ``budget``.

    Attributes:
        max_examples: so many rows are taken.
        max_tokens: rows of so many target tokens are taken: as many as fit, one after the other, a
            row that no longer fits is passed over.
        band: a third of the rows by difficulty; ``auto`` takes a window that gets harder as the
            budget grows (`ppx_ext.prior_window`).
        window: or these quantiles of difficulty, in [0, 1].
        take: which rows of the window: drawn at ``random`` by the seed, or its ``easiest`` or
            ``hardest``.
        strata: a column; the budget is shared among its values.
        share: in ``proportion`` to their rows in the window (``proportional``), or ``equal``; what
            a stratum lacks then goes to the others.
        unique: leave out rows with the same tokens as an earlier one, before anything else.
    """

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True)

    max_examples: int | None = pydantic.Field(default=None, gt=0)
    max_tokens: int | None = pydantic.Field(default=None, gt=0)
    band: Literal["easy", "medium", "hard", "auto"] | None = None
    window: tuple[float, float] | None = None
    take: Literal["random", "easiest", "hardest"] = "random"
    strata: str | None = None
    share: Literal["proportional", "equal"] | None = None
    unique: bool = True

    @pydantic.model_validator(mode="after")
    def _consistent(self) -> BudgetSettings:
        budgets = [b for b in (self.max_examples, self.max_tokens) if b is not None]
        if len(budgets) > 1:
            raise ValueError("max_examples and max_tokens exclude each other: give one of them")
        if self.band is not None and self.window is not None:
            raise ValueError("band and window exclude each other: give one of them")
        if not budgets and self.band == "auto":
            raise ValueError("band: auto goes by the budget: give max_examples or max_tokens")
        if not budgets and self.band is None and self.window is None:
            raise ValueError("give a budget (max_examples or max_tokens), a band or a window")
        if not budgets and (self.take != "random" or self.strata is not None):
            raise ValueError("without a budget the whole window is taken: take and strata say how")
        if self.window is not None and not 0 <= self.window[0] < self.window[1] <= 1:
            raise ValueError(f"window: two quantiles, 0 <= low < high <= 1, not {self.window}")
        if self.share is not None and self.strata is None:
            raise ValueError("share has no meaning without strata: name a column")
        return self


def choose(settings: BudgetSettings, candidates: Candidates, rng: np.random.Generator) -> Choice:
    """Rows of the window up to the budget, in the order of the data.

    Raises:
        ValueError: the window is empty, nothing fits into the budget, or an order is needed and all
            rows are equally hard.
    """
    alive = ordering.distinct(candidates, unique=settings.unique)
    window = _window(settings, candidates, alive)
    inside = _inside(settings, candidates, alive, window, rng)
    chosen = _within_budget(settings, candidates, inside)
    if not len(chosen):
        least = int(candidates.tokens_N[inside].min())
        raise ValueError(
            f"ppx.choose.max_tokens: not one row fits into {settings.max_tokens} target tokens; "
            f"the shortest in the window has {least}"
        )
    prior = [_PRIOR.format(*window)] if settings.band == "auto" else []
    return Choice(
        index_K=np.sort(chosen),
        window=None if window == WHOLE else window,
        left_out=ordering.counts(
            duplicates=len(candidates) - len(alive),
            outside_the_window=len(alive) - len(inside),
            over_the_budget=len(inside) - len(chosen),
        ),
        prior=bool(prior),
        notes=(*prior, *_told(settings, candidates, inside, chosen, window)),
        numbers={"rows_in_the_window": len(inside)},
    )


def _window(settings: BudgetSettings, candidates: Candidates, alive: Places) -> tuple[float, float]:
    if settings.window is not None:
        return settings.window
    if settings.band is None:
        return WHOLE
    if settings.band != "auto":
        return BANDS[settings.band]
    if settings.max_examples is not None:
        return _auto(settings.max_examples, len(alive))
    return _auto_of_tokens(settings.max_tokens or 0, candidates, alive)


def _auto(examples: int, rows: int) -> tuple[float, float]:
    low, high = prior_window(examples, rows)
    # To whole rows, outwards: the window must hold the budget that it was made for.
    return math.floor(low * rows) / rows, math.ceil(high * rows) / rows


def _auto_of_tokens(max_tokens: int, candidates: Candidates, alive: Places) -> tuple[float, float]:
    """The window of as many rows as the budget is for, and of more where these are short."""
    rows = len(alive)
    tokens_K = candidates.tokens_N[alive][np.argsort(candidates.score_N[alive], kind="stable")]
    end_K = np.concatenate([[0], np.cumsum(tokens_K)])
    needed = min(max_tokens, int(end_K[-1]))
    start = max(1, round(needed * rows / int(end_K[-1])))
    for examples in range(start, rows, max(1, rows // 100)):
        window = _auto(examples, rows)
        low, high = (round(quantile * rows) for quantile in window)
        if end_K[high] - end_K[low] >= needed:
            return window
    return WHOLE


def _inside(
    settings: BudgetSettings,
    candidates: Candidates,
    alive: Places,
    window: tuple[float, float],
    rng: np.random.Generator,
) -> Places:
    """Rows of the window, in the order in which they are taken."""
    if window == WHOLE and settings.take == "random":
        return rng.permutation(alive)
    ordered = ordering.by_difficulty(candidates, alive, rng, sampler="budget")
    asked = f"band: {settings.band}" if settings.band else "window"
    inside = ordering.window_of(ordered, window, asked=asked)
    if settings.take == "random":
        return rng.permutation(inside)
    return inside if settings.take == "easiest" else inside[::-1]


def _within_budget(settings: BudgetSettings, candidates: Candidates, inside: Places) -> Places:
    if settings.max_examples is None and settings.max_tokens is None:
        return inside
    weight_N = _weights(settings, candidates)
    budget = min(settings.max_examples or settings.max_tokens or 0, int(weight_N[inside].sum()))
    if settings.strata is None:
        return _fitting(inside, weight_N, budget)
    assert candidates.stratum_N is not None
    parts = ordering.by_stratum(candidates.stratum_N, inside)
    sizes = [int(weight_N[part].sum()) for part in parts.values()]
    share = ordering.equal if settings.share == "equal" else ordering.proportional
    quotas = share(budget, sizes)
    taken = [
        _fitting(part, weight_N, quota) for part, quota in zip(parts.values(), quotas, strict=True)
    ]
    chosen = np.concatenate(taken)
    # Of tokens, each stratum leaves a rest; together these may be enough for a row.
    left = budget - int(weight_N[chosen].sum())
    return np.concatenate([chosen, _fitting(inside[~np.isin(inside, chosen)], weight_N, left)])


def _weights(settings: BudgetSettings, candidates: Candidates) -> Places:
    """What each row takes of the budget."""
    if settings.max_examples is not None:
        return np.ones(len(candidates), dtype=np.int64)
    return candidates.tokens_N


def _fitting(places: Places, weight_N: Places, budget: int) -> Places:
    """Rows that fit into the budget, in turn; one that no longer fits is passed over."""
    end_K = np.cumsum(weight_N[places])
    sure = int(np.searchsorted(end_K, budget, side="right"))
    left = budget - (int(end_K[sure - 1]) if sure else 0)
    more: list[int] = []
    for at in places[sure:].tolist() if left else ():
        if weight_N[at] <= left:
            more.append(at)
            left -= int(weight_N[at])
        if not left:
            break
    return np.concatenate([places[:sure], np.array(more, dtype=np.int64)])


def _told(
    settings: BudgetSettings,
    candidates: Candidates,
    inside: Places,
    chosen: Places,
    window: tuple[float, float],
) -> Iterable[str]:
    if settings.max_examples is not None and len(chosen) < settings.max_examples:
        yield (
            f"{settings.max_examples} examples were asked for, but there are only {len(inside)} to "
            f"choose from: {settings.max_examples - len(chosen)} fewer are trained on"
        )
    tokens = int(candidates.tokens_N[chosen].sum())
    if settings.max_tokens is not None and tokens < settings.max_tokens:
        where = "" if window == WHOLE else " in the window"
        all_of_it = f"that is all there is{where}"
        why = all_of_it if len(chosen) == len(inside) else f"no other row{where} fits"
        yield f"{tokens} of {settings.max_tokens} target tokens are used: {why}"
    if settings.strata is not None and candidates.stratum_N is not None:
        names = set(candidates.stratum_N)
        yield from _empty(names - {candidates.stratum_N[at] for at in chosen.tolist()}, settings)


def _empty(names: set[Any], settings: BudgetSettings) -> Iterable[str]:
    for name in sorted(names, key=str):
        yield f"no row of {settings.strata} {name!r} is chosen"


BUDGET = Sampler(
    name="budget",
    paper=PAPER,
    settings=BudgetSettings,
    choose=choose,
    strata=lambda settings: settings.strata,
)
