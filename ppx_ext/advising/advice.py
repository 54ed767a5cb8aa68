"""Fitted pilots -> a window of difficulty for a budget, what it should gain, and how sure that is.

A gain is that of the window that is recommended now, under each resampled surface: a window that
each resampled surface chose for itself would always gain.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any, Literal, TypeAlias

import numpy as np

from ppx_ext.advising import words
from ppx_ext.advising.doubt import CONFIDENCE, RESAMPLES, Fitted, Interval, fitted
from ppx_ext.advising.pilots import Results
from ppx_ext.advising.surface import Array, Surfaces, cells_of
from ppx_ext.priors import prior_window

Window: TypeAlias = tuple[float, float]
Shape: TypeAlias = Literal["inverted U", "edge", "unclear", "flat"]
WHOLE: Window = (0.0, 1.0)
SCHEMA = 1
_SAME = 0.02


@dataclass(frozen=True, kw_only=True)
class Question:
    """What is asked for.

    Attributes:
        examples: the budget.
        rows: to choose from; None where that is not known.
        by: the measure of difficulty, as `choose.by` names it.
    """

    examples: int
    rows: int | None = None
    by: Any = "response_length"

    def __post_init__(self) -> None:
        if self.examples < 1:
            raise ValueError(f"a budget of {self.examples} examples: at least 1 is needed")
        if self.rows is not None and self.rows < self.examples:
            raise ValueError(
                f"a budget of {self.examples:,} examples is more than all {self.rows:,} rows: take "
                "them all, or ask for fewer"
            )

    def choose(self, window: Window) -> dict[str, Any]:
        """The `choose:` block of a recipe."""
        budget = {"use": "budget", "by": self.by, "max_examples": self.examples}
        return {**budget, "window": list(window)}


@dataclass(frozen=True, kw_only=True)
class Gain:
    """Expected value of the window less that of something else; above 0 is better.

    Attributes:
        over: ``random``, ``everything``, ``fixed`` (the best band for all budgets) or ``base``.
        what: the same for people.
        significant: the interval excludes 0; and where only difficulty differs, that matters at
            all.
    """

    over: str
    what: str
    interval: Interval
    significant: bool


@dataclass(frozen=True, kw_only=True)
class Next:
    """The pilot that would tell most of the optimum: one more seed of a cell.

    Attributes:
        seeds: that the cell has.
        width: of the optimum's interval now.
        expected: of it with this pilot.
    """

    examples: int
    low: float
    high: float
    seeds: int
    width: float
    expected: float


@dataclass(frozen=True, kw_only=True)
class Advice:
    """A recommendation from pilots.

    Attributes:
        shape: ``inverted U``: the optimum's interval lies between the outermost bands at a pilot's
            budget; ``edge``: the optimum lies at or beyond them at all of these; ``unclear``:
            neither; ``flat``: difficulty makes no difference that chance does not explain.
        optimum: best middle quantile for the budget.
        window: around it, as wide as the pilots' bands, or as the budget needs.
        low, high: its ends with the optimum's interval.
        recommended: ``window``, or all rows where the surface is flat.
        predicted: value of ``window``, as measured (not turned around).
        drift: of the optimum with each doubling of the budget, on average over the pilots'.
    """

    question: Question
    results: Results
    fitted: Fitted
    shape: Shape
    optimum: Interval
    window: Window
    low: Interval
    high: Interval
    recommended: Window
    predicted: Interval
    drift: Interval
    gains: tuple[Gain, ...]
    next: Next
    verdict: tuple[str, ...]
    caveats: tuple[str, ...]

    @property
    def choose(self) -> dict[str, Any]:
        """The `choose:` block to paste."""
        return self.question.choose(self.recommended)

    def dump(self) -> dict[str, Any]:
        """All numbers as plain JSON values."""
        names = ("shape", "window", "recommended")
        parts = ("optimum", "low", "high", "predicted", "drift", "next")
        point = self.fitted.point
        return {
            "schema": SCHEMA,
            "kind": "advice",
            **asdict(self.question),
            "choose": self.choose,
            **{name: getattr(self, name) for name in names},
            **{name: asdict(getattr(self, name)) for name in parts},
            "gains": [asdict(gain) for gain in self.gains],
            "verdict": list(self.verdict),
            "caveats": list(self.caveats),
            "metric": self.results.metric,
            "lower_is_better": self.results.lower_is_better,
            "confidence": self.fitted.confidence,
            "resamples": len(self.fitted.resampled.rss_B),
            "chance": self.fitted.chance,
            "misfit": self.fitted.misfit,
            "noise": self.fitted.noise,
            "surface": _numbers(point),
            "pilots": [pilot.model_dump() for pilot in self.results.pilots],
        }


def _numbers(point: Surfaces) -> dict[str, Any]:
    return {
        name.removesuffix("_B"): None if value is None else float(np.ravel(value)[0])
        for name, value in vars(point).items()
    }


@dataclass(frozen=True, kw_only=True)
class Prior:
    """What is believed without pilots; no finding."""

    question: Question
    window: Window

    @property
    def choose(self) -> dict[str, Any]:
        """The `choose:` block to paste."""
        return self.question.choose(self.window)

    def dump(self) -> dict[str, Any]:
        """As plain JSON values."""
        own = {"schema": SCHEMA, "kind": "prior", **asdict(self.question)}
        return {**own, "window": self.window, "choose": self.choose}


def prior(question: Question) -> Prior:
    """The window that the paper's rule suggests.

    Raises:
        ValueError: the number of rows is not known.
    """
    if question.rows is None:
        raise ValueError("without pilots the number of rows is needed: give --rows")
    low, high = prior_window(question.examples, question.rows)
    return Prior(question=question, window=_rounded(low, high))


def advise(
    results: Results,
    question: Question,
    *,
    confidence: float = CONFIDENCE,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Advice:
    """Fit the pilots and recommend a window.

    Raises:
        ValueError: the pilots do not tell a surface; what is missing is said.
    """
    found = fitted(cells_of(results), confidence=confidence, resamples=resamples, seed=seed)
    examples = question.examples
    optimum = found.optimum(examples)
    width = _width(found, question)
    window, lowest, highest = (
        _window(middle, width) for middle in (optimum.value, optimum.low, optimum.high)
    )
    shape = _shape(found)
    middle = sum(window) / 2
    value_B = found.resampled.value(examples, middle)
    value = found.interval(value_B, float(found.point.value(examples, middle)[0]))
    doubling = found.interval(_drift(found.resampled, found), float(_drift(found.point, found)[0]))
    gains = _gains(found, results, question, middle)
    return Advice(
        question=question,
        results=results,
        fitted=found,
        shape=shape,
        optimum=optimum,
        window=window,
        low=Interval(value=window[0], low=lowest[0], high=highest[0]),
        high=Interval(value=window[1], low=lowest[1], high=highest[1]),
        recommended=WHOLE if shape == "flat" else window,
        predicted=_as_measured(value, results),
        drift=doubling,
        gains=gains,
        next=next_pilot(found, examples),
        verdict=words.verdict(found, question, shape, optimum, window, doubling),
        caveats=words.caveats(found, results, question, shape),
    )


def _drift(surfaces: Surfaces, found: Fitted) -> Array:
    """Mean movement of the optimum with a doubling, between the pilots' outermost budgets."""
    first, last = found.cells.budgets[0], found.cells.budgets[-1]
    moved = surfaces.optimum(last) - surfaces.optimum(first)
    return np.asarray(moved / math.log2(last / first))


