"""Builds that are killed, that meet each other, that find no room, or that meet broken shards."""

from __future__ import annotations

import errno
import os
import resource
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from ppx_ext import files
from tests.core import builds, fakes

ROOT = Path(__file__).parents[2]
REQUESTS = 20
FAILING = 4


def start(out: Path, log: Path, seconds: float) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "tests.core.builds", out, log, seconds]
    path = os.pathsep.join([str(ROOT), str(ROOT / "plugins"), os.environ.get("PYTHONPATH", "")])
    return subprocess.Popen(
        [str(part) for part in command],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": path},
        text=True,
        stderr=subprocess.PIPE,
    )


def finish(process: subprocess.Popen[str]) -> None:
    _, errors = process.communicate(timeout=200)
    assert process.returncode == 0, errors


def asked(log: Path) -> list[str]:
    return [line.split()[1] for line in log.read_text().splitlines()] if log.exists() else []


def result(out: Path) -> dict[str, bytes]:
    """All that is built; which process wrote which answer is its own affair."""
    found = fakes.files(out, besides=("timings.json", ".lock"))
    return {name: data for name, data in found.items() if not name.startswith("answers")}


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("whole")
    builds.main(folder / "out", folder / "log", 0.0)
    found = result(folder / "out")
    assert {Path(name).name for name in found} == {
        "train.parquet",
        "README.md",
        "build.json",
        "key.json",
    }
    return found


@pytest.mark.slow
@pytest.mark.parametrize("answers", [2, 7, 13])
def test_killed_at_any_moment_it_asks_for_nothing_that_it_has(
    tmp_path: Path, uninterrupted: dict[str, bytes], answers: int
) -> None:
    out, log = tmp_path / "out", tmp_path / "log"
    process = start(out, log, 0.3)
    while len(asked(log)) < answers:
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    before = len(asked(log))
    assert not list(out.rglob("train.parquet"))
    finish(start(out, log, 0.0))
    assert result(out) == uninterrupted
    # The answer that was on its way when the process died is asked again, and so is what failed.
    assert REQUESTS <= len(asked(log)) <= REQUESTS + 1 + FAILING
    assert len(asked(log)) - before < REQUESTS
    again = Counter(asked(log))
    assert sum(count - 1 for count in again.values()) <= 1 + FAILING


@pytest.mark.slow
def test_of_several_processes_one_builds_and_the_others_read(
    tmp_path: Path, uninterrupted: dict[str, bytes]
) -> None:
    out, log = tmp_path / "out", tmp_path / "log"
    for process in [start(out, log, 0.1) for _ in range(3)]:
        finish(process)
    assert result(out) == uninterrupted
    assert len(asked(log)) == REQUESTS
    assert len({line.split()[0] for line in log.read_text().splitlines()}) == 1


@pytest.mark.slow
def test_a_process_that_dies_leaves_the_work_to_the_one_that_waits(
    tmp_path: Path, uninterrupted: dict[str, bytes]
) -> None:
    out, log = tmp_path / "out", tmp_path / "log"
    stuck = start(out, log, 1.0)
    while not asked(log):
        assert stuck.poll() is None
        time.sleep(0.02)
    other = start(out, log, 0.0)
    while not log.with_name(f"{other.pid}.begun").exists():
        assert other.poll() is None
        time.sleep(0.02)
    time.sleep(1.0)
    assert other.poll() is None
    stuck.kill()
    stuck.communicate()
    finish(other)
    assert result(out) == uninterrupted


@pytest.mark.parametrize("room", [900, 3_000, 4_500])
def test_no_room_is_an_error_that_leaves_no_half_file_and_can_be_resumed(
    tmp_path: Path, room: int, uninterrupted: dict[str, bytes]
) -> None:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (room, before[1]))
        with pytest.raises(OSError, match=r"cannot be written: File too large") as caught:
            builds.build(tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, ignored)
    assert caught.value.errno == errno.EFBIG
    left = [path.name for path in tmp_path.rglob("*")]
    assert "build.json" not in left
    assert not [name for name in left if name.endswith(".tmp")]
    builds.build(tmp_path)
    assert result(tmp_path) == uninterrupted


def half_built(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Stop where all shards are there and the whole is not."""

    def stop(*given: Any) -> Any:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("ppx_ext.building.provenance.whole_table", stop)
        with pytest.raises(KeyboardInterrupt):
            builds.build(tmp_path)
    return sorted(tmp_path.rglob("shards/*.parquet"))


def test_finished_shards_are_not_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, uninterrupted: dict[str, bytes]
) -> None:
    assert len(half_built(tmp_path, monkeypatch)) == builds.ROWS // builds.SHARD_ROWS
    down = {"use": "script", "down": True}
    builds.build(tmp_path, generator=down)  # nothing is asked: the engine is not even opened
    assert result(tmp_path) == uninterrupted
    assert not list(tmp_path.rglob("shards/*"))


@pytest.mark.parametrize("damage", ["cut", "emptied", "noise"])
def test_a_broken_shard_is_made_again_and_told(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    uninterrupted: dict[str, bytes],
    damage: str,
) -> None:
    shard = half_built(tmp_path, monkeypatch)[1]
    old = shard.read_bytes()
    shard.write_bytes({"cut": old[:-40], "emptied": b"", "noise": b"\x07" * len(old)}[damage])
    builds.build(tmp_path)
    assert f"{shard} cannot be read" in caplog.text
    assert result(tmp_path) == uninterrupted


def test_a_shard_of_other_rows_is_an_error_with_the_mend(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second, *_ = half_built(tmp_path, monkeypatch)
    second.write_bytes(first.read_bytes())
    with pytest.raises(ValueError, match=r"00001\.parquet holds other rows.*Remove it"):
        builds.build(tmp_path)


def test_a_write_that_is_no_error_of_the_disk_leaves_nothing_either(tmp_path: Path) -> None:
    def fails(file: Any) -> None:
        file.write(b"half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        files.write_atomic(tmp_path / "x", fails)
    assert not (tmp_path / "x").exists()
