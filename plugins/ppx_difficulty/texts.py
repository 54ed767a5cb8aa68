"""Measures of the response alone: its length, and marks in its text."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import pydantic

from ppx_ext import ExampleScorer, Scored, Tools

if TYPE_CHECKING:
    import numpy.typing as npt

    Scores = npt.NDArray[np.float64]

PATTERNS = {"gsm8k": r"<<[^<>\n]*>>", "lines": r"(?m)^.*\S.*$"}
"""Names of patterns -> what they find: GSM8K's calculator marks; lines that are not blank."""


class NoSettings(pydantic.BaseModel):
    """A measure without settings."""

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True)


class StepsSettings(NoSettings):
    """Settings of ``steps``.

    Attributes:
        pattern: ``gsm8k`` (its calculator marks, ``<<2+3=5>>``), ``lines`` (that are not blank), or
            a regular expression, whose matches that do not overlap are counted.
    """

    pattern: str = "lines"

    @pydantic.field_validator("pattern")
    @classmethod
    def _valid(cls, pattern: str) -> str:
        try:
            found = re.compile(PATTERNS.get(pattern, pattern))
        except re.error as error:
            named = ", ".join(PATTERNS)
            raise ValueError(
                f"is neither one of {named} nor a regular expression: {error}"
            ) from None
        if found.search(""):
            raise ValueError("matches the empty text, so that it would count places, not steps")
        return pattern


def response_length(settings: NoSettings, rows: Sequence[Scored], tools: Tools) -> Scores:
    """Target tokens of each row, without those that end a turn, float64 (N,)."""
    found = (np.count_nonzero(row.example.target_T & ~row.example.end_T) for row in rows)
    return np.fromiter(found, dtype=np.float64, count=len(rows))


def steps(settings: StepsSettings, rows: Sequence[Scored], tools: Tools) -> Scores:
    """Matches of the pattern in each row's response, float64 (N,).

    Raises:
        ValueError: no tokenizer is lent.
    """
    if tools.decode is None:
        raise ValueError("the measure `steps` reads text, and no tokenizer is lent")
    pattern = re.compile(PATTERNS.get(settings.pattern, settings.pattern))
    texts = [tools.decode(row.example.ids_T[row.example.target_T]) for row in rows]
    return np.array([sum(1 for _ in pattern.finditer(text)) for text in texts], dtype=np.float64)


RESPONSE_LENGTH = ExampleScorer(
    name="response_length",
    paper="arXiv 2605.12906",
    settings=NoSettings,
    score=response_length,
    unit="target tokens",
)
STEPS = ExampleScorer(
    name="steps",
    paper="arXiv 2605.12906",
    settings=StepsSettings,
    score=steps,
    unit="steps",
)
