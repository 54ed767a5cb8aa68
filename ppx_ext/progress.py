"""Progress of long work: a bar on a terminal, plain lines in a log, from the first process only."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import time
from collections.abc import Iterator
from typing import Protocol

LINES = 10
QUIET_SECONDS = 60.0
log = logging.getLogger(__name__)


class Advance(Protocol):
    """To be told of units that are done, and of what is worth saying beside them."""

    def __call__(self, done: int, note: str = "") -> None:
        """``done`` more units; an empty note leaves the last one standing."""


@contextlib.contextmanager
def progress(label: str, total: int) -> Iterator[Advance]:
    """Lend ``advance(n, note)``, to be told of ``n`` more of ``total`` units done.

    In a log there is a line for each tenth, and one a minute where a note changes in between.
    """
    if os.environ.get("RANK", "0") != "0":
        yield lambda done, note="": None
    elif sys.stderr.isatty():
        with _bar(label, total) as advance:
            yield advance
    else:
        yield _lines(label, total)


@contextlib.contextmanager
def _bar(label: str, total: int) -> Iterator[Advance]:
    from rich import progress as rich
    from rich.console import Console

    columns = (*rich.Progress.get_default_columns(), rich.TextColumn("{task.fields[note]}"))
    with rich.Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(label, total=total, note="")

        def advance(done: int, note: str = "") -> None:
            if note:
                bar.update(task, note=note)
            bar.advance(task, done)

        yield advance


def _lines(label: str, total: int) -> Advance:
    seen, told = 0, time.monotonic()

    def advance(done: int, note: str = "") -> None:
        nonlocal seen, told
        before, seen = seen, seen + done
        tenth = before * LINES // max(total, 1) != seen * LINES // max(total, 1)
        if tenth or (note and time.monotonic() - told > QUIET_SECONDS):
            told = time.monotonic()
            log.info("%s: %d of %d%s", label, seen, total, f" ({note})" if note else "")

    return advance
