"""Runs are shared by locks: several processes on one folder, some of which die."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from ppx_ext.comparing import queue, workers
from ppx_ext.comparing.jobs import RESULT, SCHEMA, Job
from ppx_ext.records import write_json


def job(out: Path, arm: str, seed: int = 0, **changes: Any) -> Job:
    return Job(arm=arm, seed=seed, host="trl", settings={"ppx": {}, "arm": arm}, out=out, **changes)


def finish(one: Job) -> None:
    content = {"schema": SCHEMA, "fingerprint": one.fingerprint, "numbers": {"by": os.getpid()}}
    write_json(one.folder / RESULT, content)


def work(out: Path, jobs: tuple[Job, ...]) -> None:
    """What a process of a comparison does, the training left out."""
    while True:
        with queue.taken(jobs) as one:
            if one is None:
                return
            with (out / "taken.txt").open("a") as file:
                file.write(f"{one.name}\n")
            time.sleep(0.02)
            finish(one)


def hang(out: Path, jobs: tuple[Job, ...]) -> None:
    with queue.taken(jobs):
        time.sleep(600)


def start(target: Any, *args: Any) -> Any:
    process = multiprocessing.get_context("spawn").Process(target=target, args=args)
    process.start()
    return process


def test_each_run_is_done_once_however_many_work_at_it(tmp_path: Path) -> None:
    jobs = tuple(job(tmp_path, f"a{at}") for at in range(30))
    processes = [start(work, tmp_path, jobs) for _ in range(3)]
    for process in processes:
        process.join(120)
        assert process.exitcode == 0
    assert sorted((tmp_path / "taken.txt").read_text().split()) == sorted(one.name for one in jobs)
    assert {queue.state_of(one) for one in jobs} == {"done"}


def test_a_killed_process_costs_its_run_until_it_is_begun_anew(tmp_path: Path) -> None:
    jobs = (job(tmp_path, "a"), job(tmp_path, "b"), job(tmp_path, "c", matched="a-0"))
    process = start(hang, tmp_path, jobs)
    while queue.state_of(jobs[0]) != "running":
        time.sleep(0.02)
    queue.mark_killed(jobs)  # it lives, so nothing is marked
    assert queue.state_of(jobs[0]) == "running"
    queue.forget_failures(jobs)  # nor forgotten
    assert queue.state_of(jobs[0]) == "running"
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    work(tmp_path, jobs)
    states = [queue.state_of(one) for one in jobs]
    assert states == ["failed", "done", "failed"]
    assert f"process {process.pid}" in str(queue.why_failed(jobs[0]))
    assert queue.why_failed(jobs[2]) == "it goes by a-0, which failed"
    queue.forget_failures(jobs)
    assert [queue.state_of(one) for one in jobs] == ["open", "done", "open"]
    work(tmp_path, jobs)
    assert {queue.state_of(one) for one in jobs} == {"done"}
    assert (tmp_path / "taken.txt").read_text().split() == ["b-0", "a-0", "c-0"]


def test_a_run_that_was_another_is_run_anew(tmp_path: Path) -> None:
    one = job(tmp_path, "a")
    one.folder.mkdir(parents=True)
    finish(one)
    assert queue.state_of(one) == "done"
    data = tmp_path / "train.jsonl"
    for text in ("{}\n", "{}\n{}\n"):  # the file that it names is another now
        data.write_text(text)
        changed = Job(
            arm="a", seed=0, host="trl", settings={"ppx": {}, "data": str(data)}, out=tmp_path
        )
        assert queue.state_of(changed) == "open"
        finish(changed)
        assert queue.state_of(changed) == "done"


def test_gpus_are_dealt_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,5")
    workers._take_device(3)
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "5"
