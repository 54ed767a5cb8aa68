"""Scores of tokens: from a causal language model, or from a column that the user brings."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ppx_ext import Example, ModelRef, TokenScorer, Tools
from ppx_stm.settings import CausalLmSettings, ColumnSettings

if TYPE_CHECKING:
    import numpy.typing as npt

PAPER = "arXiv 2501.14315"
BF16_STEP = 2.0**-7
"""Spacing of bfloat16 numbers at 1: log-probabilities made of them can round this far above 0."""


def _score_causal_lm(
    settings: CausalLmSettings, examples: Sequence[Example], tools: Tools
) -> list[Any]:
    found = tools.token_scores(examples, settings.ref(), [settings.score])
    return [scores[settings.score] for scores in found]


def _score_column(
    settings: ColumnSettings, examples: Sequence[Example], tools: Tools
) -> list[npt.NDArray[np.float64]]:
    return [column_scores(settings, example) for example in examples]


def column_scores(settings: ColumnSettings, example: Example) -> npt.NDArray[np.float64]:
    """The user's own scores of one row's targets, float64 (R,), in the user's unit.

    The column may hold one number for each token (T; the first, which nothing predicts, is not
    read), for each token but the first (T - 1), or for each target (R).

    Raises:
        ValueError: the column is missing, is no list of numbers, has another length, or holds at
            a target what no score can be (NaN, infinite, a perplexity below 1, an nll below 0).
    """
    where = f"row {example.row}, column {settings.column!r}"
    if settings.column not in example.columns:
        known = ", ".join(sorted(example.columns)) or "none"
        raise ValueError(f"{where}: there is no such column. Columns of this row: {known}")
    try:
        values = np.asarray(example.columns[settings.column], dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{where}: not a list of numbers ({error})") from None
    values_R = _align(values, example, where)
    _check(values_R, settings.unit, where)
    return np.maximum(values_R, _least(settings.unit))


def _align(
    values: npt.NDArray[np.float64], example: Example, where: str
) -> npt.NDArray[np.float64]:
    tokens, targets = len(example.ids_T), int(example.target_T.sum())
    if values.shape == (tokens,):
        return values[example.target_T]
    if values.shape == (tokens - 1,):
        return values[example.target_T[1:]]
    if values.shape == (targets,):
        return values
    raise ValueError(
        f"{where}: {values.size} scores, but the row has {tokens} tokens, {targets} of them "
        f"targets. Give {tokens} scores (one a token, the first of any value), {tokens - 1} "
        f"(without the first) or {targets} (targets only). Were they made with another tokenizer "
        "or chat template, or was the row truncated since?"
    )


def _least(unit: str) -> float:
    return 1.0 if unit == "perplexity" else 0.0


def _check(values_R: npt.NDArray[np.float64], unit: str, where: str) -> None:
    wrong_R = ~np.isfinite(values_R) | (values_R < _least(unit) - BF16_STEP)
    if wrong_R.any():
        first = int(np.argmax(wrong_R))
        raise ValueError(
            f"{where}: target {first} has the score {values_R[first]!r}, which is no {unit}: it "
            f"must be a finite number of at least {_least(unit):g}. Is `unit` (mask setting "
            "`scores_unit`) right? " + _MEANING[unit]
        )


_MEANING = {
    "perplexity": "perplexity is 1/p; for -log p set nll",
    "nll": "nll is -log p in nats; for 1/p set perplexity",
}


def _model_of(settings: CausalLmSettings) -> ModelRef:
    return settings.ref()


def _columns(settings: ColumnSettings) -> list[str]:
    return [settings.column]


def _no_model(settings: ColumnSettings) -> None:
    return None


CAUSAL_LM = TokenScorer(
    name="causal_lm",
    paper=PAPER,
    settings=CausalLmSettings,
    score=_score_causal_lm,
    model=_model_of,
)
COLUMN = TokenScorer(
    name="column",
    paper=PAPER,
    settings=ColumnSettings,
    score=_score_column,
    model=_no_model,
    exact=True,
    columns=_columns,
)
