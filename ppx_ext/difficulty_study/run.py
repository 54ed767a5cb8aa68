"""``ppx study difficulty``: all bases and runs, side by side; a killed study goes on."""

from __future__ import annotations

import concurrent.futures
import json
import multiprocessing
import os
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from ppx_ext.comparing.workers import quiet_worker
from ppx_ext.difficulty_study import report
from ppx_ext.difficulty_study.jobs import Job, perform
from ppx_ext.difficulty_study.protocol import SIZES, Protocol, hash_of
from ppx_ext.files import write_json

PROTOCOL_FILE, RESULTS_FILE, LOG = "protocol.json", "results.json", "log.txt"
Json = dict[str, Any]


def run(
    out: Path, *, size: str = "small", seeds: int | None = None, workers: int | None = None
) -> Json:
    """Do the study of this size in ``out``; returns the content of report.json.

    Runs that ``out`` holds already are not done again.

    Args:
        out: a folder for bases, runs, results.json, report.json and report.html.
        size: one of `protocol.SIZES`.
        seeds: how many (0, 1, ...); by default as many as the protocol says.
        workers: processes side by side, one thread each; by default one for each core.

    Raises:
        ValueError: no such size, no seed, or ``out`` holds a study of another protocol.
    """
    if size not in SIZES:
        raise ValueError(f"size: give one of {', '.join(SIZES)}, not {size!r}")
    protocol = SIZES[size]
    count = protocol.seeds if seeds is None else seeds
    if count < 1:
        raise ValueError(f"seeds: give at least 1, not {count}")
    _claim(out, protocol, size)
    bases = [Job(protocol=protocol, out=out, base=name) for name in protocol.bases]
    cells = list(protocol.cells(count))
    runs = [Job(protocol=protocol, out=out, base=cell.base, cell=cell) for cell in cells]
    _perform((bases, runs), out, workers or len(os.sched_getaffinity(0)))
    shutil.rmtree(out / "scratch", ignore_errors=True)
    results = {
        "bases": {job.base: _read(job) for job in bases},
        "runs": [_read(job) for job in runs],
    }
    write_json(out / RESULTS_FILE, results)
    return report.write(out, protocol=protocol, size=size, seeds=count, results=results)


def _claim(out: Path, protocol: Protocol, size: str) -> None:
    out.mkdir(parents=True, exist_ok=True)
    path, own = out / PROTOCOL_FILE, {"size": size, "hash": hash_of(protocol)}
    if not path.exists():
        write_json(path, own)
    found = json.loads(path.read_text(encoding="utf-8"))
    if found != own:
        raise ValueError(
            f"{out} holds a study of size {found.get('size')!r} under another protocol; give "
            "another folder, or remove it"
        )


def _read(job: Job) -> Json:
    found: Json = json.loads(job.path.read_text(encoding="utf-8"))
    return found


def _perform(batches: Sequence[Sequence[Job]], out: Path, workers: int) -> None:
    """Do what is not done yet; a batch waits for the one before.

    Raises:
        ValueError: a job failed; those done are kept.
    """
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    waiting = [[job for job in batch if not job.path.exists()] for batch in batches]
    if not any(waiting):
        return
    total, left = sum(map(len, batches)), sum(map(len, waiting))
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with (
        concurrent.futures.ProcessPoolExecutor(
            max_workers=min(workers, left),
            mp_context=multiprocessing.get_context("spawn"),
            initializer=quiet_worker,
            initargs=(out / LOG,),
        ) as pool,
        Progress(*columns, TimeElapsedColumn()) as progress,
    ):
        bar = progress.add_task("training and measuring", total=total, completed=total - left)
        for batch in waiting:
            for _ in _finished(pool, batch, out):
                progress.advance(bar)


def _finished(pool: concurrent.futures.Executor, jobs: Sequence[Job], out: Path) -> Iterator[Job]:
    futures = {pool.submit(perform, job): job for job in jobs}
    for future in concurrent.futures.as_completed(futures):
        if error := future.exception():
            pool.shutdown(wait=False, cancel_futures=True)
            name = futures[future].name
            raise ValueError(f"{name}: {error} (see {out / LOG})") from error
        yield futures[future]
