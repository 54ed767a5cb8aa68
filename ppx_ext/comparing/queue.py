"""Which run is next. Processes on one folder, of one machine or of many, share the runs by locks.

A run is done where its result has the fingerprint of what is asked for now. A process that dies
lets go of its lock, and leaves ``started.json``: the run has then failed, and is not tried again
before `ppx compare` is started anew.
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
from collections.abc import Iterator, Sequence
from typing import Any, Literal, TypeAlias

from ppx_ext.comparing.jobs import FAILED, RESULT, RUNS, SCHEMA, STARTED, Job
from ppx_ext.records import write_json

State: TypeAlias = Literal["done", "failed", "running", "open"]
_KILLED = "its process was killed, or the machine went down ({who})"


def result_of(job: Job) -> dict[str, Any] | None:
    """What a run measured, or None where it is not done, or was another run."""
    found = _read(job, RESULT)
    if found is None or found.get("schema") != SCHEMA or found["fingerprint"] != job.fingerprint:
        return None
    return found


def why_failed(job: Job) -> str | None:
    """What a failed run left to say."""
    found = _read(job, FAILED)
    return None if found is None else str(found["why"])


def state_of(job: Job) -> State:
    """Where a run stands, as far as files tell; nothing is held for it."""
    if result_of(job) is not None:
        return "done"
    if why_failed(job) is not None:
        return "failed"
    return "running" if (job.folder / STARTED).is_file() else "open"


def ready(job: Job) -> bool:
    """Whether the run that this one goes by is there; it fails where that one has."""
    if job.matched is None:
        return True
    other = job.out / RUNS / job.matched
    if (other / FAILED).is_file():
        fail(job, f"it goes by {job.matched}, which failed")
    return (other / RESULT).is_file()


def fail(job: Job, why: str) -> None:
    """Write down that a run failed."""
    write_json(job.folder / FAILED, {"why": why, "arm": job.arm, "seed": job.seed})


def forget_failures(jobs: Sequence[Job]) -> None:
    """Let runs that failed in an earlier comparison be tried again; those that run are left."""
    for job in jobs:
        if job.folder.is_dir() and result_of(job) is None:
            with _held(job) as mine:
                for name in (FAILED, STARTED) if mine else ():
                    (job.folder / name).unlink(missing_ok=True)


def mark_killed(jobs: Sequence[Job]) -> None:
    """Write down the failure of runs whose processes are no more."""
    for job in jobs:
        if (job.folder / STARTED).is_file():
            with _held(job) as mine:
                if mine:
                    _settle(job)


@contextlib.contextmanager
def taken(jobs: Sequence[Job]) -> Iterator[Job | None]:
    """The next run that can begin, held for as long as this lasts; None where there is none."""
    for job in jobs:
        if result_of(job) or why_failed(job) or not ready(job):
            continue
        with _held(job) as mine:
            # Between the look and the lock, another process may have done it.
            if not mine or result_of(job) or why_failed(job) or _settle(job):
                continue
            write_json(job.folder / STARTED, {"who": _me()})
            yield job
            (job.folder / STARTED).unlink(missing_ok=True)
            return
    yield None


def _settle(job: Job) -> bool:
    """Whether an earlier try was killed; it is then written down. The lock must be held."""
    started = _read(job, STARTED)
    if started is None:
        return False
    if result_of(job) is None and why_failed(job) is None:
        fail(job, _KILLED.format(who=started["who"]))
    (job.folder / STARTED).unlink()
    return True


@contextlib.contextmanager
def _held(job: Job) -> Iterator[bool]:
    """Whether nobody else is at the run; it is then held for as long as this lasts."""
    from filelock import FileLock, Timeout

    job.folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(job.folder / ".lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        yield False
        return
    try:
        yield True
    finally:
        lock.release()


def _read(job: Job, name: str) -> dict[str, Any] | None:
    try:
        found = json.loads((job.folder / name).read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return None
    return found if isinstance(found, dict) else None


def _me() -> str:
    return f"process {os.getpid()} on {platform.node()}"
