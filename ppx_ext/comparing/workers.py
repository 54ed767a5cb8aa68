"""Processes that do the runs, side by side; one that dies costs the run that it was at."""

from __future__ import annotations

import contextlib
import gc
import multiprocessing
import os
import signal
import time
import traceback
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from ppx_ext.comparing import queue
from ppx_ext.comparing.jobs import Job

LOG = "log.txt"
_POLL = 0.3
_GRACE = 10.0
_MAX_DEATHS = 3


def work_off(jobs: Sequence[Job], *, workers: int) -> None:
    """Do all runs that are not done, as far as they can be done.

    Raises:
        RuntimeError: processes die before they take a run.
    """
    from ppx_ext.progress import progress

    queue.forget_failures(jobs)
    pool = _Pool(jobs=tuple(jobs), workers=workers)
    with progress("runs", len(jobs)) as advance, _term_raises(), pool:
        while True:
            before, failed = pool.ended, pool.failed
            waiting = pool.look()
            note = f"{pool.failed} failed" if pool.failed > failed else ""
            advance(pool.ended - before, note)
            if not waiting:
                return
            time.sleep(_POLL)


class _Pool:
    """So many processes, one of each slot, as long as there are runs for them."""

    def __init__(self, *, jobs: tuple[Job, ...], workers: int) -> None:
        self.jobs = jobs
        self.workers = workers
        self.ended = 0
        self.failed = 0
        self._states: dict[str, queue.State] = {}
        self._alive: dict[int, Any] = {}
        self._deaths = 0
        self._context = multiprocessing.get_context("spawn")

    def look(self) -> bool:
        """Start processes for what can begin; whether there is anything to wait for."""
        queue.mark_killed(self.jobs)
        ended = self.ended
        self._read_states()
        self._reap(moved=self.ended > ended)
        # One that goes by a run of another machine waits for it.
        later = [job for job in self.jobs if self._states[job.name] == "open"]
        able = sum(queue.ready(job) for job in later)
        free = [slot for slot in range(self.workers) if slot not in self._alive]
        for slot in free[: max(0, able)]:
            self._start(slot)
        return bool(self._alive or later)

    def _read_states(self) -> None:
        over = ("done", "failed")
        for job in self.jobs:
            if self._states.get(job.name) not in over:
                self._states[job.name] = queue.state_of(job)
        found = list(self._states.values())
        self.ended = sum(state in over for state in found)
        self.failed = found.count("failed")

    def _start(self, slot: int) -> None:
        # With several GPUs in one process, TRL would split each batch among them.
        alone = self.workers > 1 or self.jobs[0].host == "trl"
        args = (self.jobs, os.getpid(), slot if alone else None)
        process = self._context.Process(target=_work, args=args)
        process.start()
        self._alive[slot] = process

    def _reap(self, *, moved: bool) -> None:
        """Take dead processes off the list; give up where they die for nothing, again and again."""
        self._deaths = 0 if moved else self._deaths
        for slot, process in list(self._alive.items()):
            if process.is_alive():
                continue
            del self._alive[slot]
            if process.exitcode:
                self._deaths += 1
                _end_group(process, signal.SIGKILL)  # what its host started
        if self._deaths > _MAX_DEATHS:
            raise RuntimeError(
                "processes of the comparison die before they do anything; see the end of log.txt "
                "in the folders of its runs"
            )

    def __enter__(self) -> _Pool:
        return self

    def __exit__(self, *error: object) -> None:
        """End the processes with us, whatever ends us."""
        for process in self._alive.values():
            _end_group(process, signal.SIGTERM)
        for process in self._alive.values():
            process.join(_GRACE)
            _end_group(process, signal.SIGKILL)
        queue.mark_killed(self.jobs)


def _end_group(process: Any, number: signal.Signals) -> None:
    """Signal a process and all that its hosts have started."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, number)
    if process.is_alive():
        process.terminate() if number == signal.SIGTERM else process.kill()


@contextlib.contextmanager
def _term_raises() -> Iterator[None]:
    def stop(number: int, frame: Any) -> None:
        raise SystemExit(128 + number)

    try:
        before = signal.signal(signal.SIGTERM, stop)
    except ValueError:  # not in the main thread
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _work(jobs: Sequence[Job], parent: int, slot: int | None) -> None:
    """Do one run after the other until none is left to take."""
    os.setpgrp()
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    # One thread each: a result then does not hang on how many run side by side.
    os.environ["OMP_NUM_THREADS"] = "1"
    if slot is not None:
        _take_device(slot)
    while os.getppid() == parent:
        with queue.taken(jobs) as job:
            if job is None:
                return
            _one(job)


def _take_device(slot: int) -> None:
    """One of the visible GPUs for each process, where there are any."""
    devices = [name for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name]
    if not devices:
        import torch

        devices = [str(at) for at in range(torch.cuda.device_count())]
    if devices:
        os.environ["CUDA_VISIBLE_DEVICES"] = devices[slot % len(devices)]


def _one(job: Job) -> None:
    log = job.folder / LOG
    log.unlink(missing_ok=True)
    _speak_into(log)
    try:
        import torch

        from ppx_ext.comparing.perform import perform

        torch.set_num_threads(1)
        perform(job)
    except (Exception, SystemExit) as error:  # argparse leaves so
        traceback.print_exc()
        words = str(error).strip() or type(error).__name__
        queue.fail(job, f"{words} (see {log})")
    _let_go()


def _let_go() -> None:
    """Give back what the run held on a GPU, before the next one."""
    import torch

    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def quiet_worker(log: Path) -> None:
    """Set up a process of a pool: one thread, and all that libraries say goes to a file."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    _speak_into(log)
    import torch

    torch.set_num_threads(1)


def _speak_into(log: Path) -> None:
    """All that we and the libraries say goes to a file."""
    handle = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    for stream in (1, 2):
        os.dup2(handle, stream)
    os.close(handle)
