"""Measures that lie in a column: the user's own, and the pass rate that a builder wrote."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ppx_difficulty.texts import NoSettings
from ppx_ext import ExampleScorer, Scored, Tools

if TYPE_CHECKING:
    from ppx_difficulty.texts import Scores

PASS_RATE_COLUMN = "ppx_pass_rate"


class ColumnSettings(NoSettings):
    """Settings of ``column``.

    Attributes:
        column: holds one number for each row, larger = harder; empty = not measured.
    """

    column: str = "difficulty"


def column(settings: ColumnSettings, rows: Sequence[Scored], tools: Tools) -> Scores:
    """The numbers that the user brings, float64 (N,); NaN where there is none.

    Raises:
        ValueError: a value is no number; the row is named.
    """
    return _numbers(rows, settings.column)


def pass_rate(settings: NoSettings, rows: Sequence[Scored], tools: Tools) -> Scores:
    """1 - the share of the base's own answers that are correct, float64 (N,).

    NaN where the judge could tell of none.

    Raises:
        ValueError: a rate is outside [0, 1].
    """
    rate_N = _numbers(rows, PASS_RATE_COLUMN)
    wrong_N = (rate_N < 0) | (rate_N > 1)
    if wrong_N.any():
        at = int(np.argmax(wrong_N))
        raise ValueError(
            f"row {rows[at].example.row}: {PASS_RATE_COLUMN} is {rate_N[at]}; it is a share, in "
            "[0, 1]"
        )
    return 1.0 - rate_N


def _numbers(rows: Sequence[Scored], name: str) -> Scores:
    return np.array([_number(row, name) for row in rows], dtype=np.float64)


def _number(row: Scored, name: str) -> float:
    value: Any = row.example.columns[name]
    if value is None:
        return float("nan")
    if isinstance(value, (int, float)):
        return float(value)
    raise ValueError(
        f"row {row.example.row}: column {name!r} holds {value!r}; a measure is one number for each "
        "row, larger = harder"
    )


COLUMN = ExampleScorer(
    name="column",
    paper="none",
    settings=ColumnSettings,
    score=column,
    columns=lambda settings: (settings.column,),
    mend="Name yours: `by: {use: column, column: my_score}`.",
)
PASS_RATE = ExampleScorer(
    name="pass_rate",
    paper="arXiv 2605.12906",
    settings=NoSettings,
    score=pass_rate,
    columns=lambda settings: (PASS_RATE_COLUMN,),
    unit="share of answers not correct",
    mend="Have a builder draw and judge the model's answers: "
    "`build: {use: pass_rate, judge: ...}`.",
)
