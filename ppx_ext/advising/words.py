"""What the numbers say, in sentences, with their doubt."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from ppx_ext.advising.doubt import Fitted, Interval

if TYPE_CHECKING:
    from ppx_ext.advising.advice import Question, Shape, Window


def quantile(value: float) -> str:
    """For instance ``0.42``."""
    return f"{value:.2f}"


def between(interval: Interval) -> str:
    """For instance ``0.31 to 0.52``."""
    return f"{quantile(interval.low)} to {quantile(interval.high)}"


def measure(by: object) -> str:
    """The name of a measure of difficulty."""
    return str(by.get("use") if isinstance(by, dict) else by)


def verdict(
    found: Fitted,
    question: Question,
    shape: Shape,
    optimum: Interval,
    window: Window,
    drift: Interval,
) -> tuple[str, ...]:
    """What was found, and what to do."""
    sure = f"{100 * found.confidence:.0f} % interval"
    by = measure(question.by)
    chance = f"(p = {found.chance:.2g}, values permuted between the bands of a budget)"
    if shape == "flat":
        return (
            f"Not significant: the difficulty of rows makes no difference that chance does not "
            f"explain {chance}. Take {question.examples:,} rows at random, or run more pilots.",
        )
    take = (
        f"For {question.examples:,} examples take rows between the quantiles {window[0]:.3g} and "
        f"{window[1]:.3g} of {by}: the best middle is {quantile(optimum.value)} ({sure} "
        f"{between(optimum)})."
    )
    found_words = f"{_shape_words(found, shape)} {chance}."
    if shape == "edge":  # where the optimum lies beyond, no one can see it move
        return (take, found_words)
    return (take, found_words, _drift_words(drift, sure))


def _shape_words(found: Fitted, shape: Shape) -> str:
    if shape == "inverted U":
        return "There is an inverted U in difficulty"
    middles = found.cells.middle_M[~found.cells.random_M]
    optimum = found.point.optimum(max(found.cells.budgets))[0]
    side = "hardest" if optimum > middles.mean() else "easiest"
    if shape == "edge":
        return (
            f"No inverted U was found: the optimum lies at the edge of what was measured, the "
            f"{side} band; the value only rises towards it"
        )
    return (
        "Difficulty matters, but an inverted U cannot be told from a slope: the optimum's "
        f"interval reaches the {side} band measured"
    )


def _drift_words(drift: Interval, sure: str) -> str:
    numbers = f"{drift.value:+.3f} with each doubling of the budget, {sure} {drift.low:+.3f} to"
    said = f"{numbers} {drift.high:+.3f}"
    if not drift.excludes_zero:
        return f"That the optimum moves with the budget is not significant ({said})."
    side = "harder" if drift.value > 0 else "easier"
    return f"The optimum moves to {side} rows as the budget grows ({said})."


def caveats(found: Fitted, question: Question, shape: Shape) -> tuple[str, ...]:
    """What to know before believing it."""
    lines = [*_reach(found, question), *_pilots_words(found)]
    if shape in ("edge", "unclear"):
        lines.append(
            "An optimum at the edge is a bound of how far to go, and shows no drift: narrower "
            "bands beyond it would tell more."
        )
    if measure(question.by) == "response_length":
        lines.append(
            "Budgets count examples: harder rows are longer here, so that some of their effect may "
            "be that of more tokens."
        )
    return tuple(lines)


def _reach(found: Fitted, question: Question) -> Iterator[str]:
    """Where the answer lies beyond what was measured."""
    budgets, cells = found.cells.budgets, found.cells
    asked, rows = question.examples, question.rows
    if not budgets[0] <= asked <= budgets[-1]:
        side = "above" if asked > budgets[-1] else "below"
        far = asked / budgets[-1] if asked > budgets[-1] else budgets[0] / asked
        yield (
            f"Extrapolated: {asked:,} examples lie {far:.3g} times {side} the pilots' budgets "
            f"({budgets[0]:,} to {budgets[-1]:,}). The intervals hold only as far as the form of "
            "the surface does."
        )
    if not cells.random_M.any():
        yield (
            "No pilot drew from all difficulties: the value of rows at random is taken as the mean "
            "of the surface over difficulty."
        )
    elif rows is not None and rows > cells.examples_M[cells.random_M].max():
        yield (
            f"No pilot trained on all {rows:,} rows: their value is extrapolated from those drawn "
            "at random."
        )
    if rows is None:
        yield "The number of rows is not known, so training on everything is not compared."


def _pilots_words(found: Fitted) -> Iterator[str]:
    """What is weak about the pilots themselves."""
    if found.noise == 0:
        yield (
            "No value differs between the seeds of a cell: what is measured is too coarse to tell "
            "chance, or the seed has no effect."
        )
    if found.misfit is not None and found.stretch > 1:
        yield (
            f"The surface does not fit the pilots (lack of fit p = {found.misfit:.2g}): look at "
            f"the measured cells before the fitted ones. Intervals are {found.stretch:.2g} times "
            "as wide for it."
        )
    if len(set(found.cells.examples_M)) < 3:
        yield "Two budgets tell no saturation: the rise is taken as straight in ln n."
    if min(map(len, found.cells.values)) < 3:
        yield "Some cells have fewer than three seeds, so that the noise is hardly known."
