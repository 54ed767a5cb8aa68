"""Runs that are killed, that share their work, that find no room, or that meet broken data."""

from __future__ import annotations

import errno
import logging
import os
import resource
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from datasets import Dataset

from ppx_ext import pipeline
from ppx_ext.contracts import ModelRef
from ppx_ext.effects import check_tokenizer
from tests.core import fakes, prepare_slowly

ROOT = Path(__file__).parents[2]


def start(
    out: Path, log: Path, seconds: float = 0.0, *, processes: int = 1, shards: int = 0
) -> subprocess.Popen[str]:
    given = (out, log, seconds, processes, shards)
    command = [sys.executable, "-m", "tests.core.prepare_slowly", *given]
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


def scored(log: Path) -> Counter[int]:
    return Counter(int(line.split()[0]) for line in log.read_text().splitlines())


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("whole")
    prepare_slowly.main(folder / "out", folder / "log", 0.0, 1, 0)
    return fakes.files(folder / "out")


@pytest.mark.slow
def test_killed_in_the_middle_then_resumed_gives_the_same_bytes(
    tmp_path: Path, uninterrupted: dict[str, bytes]
) -> None:
    out, log = tmp_path / "out", tmp_path / "log"
    process = start(out, log, shards=2)
    while len(list(out.glob("scores/*/*.arrow"))) < 2:
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)  # in the middle of the third
    process.communicate()
    assert not (out / "manifest.json").exists()
    finish(start(out, log))
    assert fakes.files(out) == uninterrupted
    assert scored(log) == Counter(range(prepare_slowly.ROWS))


@pytest.mark.slow
@pytest.mark.parametrize("processes", [2, 3])
def test_processes_share_the_work_and_no_row_is_scored_twice(
    tmp_path: Path, uninterrupted: dict[str, bytes], processes: int
) -> None:
    out, log = tmp_path / "out", tmp_path / "log"
    running = [start(out, log, processes=processes) for _ in range(processes)]
    for process in running:
        finish(process)
    assert fakes.files(out) == uninterrupted
    assert scored(log) == Counter(range(prepare_slowly.ROWS))
    assert len(prepare_slowly.workers(log)) == processes


@pytest.mark.slow
def test_a_process_that_dies_gives_its_shard_to_the_one_that_waits(
    tmp_path: Path, uninterrupted: dict[str, bytes]
) -> None:
    out, log = tmp_path / "out", tmp_path / "log"
    stuck = start(out, log, 1000.0)
    while not list(out.glob("scores/*/00000.lock")):
        assert stuck.poll() is None
        time.sleep(0.05)
    other = start(out, log)
    while not list(out.glob("scores/*/00005.arrow")):
        assert other.poll() is None
        time.sleep(0.05)
    assert not list(out.glob("scores/*/00000.arrow"))
    stuck.kill()
    stuck.communicate()
    finish(other)
    assert fakes.files(out) == uninterrupted
    assert scored(log) == Counter(range(prepare_slowly.ROWS))