def _as_measured(value: Interval, results: Results) -> Interval:
    if not results.lower_is_better:
        return value
    return Interval(value=-value.value, low=-value.high, high=-value.low)


def _width(found: Fitted, question: Question) -> float:
    bands = [high - low for low, high in found.cells.bands]
    needed = 0.0 if question.rows is None else question.examples / question.rows
    return min(1.0, max(float(np.median(bands)), needed))


def _window(middle: float, width: float) -> Window:
    low = min(max(middle - width / 2, 0.0), 1.0 - width)
    return _rounded(low, low + width)


def _rounded(low: float, high: float) -> Window:
    """To three digits, and outwards, so that no row of the budget is lost."""
    tiny = 1e-9
    outer = math.floor(1000 * low + tiny) / 1000, math.ceil(1000 * high - tiny) / 1000
    return max(outer[0], 0.0), min(outer[1], 1.0)


def _shape(found: Fitted) -> Shape:
    if not found.matters:
        return "flat"
    middles = found.cells.middle_M[~found.cells.random_M]
    easiest, hardest = float(middles.min()), float(middles.max())
    optima = [found.optimum(budget) for budget in found.cells.budgets]
    if any(easiest < one.low and one.high < hardest for one in optima):
        return "inverted U"
    if all(not easiest < one.value < hardest for one in optima):
        return "edge"
    return "unclear"


