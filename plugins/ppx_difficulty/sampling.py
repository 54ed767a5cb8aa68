"""The builder `pass_rate`: golds, with the share of the model's own answers that are correct."""

from __future__ import annotations

from collections.abc import Sequence

import pydantic

from ppx_ext import (
    Builder,
    Built,
    Decoding,
    Dropped,
    Failure,
    GoldRow,
    Judgement,
    Request,
    Response,
    Tools,
)

_SEEDS = 2**31


class PassRateSettings(pydantic.BaseModel):
    """Settings of the builder ``pass_rate``.

    Attributes:
        samples: answers drawn for each row.
        temperature: 0 takes the likeliest token, always.
        top_p: draw from the likeliest tokens that hold this share of the probability.
        max_tokens: an answer is cut there; one that was cut did not pass.
    """

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True)

    samples: int = pydantic.Field(default=8, gt=0)
    temperature: float = pydantic.Field(default=0.7, ge=0.0)
    top_p: float = pydantic.Field(default=0.95, gt=0.0, le=1.0)
    max_tokens: int = pydantic.Field(default=512, gt=0)

    @pydantic.model_validator(mode="after")
    def _draws(self) -> PassRateSettings:
        if self.samples > 1 and self.temperature == 0:
            raise ValueError(
                f"at temperature 0 all {self.samples} samples of a prompt are the same: give a "
                "temperature, or samples: 1"
            )
        return self

    def requests(self, row: GoldRow) -> list[Request]:
        """What the engine is asked for ``row``; each sample has a seed of its own."""
        decoding = Decoding(
            temperature=self.temperature, top_p=self.top_p, max_new_tokens=self.max_tokens
        )
        return [
            Request(prompt=row.prompt, decoding=decoding, seed=(row.seed + sample) % _SEEDS)
            for sample in range(self.samples)
        ]


def build(
    settings: PassRateSettings, rows: Sequence[GoldRow], tools: Tools
) -> list[Built | Dropped]:
    """Each row's gold, with its pass rate in `Built.pass_rate`.

    The rate is correct / (correct + wrong). An answer that was cut off or is empty is wrong. One
    that the engine failed to give, or of which the judge cannot tell, does not count; where none
    counts, the row has no rate.

    Raises:
        ValueError: no generator or no judge is lent.
    """
    if tools.generate is None or tools.judge is None:
        raise ValueError("pass_rate needs a generator and a judge: `build: {..., judge: ...}`")
    requests = [request for row in rows for request in settings.requests(row)]
    answers = tools.generate(requests)
    asked = [
        (row, answers[at * settings.samples + sample])
        for at, row in enumerate(rows)
        for sample in range(settings.samples)
    ]
    passed = _judged(asked, tools)
    groups = [passed[at : at + settings.samples] for at in range(0, len(passed), settings.samples)]
    return [_built(row, group) for row, group in zip(rows, groups, strict=True)]


def _judged(asked: Sequence[tuple[GoldRow, Response | Failure]], tools: Tools) -> list[bool | None]:
    """Whether each answer is correct, equal ones judged once; None where that is not known."""
    assert tools.judge is not None
    whole = {
        (row.row, answer.text): row.answer(answer.text)
        for row, answer in asked
        if isinstance(answer, Response) and _whole(answer)
    }
    verdicts = dict(zip(whole, tools.judge(list(whole.values())), strict=True)) if whole else {}

    def one(row: GoldRow, answer: Response | Failure) -> bool | None:
        if isinstance(answer, Failure):
            return None
        if not _whole(answer):
            return False
        verdict = verdicts[row.row, answer.text]
        return None if verdict.judgement is Judgement.UNKNOWN else verdict.correct

    return [one(row, answer) for row, answer in asked]


def _whole(answer: Response) -> bool:
    return answer.finished and bool(answer.text.strip())


def _built(row: GoldRow, passed: Sequence[bool | None]) -> Built:
    told = [one for one in passed if one is not None]
    lost = len(passed) - len(told)
    unknown = f", of {lost} nothing is known" if lost else ""
    return Built(
        row=row.row,
        response=row.gold,
        source="gold",
        attempts=len(passed),
        pass_rate=sum(told) / len(told) if told else None,
        note=f"{sum(told)} of {len(told)} samples correct{unknown}",
    )


PASS_RATE_BUILDER = Builder(
    name="pass_rate",
    paper="arXiv 2605.12906",
    settings=PassRateSettings,
    build=build,
)