def test_no_room_is_an_error_that_leaves_no_half_file_and_can_be_resumed(tmp_path: Path) -> None:
    rows = Dataset.from_dict({"input_ids": [[1] * 9000] * 4, "labels": [[1] * 9000] * 4})
    found = fakes.method()
    given: dict[str, Any] = {
        "plan": fakes.parse(found, shard_rows=1),
        "catalog": found,
        "base": fakes.base(),
        "tokenizer": fakes.tokenizer(),
        "store": tmp_path / "short",
    }
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, before[1]))
        with pytest.raises(OSError, match=r"00000\.arrow cannot be written") as caught:
            pipeline.mask_dataset(rows, **given)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, ignored)
    assert caught.value.errno == errno.EFBIG
    left = [path.name for path in (tmp_path / "short").rglob("*") if path.is_file()]
    assert not [name for name in left if name.endswith((".arrow", ".tmp"))]
    pipeline.mask_dataset(rows, **given)
    assert len(list((tmp_path / "short").rglob("*.arrow"))) == 4


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_score_that_is_no_number_names_the_row_and_keeps_what_is_finished(
    tmp_path: Path, bad: float
) -> None:
    rows = fakes.dataset(10)
    sizes = [sum(label != -100 for label in row) for row in rows["labels"]]
    scores = [[1.0] * size for size in sizes]
    scores[6][1] = bad
    broken = rows.add_column("mine", scores)
    found = fakes.method()
    given: dict[str, Any] = {
        "plan": fakes.parse(found, column="mine", shard_rows=2),
        "catalog": found,
        "base": fakes.base(),
        "tokenizer": fakes.tokenizer(),
        "store": tmp_path,
    }
    with pytest.raises(ValueError, match=rf"row 6: score 'nll' is {bad} at token \d+"):
        pipeline.mask_dataset(broken, **given)
    assert sorted(path.stem for path in tmp_path.rglob("*.arrow")) == ["00000", "00001", "00002"]


def test_a_score_beyond_float16_is_an_error_and_not_clipped(tmp_path: Path) -> None:
    found = fakes.method()
    given: dict[str, Any] = {"plan": fakes.parse(found, factor=1e5), "catalog": found}
    with pytest.raises(ValueError, match=r"row \d+, score 'nll': score \d+\.0 is beyond float16"):
        pipeline.mask_dataset(
            fakes.dataset(), base=fakes.base(), tokenizer=fakes.tokenizer(), store=tmp_path, **given
        )


def prepared(out: Path, **given: Any) -> Any:
    return pipeline.prepare(fakes.tokenized(fakes.dataset(), **given), out)


@pytest.mark.parametrize("damage", ["cut", "emptied", "noise"])
def test_a_broken_shard_is_scored_again_and_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, damage: str
) -> None:
    prepared(tmp_path / "out")
    whole = fakes.files(tmp_path / "out")
    shard = next((tmp_path / "out").glob("scores/*/00001.arrow"))
    old = shard.read_bytes()
    shard.write_bytes({"cut": old[:-40], "emptied": b"", "noise": b"\x07" * len(old)}[damage])
    (tmp_path / "out" / "manifest.json").unlink()
    with caplog.at_level(logging.WARNING):
        prepared(tmp_path / "out")
    assert f"{shard} cannot be read" in caplog.text
    assert fakes.files(tmp_path / "out") == whole


def test_a_shard_of_other_rows_is_an_error_with_the_mend(tmp_path: Path) -> None:
    prepared(tmp_path / "out")
    first, second = sorted((tmp_path / "out").glob("scores/*/*.arrow"))[:2]
    second.write_bytes(first.read_bytes())
    with pytest.raises(ValueError, match=r"00001\.arrow holds the scores of other rows.*Remove it"):
        prepared(tmp_path / "out")


def test_a_scoring_model_with_another_tokenizer_is_refused(tmp_path: Path) -> None:
    from tests.models import tiny_tokenizer

    tiny_tokenizer(corpus=["quite other words, so that other pairs merge"] * 9).save_pretrained(
        tmp_path / "other"
    )
    fakes.tokenizer().save_pretrained(tmp_path / "same")
    check_tokenizer(
        fakes.tokenizer(), ModelRef(path=str(tmp_path / "same")), trust_remote_code=False
    )
    with pytest.raises(ValueError, match=r"has another tokenizer than this run: \d+ tokens differ"):
        check_tokenizer(
            fakes.tokenizer(), ModelRef(path=str(tmp_path / "other")), trust_remote_code=False
        )
    (tmp_path / "none").mkdir()
    with pytest.raises(ValueError, match="has no tokenizer that can be loaded"):
        check_tokenizer(
            fakes.tokenizer(), ModelRef(path=str(tmp_path / "none")), trust_remote_code=False
        )
