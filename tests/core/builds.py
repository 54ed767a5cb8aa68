"""A builder's surroundings for tests: an engine that says what is written down, a judge of words.

Also a program, for runs that are killed: ``python -m tests.core.builds OUT LOG SECONDS``.
"""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pydantic

import ppx_s3ft
from ppx_ext import building, catalog, plan
from ppx_ext.answering import (
    Ask,
    Decoding,
    Failure,
    Generator,
    Judge,
    Judgement,
    LentModel,
    Request,
    Response,
    Verdict,
    one_by_one,
)
from tests.core import fakes

ROWS = 12
SHARD_ROWS = 3


class ScriptSettings(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="forbid", frozen=True)

    log: str | None = None
    seconds: float = 0.0
    address: str = "here"
    style: str = "plain"
    down: bool = False


def say(request: Request) -> Response | Failure:
    """By the question's number: right at once, right with the gold shown, or wrong always."""
    text = request.prompt if isinstance(request.prompt, str) else str(request.prompt[-1]["content"])
    number = int(text.split("number ")[1].split()[0])
    shown = "gold " in text
    if number % 6 == 5:
        return Failure(reason="the engine is tired")
    right = number % 3 == 0 or (shown and number % 3 == 1)
    return Response(text=f"{'right' if right else 'wrong'} {number} seed {request.seed}")


@contextlib.contextmanager
def open_script(settings: ScriptSettings, model: LentModel) -> Iterator[Ask]:
    if settings.down:
        raise ValueError("the engine is down; start it")

    def ask(requests: Sequence[Request]) -> Iterable[tuple[int, Response | Failure]]:
        for place, request in enumerate(requests):
            time.sleep(settings.seconds)
            if settings.log:
                with Path(settings.log).open("a") as file:
                    file.write(f"{os.getpid()} {request.seed}\n")
            yield place, say(request)

    yield ask


def identity(settings: ScriptSettings) -> Mapping[str, Any]:
    return {"style": settings.style}


def script(**given: Any) -> Generator:
    return Generator(
        name="script",
        paper="none",
        settings=ScriptSettings,
        open=open_script,
        identity=identity,
        reproducible=lambda settings, decoding: isinstance(decoding, Decoding),
        **given,
    )


class WordSettings(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="forbid", frozen=True)

    right: str = "right"


def verdict(settings: WordSettings, row: Mapping[str, Any], response: str) -> Verdict:
    correct = response.startswith(settings.right)
    kind = Judgement.CORRECT if correct else Judgement.WRONG
    return Verdict(judgement=kind, reason=f"it begins with {response.split()[0]!r}")


WORDS = Judge(
    name="words",
    paper="none",
    settings=WordSettings,
    open=one_by_one(verdict),
    version=lambda: "1",
)


def installed(*judges: Judge, engine: Generator | None = None, **hooks: Any) -> catalog.Catalog:
    own = fakes.module(
        ppx_register_generators=[engine or script()],
        ppx_register_judges=[WORDS, *judges],
        **hooks,
    )
    return catalog.load([("ppx-ext", ppx_s3ft), ("fake-method", own)])


def parse(found: catalog.Catalog, *, use: str = "s3ft", **given: Any) -> plan.Plan:
    block = {name: given.pop(name) for name in ("seed", "max_skipped_share") if name in given}
    lent = {"judge": "words", "generator": given.pop("generator", "script")}
    build = {"use": use, **lent, **given}
    block.setdefault("max_skipped_share", 0.5)  # the engine is tired of every sixth
    rows = {"shard_rows": build.pop("shard_rows", SHARD_ROWS)}
    return plan.parse({"build": {k: v for k, v in build.items() if v}, **rows, **block}, found)


def lines(built: building.BuiltRows) -> list[dict[str, Any]]:
    import pyarrow.parquet as pq

    found: list[dict[str, Any]] = pq.read_table(built.path).to_pylist()
    return found


def target(line: dict[str, Any]) -> str:
    return str(line["messages"][-1]["content"])


def rows(count: int = ROWS) -> list[dict[str, Any]]:
    return [
        {"question": f"What is number {at} ?", "answer": f"gold {at}", "level": at / 2}
        for at in range(count)
    ]


def build(root: Path, source: Any = None, **given: Any) -> building.BuiltRows:
    found = given.pop("catalog", None) or installed()
    lent = {name: given.pop(name) for name in ("base", "tokenizer") if name in given}
    own = {name: given.pop(name) for name in ("fields", "max_rows", "command") if name in given}
    return building.build(
        rows() if source is None else source,
        plan=given.pop("plan", None) or parse(found, **given),
        catalog=found,
        root=root,
        **{"base": fakes.base(), "tokenizer": fakes.tokenizer(), **lent},
        **own,
    )


def main(out: Path, log: Path, seconds: float) -> None:
    generator = {"use": "script", "log": str(log), "seconds": seconds}
    log.with_name(f"{os.getpid()}.begun").touch()
    build(out, generator=generator)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), float(sys.argv[3]))
