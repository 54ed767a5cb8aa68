"""`qa`: SQuAD's exact match or F1 against several golds, as torchmetrics computes them."""

from __future__ import annotations

import contextlib
import importlib.metadata
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal

import pydantic

from ppx_ext import Answer, Judge, JudgeAll, Tools, Verdict
from ppx_judges.golds import behind_last, check_pattern, golds_of
from ppx_judges.shown import correct, shown, unknown, wrong

Squad = Callable[[Any, Any], dict[str, Any]]


class QaSettings(pydantic.BaseModel):
    """Settings of `qa`.

    Attributes:
        metric: ``em``, equal but for case, punctuation, articles and blanks; or ``f1``, the
            overlap of words (SQuAD, arXiv 1606.05250, section 6.1). The best gold counts.
        threshold: F1, in (0, 1], from which a response is correct; to be named with ``f1``.
        after: regular expression (case plays no part); what follows its last match, up to the end
            of the line, is compared. A response without it is taken whole.
    """

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True)

    metric: Literal["em", "f1"] = "em"
    threshold: float | None = pydantic.Field(default=None, gt=0, le=1)
    after: str | None = r"\banswer(?: is|:)"

    _check = pydantic.field_validator("after")(check_pattern)

    @pydantic.model_validator(mode="after")
    def _goes_together(self) -> QaSettings:
        if (self.metric == "f1") != (self.threshold is not None):
            raise ValueError("`threshold` goes with `metric: f1`: name both or neither")
        return self


@contextlib.contextmanager
def opened(settings: QaSettings, tools: Tools) -> Iterator[JudgeAll]:
    """Lend the judge.

    Raises:
        ValueError: torchmetrics is not installed.
    """
    try:
        from torchmetrics.functional.text import squad
    except ImportError as error:
        raise ValueError(
            f"qa needs torchmetrics ({error}): pip install 'ppx-ext[judges]'"
        ) from error

    def judge_all(answers: Sequence[Answer]) -> list[Verdict]:
        return [judge(settings, squad, one) for one in answers]

    yield judge_all


def judge(settings: QaSettings, squad: Squad, answer: Answer) -> Verdict:
    """The verdict by the best of the golds; UNKNOWN where no gold has a word."""
    # A gold of articles and punctuation alone is nothing to SQuAD, and so is an empty response.
    golds = [_answer(settings, gold) for gold in golds_of(answer.row["gold"])]
    golds = [gold for gold in golds if _has_words(gold)]
    if not golds:
        return unknown(f"no gold with a word in it: {shown(str(answer.row['gold']))}")
    given = _answer(settings, answer.response)
    scores = squad(
        {"prediction_text": given, "id": "0"},
        {"answers": {"answer_start": [0] * len(golds), "text": golds}, "id": "0"},
    )
    em, f1 = float(scores["exact_match"]) / 100, float(scores["f1"]) / 100
    more = f" or {len(golds) - 1} more" if len(golds) > 1 else ""
    words = f"{shown(given)}, gold {shown(golds[0])}{more}: EM {em:.0f}, F1 {f1:.3f}"
    # F1 comes in 32-bit: the line itself must not be missed by its last bit.
    passed = em == 1 if settings.threshold is None else f1 >= settings.threshold - 1e-6
    return correct(words) if passed else wrong(words)


def _answer(settings: QaSettings, text: str) -> str:
    if settings.after is None:
        return text
    return behind_last(text, settings.after) or text


def _has_words(gold: str) -> bool:
    return bool(set(re.findall(r"\w+", gold.lower())) - {"a", "an", "the"})


QA = Judge(
    name="qa",
    paper="arXiv 1606.05250",
    settings=QaSettings,
    open=opened,
    version=lambda: f"1 (torchmetrics {importlib.metadata.version('torchmetrics')})",
)
