"""One round: all rows are asked at once, and what comes back is checked and judged at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from ppx_ext import (
    Answer,
    Built,
    Dropped,
    Failure,
    GoldRow,
    Judgement,
    Request,
    Response,
    Tools,
    Verdict,
)
from ppx_s3ft.settings import Fallback
from ppx_s3ft.wording import Template

Leak = Callable[[str], str]


@dataclass(frozen=True, kw_only=True, slots=True)
class Attempt:
    """What came of one request.

    Attributes:
        row: whom it was for.
        seed: of the request.
        text: the response, in the model's own words; empty where there is none.
        verdict: on the text; None where none was asked for.
        refused: why it is not trained on, in words; empty where it may be.
        failed: the engine gave no response at all.
    """

    row: GoldRow
    seed: int
    text: str = ""
    verdict: Verdict | None = None
    refused: str = ""
    failed: bool = False


def ask(
    asked: Sequence[tuple[GoldRow, Request]],
    template: Template,
    tools: Tools,
    *,
    keep_cut_off: bool,
    leak: Leak = lambda text: "",
) -> list[Attempt]:
    """One attempt for each request, in order: a single call of the engine, one of the judge.

    What failed, is empty, was cut off, or leaks is refused without a judge. Equal responses to one
    row are judged once. Without a judge everything else is taken.

    Raises:
        ValueError: no engine is lent.
    """
    if tools.generate is None:
        raise ValueError("this builder asks a model for responses, and no generator is configured")
    answers = tools.generate([request for _, request in asked])
    found = [
        _read(row, request, answer, template, keep_cut_off, leak)
        for (row, request), answer in zip(asked, answers, strict=True)
    ]
    return found if tools.judge is None else _judged(found, tools.judge)


def _read(
    row: GoldRow,
    request: Request,
    answer: Response | Failure,
    template: Template,
    keep_cut_off: bool,
    leak: Leak,
) -> Attempt:
    if isinstance(answer, Failure):
        refused = f"no response: {answer.reason}"
        return Attempt(row=row, seed=request.seed, refused=refused, failed=True)
    text = template.own_words(answer.text)
    if not text.strip():
        refused = "the response is empty"
    elif not answer.finished and not keep_cut_off:
        refused = f"cut off at {request.decoding.max_new_tokens} tokens"
    else:
        refused = leak(text)
    return Attempt(row=row, seed=request.seed, text=text, refused=refused)


def _judged(
    attempts: list[Attempt], judge: Callable[[Sequence[Answer]], Sequence[Verdict]]
) -> list[Attempt]:
    distinct = {
        (one.row.row, one.text): one.row.answer(one.text) for one in attempts if not one.refused
    }
    verdicts = dict(zip(distinct, judge(list(distinct.values())), strict=True)) if distinct else {}
    return [
        one if one.refused else _with_verdict(one, verdicts[one.row.row, one.text])
        for one in attempts
    ]


def _with_verdict(attempt: Attempt, verdict: Verdict) -> Attempt:
    refused = "" if verdict.correct else f"{verdict.judgement.value}: {verdict.reason}"
    return replace(attempt, verdict=verdict, refused=refused)


def pass_rate(group: Sequence[Attempt]) -> float | None:
    """Share of the attempts that are correct, of those of which it is known; None where of none.

    One that was cut off or is empty is not correct.
    """
    unknown = Judgement.UNKNOWN
    told = [x for x in group if not (x.failed or (x.verdict and x.verdict.judgement is unknown))]
    return sum(not one.refused for one in told) / len(told) if told else None


def built(attempt: Attempt, source: str, *, attempts: int, note: str = "") -> Built:
    """A response that is trained on."""
    return Built(
        row=attempt.row.row,
        response=attempt.text,
        source=source,
        verdict=attempt.verdict,
        attempts=attempts,
        seed=attempt.seed,
        note=note,
    )


def fall_back(row: GoldRow, fallback: Fallback, *, attempts: int, note: str) -> Built | Dropped:
    """What a row becomes whose attempts were all refused."""
    if fallback == "drop":
        return Dropped(row=row.row, reason=note, attempts=attempts)
    return Built(row=row.row, response=row.gold, source="gold", attempts=attempts, note=note)
