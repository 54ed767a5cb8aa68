"""Fitted pilots -> a window of difficulty for a budget, what it should gain, and how sure it is."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, TypeAlias

import numpy as np

from ppx_ext.advising import words
from ppx_ext.advising.doubt import CONFIDENCE, RESAMPLES, Fitted, Interval, fitted
from ppx_ext.advising.expected import Gain, Next, gains_of, next_pilot
from ppx_ext.advising.pilots import Results
from ppx_ext.advising.surface import Array, Surfaces, cells_of
from ppx_ext.priors import prior_window

Window: TypeAlias = tuple[float, float]
Shape: TypeAlias = Literal["inverted U", "edge", "unclear", "flat"]
WHOLE: Window = (0.0, 1.0)
SCHEMA = 1


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
class Advice:
    """A recommendation from pilots.

    Attributes:
        shape: ``inverted U``: the optimum's interval lies between the outermost bands at a pilot's
            budget; ``edge``: the optimum lies at or beyond them at all of these; ``unclear``:
            neither; ``flat``: difficulty makes no difference that chance does not explain.
        optimum: best middle quantile for the budget; at an edge, for the nearest budget measured.
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
            "stretch": self.fitted.stretch,
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
    notes: Sequence[str] = (),
) -> Advice:
    """Fit the pilots and recommend a window; ``notes`` of their runs go to the caveats.

    Raises:
        ValueError: the pilots do not tell a surface; what is missing is said.
    """
    found = fitted(cells_of(results), confidence=confidence, resamples=resamples, seed=seed)
    examples = question.examples
    shape = _shape(found)
    at = _seen(found, examples) if shape == "edge" else examples
    optimum = found.optimum(at)
    width = _width(found, question)
    window, lowest, highest = (
        _window(middle, width) for middle in (optimum.value, optimum.low, optimum.high)
    )
    middle = sum(window) / 2
    value_B = found.resampled.value(examples, middle)
    value = found.interval(value_B, float(found.point.value(examples, middle)[0]))
    doubling = found.interval(_drift(found.resampled, found), float(_drift(found.point, found)[0]))
    gains = gains_of(found, results, examples=examples, rows=question.rows, middle=middle)
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
        next=next_pilot(found, at),
        verdict=words.verdict(found, question, shape, optimum, window, doubling),
        caveats=(*words.caveats(found, question, shape), *notes),
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


def _seen(found: Fitted, examples: int) -> int:
    """The budget of a pilot's range that is nearest: an optimum beyond the edge shows no drift."""
    budgets = found.cells.budgets
    return min(max(examples, budgets[0]), budgets[-1])


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