def _gains(found: Fitted, results: Results, question: Question, middle: float) -> tuple[Gain, ...]:
    examples, rows = question.examples, question.rows
    fixed = _best_band(found)

    def over(name: str, what: str, other: Any) -> Gain:
        point, resampled = (
            surface.value(examples, middle) - other(surface)
            for surface in (found.point, found.resampled)
        )
        interval = found.interval(resampled, float(point[0]))
        sure = found.matters or name in ("base", "everything")
        return Gain(
            over=name, what=what, interval=interval, significant=sure and interval.excludes_zero
        )

    gains = [over("random", "rows at random", lambda s: s.at_random(examples))]
    if rows is not None and rows > examples:
        what = f"everything ({rows:,} rows)"
        gains.append(over("everything", what, lambda s: s.at_random(rows)))
    same = abs(sum(fixed) / 2 - middle) < _SAME
    what = f"the best fixed band [{fixed[0]:.2f}, {fixed[1]:.2f}]" + same * " (much the same)"
    gains.append(over("fixed", what, lambda s: s.value(examples, sum(fixed) / 2)))
    base = [results.sign * pilot.value for pilot in results.pilots if pilot.kind == "base"]
    if base:
        gains.append(over("base", "the untouched base", lambda s: np.mean(base)))
    return tuple(gains)


def _best_band(found: Fitted) -> Window:
    """The band with the best mean over the pilots' budgets."""

    def mean(band: Window) -> float:
        values = [found.point.value(n, sum(band) / 2)[0] for n in found.cells.budgets]
        return float(np.mean(values))

    return max(found.cells.bands, key=mean)


def next_pilot(found: Fitted, examples: int) -> Next:
    """One more seed of the cell that narrows the optimum's interval most.

    Of a quantity q and a cell's value v, jointly normal over the resampled surfaces, a measurement
    of v with noise s leaves ``var(q) - cov(q, v)**2 / (var(v) + s**2)``.
    """
    cells, surfaces = found.cells, found.resampled
    optimum_B = surfaces.optimum(examples)
    width, spread = found.optimum(examples).width, float(optimum_B.var())
    seeds = {
        (int(n), low, high): len(values)
        for n, low, high, values in zip(
            cells.examples_M, cells.low_M, cells.high_M, cells.values, strict=True
        )
    }

    def left(cell: tuple[int, float, float]) -> float:
        value_B = surfaces.value(cell[0], (cell[1] + cell[2]) / 2)
        shared = float(np.mean((value_B - value_B.mean()) * (optimum_B - optimum_B.mean())))
        told = shared**2 / max(float(value_B.var()) + found.noise**2, 1e-300)
        return max(spread - told, 0.0)

    best = min(((n, *band) for n in cells.budgets for band in cells.bands), key=left)
    share = math.sqrt(left(best) / spread) if spread else 1.0
    return Next(
        examples=best[0],
        low=best[1],
        high=best[2],
        seeds=seeds.get(best, 0),
        width=width,
        expected=width * share,
    )
