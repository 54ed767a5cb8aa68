"""An engine whose answers are kept: nothing is asked twice, and failures are counted."""

from __future__ import annotations

import contextlib
import logging
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from ppx_ext.answering import Ask, Failure, Generator, LentModel, Request, Response
from ppx_ext.contracts import Numbers
from ppx_ext.files import fingerprint as hash_of
from ppx_ext.generation.ledger import Ledger, key_of

if TYPE_CHECKING:
    from ppx_ext.stages import Stage

MAX_FAILURES_IN_ROW = 1000
NAMED = 5

log = logging.getLogger(__name__)


class GenerationStoppedError(ValueError):
    """Too many requests failed one after the other; the message names the cause."""


class Asker:
    """Answers requests, each once: ``asker(requests)`` is what `Tools.generate` lends.

    Attributes:
        asked: requests that went to the engine.
        kept: distinct requests of each call that were answered before.
        failures: reasons of failed requests, with their number.
    """

    def __init__(
        self,
        open_engine: Callable[[], Ask],
        ledger: Ledger,
        *,
        name: str,
        max_failures_in_row: int = MAX_FAILURES_IN_ROW,
        advance: Callable[[Response | Failure], object] = lambda answer: None,
    ) -> None:
        self._open_engine = open_engine
        self._engine: Ask | None = None
        self._ledger = ledger
        self._name = name
        self._max_failures = max_failures_in_row
        self._failed_in_row = 0
        self._advance = advance
        self.asked = self.kept = 0
        self.failures: Counter[str] = Counter()

    def preflight(self) -> None:
        """Open the engine now, to learn whether it can be had before other work is done.

        Raises:
            ValueError: it cannot; with the mend.
        """
        if self._engine is None:
            self._engine = self._open_engine()

    def __call__(self, requests: Sequence[Request]) -> list[Response | Failure]:
        """One response or failure for each request, in order.

        Requests that were answered before, in this run or an earlier one, are not asked; failed
        ones are asked again in the next call.

        Raises:
            GenerationStoppedError: too many requests failed in a row.
            ValueError: the engine cannot be had.
            OSError: an answer cannot be kept.
        """
        keys = [key_of(request) for request in requests]
        distinct = dict(zip(keys, requests, strict=True))
        found: dict[str, Response | Failure] = {}
        for key in distinct:
            kept = self._ledger.get(key)
            if kept is not None:
                found[key] = kept
                self._advance(kept)
        self.kept += len(found)
        wanted = [key for key in distinct if key not in found]
        for place, answer in self._answers([distinct[key] for key in wanted]):
            found[wanted[place]] = answer
            self._keep(wanted[place], answer)
        return [found[key] for key in keys]

    def _answers(self, requests: list[Request]) -> Iterator[tuple[int, Response | Failure]]:
        """What the engine says, and a failure for each request that it is silent about."""
        if not requests:
            return
        self.preflight()
        assert self._engine is not None
        self.asked += len(requests)
        open_places = set(range(len(requests)))
        answers = iter(self._engine(requests))
        try:
            for place, answer in answers:
                if place not in open_places:
                    raise RuntimeError(
                        f"the engine {self._name!r} answered request {place} of {len(requests)}, "
                        "which was not open; this is an error of the engine"
                    )
                open_places.remove(place)
                yield place, answer
        finally:
            if isinstance(answers, Iterator) and hasattr(answers, "close"):
                answers.close()
        for place in sorted(open_places):
            yield place, Failure(reason=f"the engine {self._name!r} gave no answer to this request")

    def _keep(self, key: str, answer: Response | Failure) -> None:
        if isinstance(answer, Response):
            self._failed_in_row = 0
            self._ledger.add(key, answer)
        else:
            self._count(key, answer.reason)
        self._advance(answer)

    def _count(self, key: str, reason: str) -> None:
        self.failures[reason] += 1
        self._failed_in_row += 1
        if self.failures[reason] <= NAMED:
            log.warning("request %s was not answered: %s", key[:12], reason)
        if self._failed_in_row >= self._max_failures:
            causes = "; ".join(f"{n} times: {why}" for why, n in self.failures.most_common(NAMED))
            raise GenerationStoppedError(
                f"{self._failed_in_row} requests in a row were not answered by {self._name!r}, so "
                f"the job stops ({causes}). Mend the cause and run the same command again: the "
                f"{len(self._ledger)} answers that are there are kept, in {self._ledger.folder}"
            )

    def numbers(self) -> Numbers:
        """What was asked, found and failed, for a record."""
        return {
            "requests_asked": self.asked,
            "requests_kept": self.kept,
            "requests_failed": self.failures.total(),
            "failures": dict(self.failures.most_common(NAMED)),
        }


@contextlib.contextmanager
def open_generator(
    stage: Stage[Generator],
    model: LentModel,
    folder: Path,
    *,
    fingerprint: str,
    max_failures_in_row: int = MAX_FAILURES_IN_ROW,
    advance: Callable[[Response | Failure], object] = lambda answer: None,
) -> Iterator[Asker]:
    """Lend an engine whose answers are kept in ``folder``.

    The engine is opened when something must first be asked: a finished job needs neither model nor
    server. `Asker.preflight` opens it at once.

    Args:
        stage: the engine with its settings. Those that can change an answer name the job; the
            answers of another job are left alone, in a folder of their own.
        model: what answers.
        folder: of all jobs.
        fingerprint: hash of all that is known of the model: weights, tokenizer and template where
            it runs in this process.
        max_failures_in_row: that many failed requests one after the other stop the job.
        advance: told of each distinct request's answer as it comes, found ones included.

    Raises:
        OSError: the folder cannot be made or read.
    """
    engine = stage.component
    identity = {
        "engine": engine.name,
        "settings": engine.identity(stage.settings),
        "fingerprint": fingerprint,
        # Nothing is known of a server's weights but the name that it is asked for.
        "model": [model.name, model.revision] if engine.remote else None,
    }
    job = folder / f"{engine.name}-{hash_of(identity)}"
    with contextlib.closing(Ledger(job, identity)) as ledger, ExitStack() as opened:
        asker = Asker(
            lambda: opened.enter_context(engine.open(stage.settings, model)),
            ledger,
            name=engine.name,
            max_failures_in_row=max_failures_in_row,
            advance=advance,
        )
        try:
            yield asker
        finally:
            if total := asker.failures.total():
                log.warning(
                    "%d of %d requests to %r were not answered; they are asked again in the next "
                    "run. %s",
                    total,
                    asker.asked,
                    engine.name,
                    "; ".join(f"{n}: {why}" for why, n in asker.failures.most_common(NAMED)),
                )
