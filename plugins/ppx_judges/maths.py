"""`math`: final answers compared as numbers, exactly; else as expressions, with math-verify."""

from __future__ import annotations

import contextlib
import dataclasses
import importlib.metadata
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pydantic

from ppx_ext import Answer, Judge, JudgeAll, Judgement, Tools, Verdict
from ppx_judges.expressions import LONGEST, Reading, last_number, read
from ppx_judges.final_answers import (
    MARKERS,
    compile_markers,
    final_answer,
    without_calculator,
)
from ppx_judges.shown import correct, shown, unknown, wrong
from ppx_judges.verifying import Verifiers

RULES = 2
"""Raised with every change of the rules that can change a verdict."""


class MathSettings(pydantic.BaseModel):
    """Settings of `math`.

    Attributes:
        markers: regular expressions that stand before a final answer; the last one in a text
            counts. Case plays no part, and ``^`` and ``$`` are the ends of a line.
        last_number: where a response has no marker, take its last number. Off, as a text that was
            cut off or that goes on after its answer has a last number too, by chance the right
            one; such a response is wrong here.
        seconds: time for one comparison, after which it is stopped and cannot be told.
        processes: comparisons at once; by default one for each processor.
    """

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True)

    markers: tuple[str, ...] = pydantic.Field(default=MARKERS, min_length=1)
    last_number: bool = False
    seconds: float = pydantic.Field(default=5.0, gt=0, le=3600)
    processes: int | None = pydantic.Field(default=None, ge=1)

    @pydantic.field_validator("markers")
    @classmethod
    def _compile(cls, markers: tuple[str, ...]) -> tuple[str, ...]:
        compile_markers(markers)
        return markers


@contextlib.contextmanager
def opened(settings: MathSettings, tools: Tools) -> Iterator[JudgeAll]:
    """Lend the judge.

    Raises:
        ValueError: math-verify is not installed, or does not work.
    """
    markers = compile_markers(settings.markers)
    processes = settings.processes or len(os.sched_getaffinity(0))
    with Verifiers(processes, settings.seconds) as verifiers:

        def judge_all(answers: Sequence[Answer]) -> list[Verdict]:
            found = [judge(settings, markers, one) for one in answers]
            hard = [one for one in found if isinstance(one, Hard)]
            verified = iter(verifiers.verify([(one.gold, one.response) for one in hard]))
            return [one.say(next(verified)) if isinstance(one, Hard) else one for one in found]

        yield judge_all


@dataclass(frozen=True, kw_only=True, slots=True)
class Hard:
    """A pair of expressions that math-verify has to compare.

    Attributes:
        gold, response: as LaTeX; without a response it is asked only whether the gold can be read.
        words: what is to be compared, for the reason.
    """

    gold: str
    response: str | None
    words: str

    def say(self, verdict: Verdict) -> Verdict:
        """The verdict, with both answers in its reason."""
        if self.response is None and verdict.judgement is Judgement.WRONG:
            return wrong(self.words)
        return dataclasses.replace(verdict, reason=f"{self.words}: {verdict.reason}")


def judge(settings: MathSettings, markers: re.Pattern[str], answer: Answer) -> Verdict | Hard:
    """The verdict on numbers, or what math-verify has to compare."""
    written = gold_answer(answer.row.get("gold"), markers)
    if written is None:
        return unknown(f"the gold has no final answer: {shown(str(answer.row.get('gold')))}")
    gold = read(written)
    if not gold.text:
        return unknown(f"the gold's final answer is not mathematics: {shown(written)}")
    claim = response_answer(answer.response, settings, markers)
    if claim is None:
        return _hopeless(gold, "no final answer found: none of the markers is there")
    response = read(claim)
    if not response.text:
        return _hopeless(gold, f"the final answer is no clear mathematics: {shown(claim)}")
    if response.named and not response.values and not gold.named:
        return _hopeless(gold, f"the final answer is an equation, not a value: {shown(claim)}")
    words = f"final answer {shown(claim)}, gold {shown(written)}"
    same = _same(gold, response)
    if same is None:
        return Hard(gold=gold.text, response=response.text, words=words)
    return correct(f"{words}: equal") if same else wrong(f"{words}: not equal")


def _hopeless(gold: Reading, reason: str) -> Verdict | Hard:
    # Wrong, unless the gold turns out to be unreadable.
    return wrong(reason) if gold.values else Hard(gold=gold.text, response=None, words=reason)


def _same(gold: Reading, response: Reading) -> bool | None:
    """Whether two numbers are equal; None where it takes more than arithmetic to tell."""
    if not gold.values or not response.values:
        return None
    if len(gold.values) > 1 and len(response.values) > 1:
        return gold.values[-1] == response.values[-1]
    if set(gold.values) & set(response.values):
        return True
    return False if gold.decimal and response.decimal else None


def gold_answer(gold: Any, markers: re.Pattern[str]) -> str | None:
    """The final answer of a gold: behind its last marker; else the whole of it, if short."""
    if isinstance(gold, bool) or not isinstance(gold, str | int | float):
        return None
    text = without_calculator(str(gold)).strip()
    found = final_answer(text, markers)
    if found is not None:
        return found
    # A sentence with a number in it is no answer: nobody says that it is the one.
    bare = "\n" not in text and len(text) <= LONGEST
    return text if bare and read(text, sentence=False).text else None


def response_answer(response: str, settings: MathSettings, markers: re.Pattern[str]) -> str | None:
    """The final answer of a response, as written."""
    text = without_calculator(response)
    found = final_answer(text, markers)
    if found is None and settings.last_number:
        return last_number(text)
    return found


def version() -> str:
    """Of the rules here, and of math-verify."""
    return f"{RULES} (math-verify {importlib.metadata.version('math-verify')})"


MATH = Judge(
    name="math",
    paper="arXiv 2502.08130",
    settings=MathSettings,
    open=opened,
    version=version,
)
