"""An engine that writes down what it is asked, and a job of it that can be killed."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pydantic

from ppx_ext.answering import Ask, Decoding, Failure, Generator, LentModel, Request, Response
from ppx_ext.generation import Asker, open_generator
from ppx_ext.stages import Stage

REQUESTS = 40


class Settings(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="forbid", frozen=True)

    tone: str = "kind"
    address: str = "here"


def engine(
    told: Callable[[Request], object], answer: Callable[[Request], Response | Failure]
) -> Generator:
    """Answers the last request first, and tells of each."""

    @contextlib.contextmanager
    def opened(settings: Any, model: LentModel) -> Iterator[Ask]:
        def ask(requests: Sequence[Request]) -> Iterator[tuple[int, Response | Failure]]:
            for place in reversed(range(len(requests))):
                told(requests[place])
                yield place, answer(requests[place])

        yield ask

    return Generator(
        name="counting",
        paper="",
        settings=Settings,
        open=opened,
        identity=lambda settings: {"tone": settings.tone},
    )


def opened(
    generator: Generator,
    folder: Path,
    *,
    settings: Settings | None = None,
    fingerprint: str = "weights",
    **more: Any,
) -> contextlib.AbstractContextManager[Asker]:
    lent = LentModel(name="tiny", load=lambda: None, tokenizer=None)
    stage = Stage(component=generator, settings=settings or Settings())
    return open_generator(stage, lent, folder, fingerprint=fingerprint, **more)


def requests(number: int = REQUESTS) -> list[Request]:
    decoding = Decoding(max_new_tokens=4)
    return [Request(prompt=f"question {n}", decoding=decoding, seed=n) for n in range(number)]


def reply(request: Request) -> Response:
    return Response(text=f"{request.prefix}answer to {request.prompt} ✓\n", tokens=request.seed)


def main(folder: Path, log: Path, seconds: float) -> None:
    """Ask everything, ``seconds`` for each; what is asked is written to ``log``, line by line."""
    with log.open("a", buffering=1) as lines:

        def slowly(request: Request) -> Response:
            time.sleep(seconds)
            return reply(request)

        told = engine(lambda request: print(request.prompt, file=lines), slowly)
        with opened(told, folder) as ask:
            assert ask(requests()) == [reply(request) for request in requests()]


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), float(sys.argv[3]))
