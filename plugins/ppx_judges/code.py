"""The `code` judge: a program is right when the row's tests pass, in a sandbox.

What it can promise, and what not: nothing that a program prints, returns as its exit code, patches,
reads or leaves behind can make it correct, for the tests run in another process, which sees only
plain values of it (`ppx_judges.inside`). A test that asks the program's own objects by their own
methods (``assert stack.is_empty()``) has nothing but their word, here as anywhere.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import os
import queue
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol

from ppx_ext import Answer, Judge, JudgeAll, Judgement, Tools, Verdict
from ppx_judges.checks import Checks, UnreadableTestsError, checks_of
from ppx_judges.extract import NoProgramError, program_of
from ppx_judges.job import Job, SandboxLostError
from ppx_judges.preflight import LOCAL, prove
from ppx_judges.settings import CodeSettings

HARNESS = "2"


class Runner(Protocol):
    """Where a job runs."""

    def run(self, job: Job) -> tuple[str, str]:
        """Verdict and reason; SandboxLostError where the program was not even started."""

    def close(self) -> None:
        """Give it up."""


@contextlib.contextmanager
def _open(settings: CodeSettings, tools: Tools) -> Iterator[JudgeAll]:
    """Lend the judge, once its sandbox was seen to work.

    Raises:
        ValueError: it does not; with the reason, and the ways to get one.
    """
    with _runners(settings) as make:
        packages = prove(settings, make)
        with pooled(settings, lambda: make(packages)) as run:
            yield lambda answers: _judge(settings, packages, run, answers)


@contextlib.contextmanager
def _runners(settings: CodeSettings) -> Iterator[Callable[[tuple[str, ...]], Runner]]:
    """What makes a place to run programs in, with the packages that they may import."""
    from ppx_judges import fusion, sandbox

    if settings.sandbox == "fusion":
        yield lambda packages: fusion.Server(settings)
        return
    with sandbox.harness() as folder:
        if settings.sandbox in LOCAL:
            yield lambda packages: sandbox.local(settings, folder, packages)
        else:
            yield lambda packages: sandbox.container(settings, folder)


@contextlib.contextmanager
def pooled(
    settings: CodeSettings, make: Callable[[], Runner]
) -> Iterator[Callable[[Sequence[Job]], list[Verdict]]]:
    """Lend what judges jobs, as many at a time as there are sessions, and keeps their order."""
    size = settings.sessions or len(os.sched_getaffinity(0))
    runners = [make() for _ in range(size)]
    free: queue.SimpleQueue[Runner] = queue.SimpleQueue()
    for each in runners:
        free.put(each)

    def one(job: Job) -> Verdict:
        runner = free.get()
        try:
            return _verdict(runner, job)
        finally:
            free.put(runner)

    with ThreadPoolExecutor(size, thread_name_prefix="ppx-code") as threads:
        try:
            yield lambda jobs: list(threads.map(one, jobs))
        finally:
            for each in runners:
                each.close()


def _verdict(runner: Runner, job: Job) -> Verdict:
    why = ""
    for _ in range(2):
        try:
            judgement, reason = runner.run(job)
            return Verdict(judgement=Judgement(judgement), reason=_words(reason))
        except SandboxLostError as lost:
            why = str(lost)
            runner.close()
    return Verdict(judgement=Judgement.UNKNOWN, reason=_words(f"the sandbox failed: {why}"))


def _judge(
    settings: CodeSettings,
    packages: tuple[str, ...],
    run: Callable[[Sequence[Job]], list[Verdict]],
    answers: Sequence[Answer],
) -> list[Verdict]:
    found: dict[int, Verdict] = {}
    wanted: dict[tuple[str, Checks], list[int]] = {}
    for at, answer in enumerate(answers):
        try:
            checks = checks_of(answer.row, settings.tests, settings.setup)
            wanted.setdefault((program_of(answer.response), checks), []).append(at)
        except UnreadableTestsError as error:
            found[at] = Verdict(judgement=Judgement.UNKNOWN, reason=_words(str(error)))
        except NoProgramError as error:
            found[at] = Verdict(judgement=Judgement.WRONG, reason=_words(str(error)))
    jobs = [
        Job(program=program, checks=checks, settings=settings, packages=packages)
        for program, checks in wanted
    ]
    for places, verdict in zip(wanted.values(), run(jobs), strict=True):
        found |= dict.fromkeys(places, verdict)
    return [found[at] for at in range(len(answers))]


def _words(reason: str) -> str:
    """One line, not too long, that prints."""
    line = " ".join(reason.split())
    clean = "".join(each if each.isprintable() else "?" for each in line)
    return clean if len(clean) <= 300 else clean[:297] + "..."


def _version() -> str:
    try:
        library = importlib.metadata.version("llm-sandbox")
    except importlib.metadata.PackageNotFoundError:
        library = "not installed"
    return f"{HARNESS} (llm-sandbox {library})"


def _columns(settings: CodeSettings) -> Sequence[str]:
    return [each for each in (settings.tests, settings.setup) if each]


CODE = Judge(
    name="code",
    paper="arXiv 2501.14315",
    settings=CodeSettings,
    open=_open,
    version=_version,
    columns=_columns,
    needs_gold=False,
)
