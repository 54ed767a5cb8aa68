"""What the tests of judges share: a judge asked about one answer, or about several."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ppx_ext import Answer, Judge, Tools, Verdict


def no_scores(*asked: Any) -> Any:
    raise AssertionError("no judge here reads scores")


NOTHING = Tools(token_scores=no_scores)


def answer(gold: Any, response: str, **columns: Any) -> Answer:
    return Answer(row={"gold": gold, **columns}, response=response)


def verdicts(
    judge: Judge, answers: Sequence[Answer], tools: Tools = NOTHING, **settings: Any
) -> list[Verdict]:
    with judge.open(judge.settings.model_validate(settings), tools) as judge_all:
        return list(judge_all(answers))


def said(judge: Judge, gold: Any, response: str, **settings: Any) -> str:
    (verdict,) = verdicts(judge, [answer(gold, response)], **settings)
    return verdict.judgement.value
