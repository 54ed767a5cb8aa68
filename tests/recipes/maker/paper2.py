"""Recipes of arXiv 2605.12906: two models, three data sets, three bands and a budget."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping

from tests.recipes.maker import evaluations, settings
from tests.recipes.maker.facts import (
    DIFFICULTY,
    OPENMATH,
    OPENR1,
    OPENSCIENCE,
    QWEN_MATH,
    QWEN_MATH_SMALL,
    Data,
    Model,
)
from tests.recipes.maker.recipe import Recipe
from tests.recipes.maker.settings import Training

BANDS = ("easy", "medium", "hard")
TABLE_1: Mapping[str, tuple[float, float, float]] = {
    "openr1-math": (61.1, 68.3, 61.7),
    "openmath": (71.7, 70.1, 69.0),
    "openscience": (53.4, 53.0, 41.2),
}
"""Accuracy in % of Qwen2.5-Math-1.5B after the easy, the medium and the hard third."""

BUDGET = 10_000
_MEASURED = {"openr1-math": "MATH-500", "openmath": "MATH-500", "openscience": "MMLU"}
_ROWS = {
    "openr1-math": "The data set of that name (94k) has 65,106 rows by its page.",
    "openmath": "The 200,000 rows are drawn by seed from OpenMathInstruct-2.",
    "openscience": "The 200,000 rows are drawn by seed from the part OS-Q3-235B-4.",
}
_COUNTS = {"openr1-math": 65_000, "openmath": 200_000, "openscience": 200_000}
_HOURS = {
    ("openr1-math", "small"): "20",
    ("openmath", "small"): "5",
    ("openscience", "small"): "25",
    ("openr1-math", "large"): "60",
    ("openmath", "large"): "15",
    ("openscience", "large"): "80",
}


def recipes() -> Iterator[Recipe]:
    """The three thirds of Table 1, and a budget whose band goes with its size."""
    for model in (QWEN_MATH_SMALL, QWEN_MATH):
        for data in (OPENR1, OPENMATH, OPENSCIENCE):
            for band in BANDS:
                yield _recipe(model, data, band)
            yield _budget(model, data)


def _recipe(model: Model, data: Data, band: str) -> Recipe:
    return Recipe(
        method="difficulty",
        model=model,
        data=data,
        variant=band,
        title=f"The {band} third",
        block=(
            f"choose: {{use: budget, by: response_length, band: {band}}}",
            *_evaluation(data),
            "seed: 42",
        ),
        training=_training(model, data),
        paper=_paper(model, data),
        gave=_gave(model, data, band),
        same="As in the paper: difficulty is the length of the gold response, and rows are cut "
        "into thirds by it.",
        measured=_measured(data),
        deviations=_deviations(model, data),
        unpublished=_UNPUBLISHED,
        hardware=_hardware(model, data, share=1.0),
        arms=",".join(BANDS),
        extras=_extras(model),
    )


def _budget(model: Model, data: Data) -> Recipe:
    plain = _recipe(model, data, "medium")
    found = (
        "Figures 3 and 4, drawn and not printed: at a fixed budget accuracy rises and falls with "
        "difficulty, at a fixed difficulty it rises with the logarithm of the budget, and the best "
        "difficulty gets harder as the budget grows"
    )
    if (model, data) != (QWEN_MATH, OPENMATH):
        found = f"nothing for this combination. Of OpenMath and Qwen2.5-Math-7B, {found}"
    return dataclasses.replace(
        plain,
        variant="budget",
        title=f"A budget of {BUDGET:,} examples",
        block=(
            "choose:",
            "  use: budget",
            "  by: response_length",
            f"  max_examples: {BUDGET}",
            "  band: auto # harder as the budget grows; or easy, medium, hard",
            *_evaluation(data),
            "seed: 42",
        ),
        arms="",
        paper=f"{DIFFICULTY}, section 3",
        gave=found,
        same="As in the paper: difficulty is the length of the gold response, and the budget is a "
        f"number of examples. `ppx budget {plain.data.key}-budget.trl.yaml --examples {BUDGET} "
        "--grid 500,1000,2000 --out pilots` asks short pilots which difficulty is best here.",
        deviations="`band: auto` is a rule of ours, believed beforehand: the paper gives no "
        f"formula. {_deviations(model, data)}",
        hardware=_hardware(model, data, share=3 * BUDGET / _COUNTS[data.key]),
    )


def _training(model: Model, data: Data) -> Training:
    training = settings.DIFFICULTY_SMALL if model is QWEN_MATH_SMALL else settings.DIFFICULTY_LARGE
    # Its solutions are short, and the model was made for 4,096 tokens.
    return dataclasses.replace(training, length=4096) if data is OPENMATH else training


def _evaluation(data: Data) -> tuple[str, ...]:
    return evaluations.of_difficulty(data, 2048 if data is OPENMATH else 8192)


def _paper(model: Model, data: Data) -> str:
    if model is QWEN_MATH_SMALL:
        return f"{DIFFICULTY}, Table 1, the row of {data.name}"
    return f"{DIFFICULTY}, Table 1, which it prints for Qwen2.5-Math-1.5B alone"


def _gave(model: Model, data: Data, band: str) -> str:
    figures = dict(zip(BANDS, TABLE_1[data.key], strict=True))
    of = _MEASURED[data.key]
    if model is QWEN_MATH:
        known = ", ".join(f"{name} {value}" for name, value in figures.items())
        return f"not published for this model; the smaller one: {of} {known} %"
    others = ", ".join(f"{name} {value}" for name, value in figures.items() if name != band)
    return f"{of} {figures[band]} % ({others}); before: not found"


def _measured(data: Data) -> str:
    others = "TruthfulQA, HellaSwag and Winogrande" + ("" if data is OPENSCIENCE else ", and MMLU")
    return (
        f"Measured: {_MEASURED[data.key]}, as there; {others} show what was forgotten, which the "
        "paper does not ask."
    )


def _deviations(model: Model, data: Data) -> str:
    text = f"All settings of the training are ours. {_ROWS[data.key]}"
    if data is not OPENMATH:
        text += (
            " Traces are often longer than the 4,096 tokens that this model was made for, and are "
            "cut at 16,384; rows that are cut count as equally long, and so as equally hard."
        )
    if model is QWEN_MATH:
        text += " LoRA fits one card; all weights need four."
    return text


_UNPUBLISHED = (
    "the full text could not be had, and with it the training's settings, the budgets, how the "
    "subsets were drawn, decoding and seeds."
)


def _hardware(model: Model, data: Data, *, share: float) -> str:
    size = "small" if model is QWEN_MATH_SMALL else "large"
    hours = max(1, round(share * int(_HOURS[data.key, size])))
    return f"one card of 80 GB; about {hours} h on an H100 (both estimated, measuring aside)"


def _extras(model: Model) -> tuple[str, ...]:
    quantization = ("quantization",) if model is QWEN_MATH_SMALL else ()
    return (*quantization, "judges", "eval")
