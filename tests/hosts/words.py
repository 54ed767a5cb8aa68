"""A stand-in for a model's words: an engine that reads its answers from a file, and a judge."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pydantic
import pytest

from ppx_ext import (
    Ask,
    Failure,
    Generator,
    Judge,
    Judgement,
    LentModel,
    Request,
    Response,
    Verdict,
    catalog,
    hookimpl,
    one_by_one,
)

OWN, PARAPHRASE, GOLD = SOURCES = ("own", "paraphrase", "gold")


class Settings(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="forbid", frozen=True)

    path: Path
    edition: int = 1


class Nothing(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="forbid", frozen=True)


@contextlib.contextmanager
def opened(settings: Settings, model: LentModel) -> Iterator[Ask]:
    """Answers by question; what is asked is written down beside them."""
    table = json.loads(settings.path.read_text())
    model.load()

    def ask(requests: Sequence[Request]) -> Iterable[tuple[int, Response | Failure]]:
        for place, request in enumerate(requests):
            with settings.path.with_suffix(".asked").open("a") as log:
                log.write(question_of(request) + "\n")
            yield place, Response(text=answer(table, question_of(request)))

    yield ask


def question_of(request: Request) -> str:
    assert not isinstance(request.prompt, str)
    return json.dumps(request.prompt[-1]["content"])


def answer(table: Mapping[str, Mapping[str, str]], asked: str) -> str:
    """The own answer to a bare question; the paraphrase where more stands around it."""
    said = json.loads(asked)
    if said in table:
        return table[said][OWN]
    (question,) = [question for question in table if f"\n{question}\n" in said]
    return table[question][PARAPHRASE]


def ends_alike(settings: Nothing, row: Mapping[str, Any], response: str) -> Verdict:
    """Whether the last number of both texts is the same."""
    found, wanted = (re.findall(r"\d+", text)[-1:] for text in (response, row["gold"]))
    judgement = Judgement.CORRECT if found == wanted else Judgement.WRONG
    return Verdict(judgement=judgement, reason=f"{found} against {wanted}")


@hookimpl
def ppx_register_generators() -> list[Generator]:
    return [Generator(name="table", paper="none", settings=Settings, open=opened)]


@hookimpl
def ppx_register_judges() -> list[Judge]:
    return [
        Judge(
            name="last_number",
            paper="none",
            settings=Nothing,
            open=one_by_one(ends_alike),
            version=lambda: "1",
        )
    ]


def install(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make this module an installed method, for this process."""
    import sys

    found = [*catalog._installed(), ("words", sys.modules[__name__])]
    monkeypatch.setattr(catalog, "_installed", lambda: found)


def build_block(table: Path, **settings: Any) -> dict[str, Any]:
    """A `build:` stage that asks this stand-in."""
    engine = {"use": "table", "path": str(table)}
    return {"use": "s3ft", "judge": "last_number", "generator": engine, **settings}


def asked(table: Path) -> list[str]:
    """All questions that reached the engine."""
    log = table.with_suffix(".asked")
    return log.read_text().splitlines() if log.exists() else []


def sources(rows: int) -> list[str]:
    """Where each row's target comes from in these tests: own, paraphrase, gold, own, ..."""
    return [SOURCES[row % 3] for row in range(rows)]


def table_of(questions: Sequence[str], numbers: Sequence[str], path: Path) -> list[str | None]:
    """Write answers of which each third is right at once, at the second try, or never.

    Returns the target of each row in the model's words; None where the gold is left.
    """
    table: dict[str, dict[str, str]] = {}
    targets: list[str | None] = []
    for row, (question, number) in enumerate(zip(questions, numbers, strict=True)):
        right = {
            OWN: f"I count the pairs in row {row} and get {number}",
            PARAPHRASE: f"Counting pairs of row {row} gives {number}",
        }
        wrong = "I do not know, perhaps 424242"
        source = SOURCES[row % 3]
        tries = {OWN: right[OWN] if source == OWN else wrong}
        tries[PARAPHRASE] = right[PARAPHRASE] if source == PARAPHRASE else wrong
        table[question] = tries
        targets.append(right.get(source))
    path.write_text(json.dumps(table))
    return targets
