"""Judges of responses: mathematics, code in a sandbox, questions, choices, a model as the judge."""

from __future__ import annotations

from collections.abc import Sequence

from ppx_ext import Judge, hookimpl
from ppx_judges.choice import CHOICE
from ppx_judges.code import CODE
from ppx_judges.exact import EXACT
from ppx_judges.llm import LLM
from ppx_judges.maths import MATH
from ppx_judges.qa import QA


@hookimpl
def ppx_register_judges() -> Sequence[Judge]:
    """Judges by final answer, by tests, by the words of short answers, by letter, by a model."""
    return [MATH, CODE, QA, CHOICE, EXACT, LLM]
