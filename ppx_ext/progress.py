"""Progress of long work: a bar on a terminal, plain lines in a log, from the first process only."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
from collections.abc import Callable, Iterator

LINES = 10
log = logging.getLogger(__name__)


@contextlib.contextmanager
def progress(label: str, total: int) -> Iterator[Callable[[int], None]]:
    """Lend ``advance(n)``, to be told of ``n`` more of ``total`` units done."""
    if os.environ.get("RANK", "0") != "0":
        yield lambda done: None
    elif sys.stderr.isatty():
        with _bar(label, total) as advance:
            yield advance
    else:
        yield _lines(label, total)


@contextlib.contextmanager
def _bar(label: str, total: int) -> Iterator[Callable[[int], None]]:
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(label, total=total)
        yield lambda done: bar.advance(task, done)


def _lines(label: str, total: int) -> Callable[[int], None]:
    seen = 0

    def advance(done: int) -> None:
        nonlocal seen
        before, seen = seen, seen + done
        if before * LINES // max(total, 1) != seen * LINES // max(total, 1):
            log.info("%s: %d of %d", label, seen, total)

    return advance
