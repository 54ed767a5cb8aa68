"""Judges that say what is written down, for tests of what is done with them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pydantic

from ppx_ext import Answer, Judge, Judgement, Row, Verdict, one_by_one
from ppx_ext.judging import open_judges
from ppx_ext.judging.files import no_tools
from ppx_ext.stages import JudgeStage, Stage


class Settings(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="forbid", frozen=True)


def stage(
    judge: Callable[[Settings, Row, str], Verdict],
    name: str = "mine",
    *,
    columns: tuple[str, ...] = (),
    needs_gold: bool = True,
) -> JudgeStage:
    component = Judge(
        name=name,
        paper="none",
        settings=Settings,
        open=one_by_one(judge),
        version=lambda: "7",
        columns=lambda settings: columns,
        needs_gold=needs_gold,
    )
    return JudgeStage(stage=Stage(component=component, settings=Settings()))


def saying(word: str) -> Callable[[Settings, Row, str], Verdict]:
    """A judge that says a word of the row: ``sure`` holds the responses that it can tell."""

    def judge(settings: Settings, row: Row, response: str) -> Verdict:
        judgement = Judgement(row.get(word, "unknown"))
        return Verdict(judgement=judgement, reason=f"{word} says {judgement.value}")

    return judge


def equal(settings: Settings, row: Row, response: str) -> Verdict:
    same = row["gold"] == response
    return Verdict(judgement=Judgement.CORRECT if same else Judgement.WRONG, reason="compared")


def judged(judges: Sequence[JudgeStage], *rows: Row) -> list[Verdict]:
    answers = [Answer(row=row, response=str(row.get("response", ""))) for row in rows]
    with open_judges(judges, no_tools) as judge_all:
        return list(judge_all(answers))


# ------------------------------------------------------------------------------------ composed
