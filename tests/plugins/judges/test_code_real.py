"""The code judge on real labelled answers, and on real golds."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ppx_ext import Answer
from tests.plugins.judges.sandboxed import Opened, needs_bubblewrap, opened

pytestmark = [needs_bubblewrap, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def judge() -> Iterator[Opened]:
    with opened() as found:
        yield found


def _rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_labelled_answers_of_a_real_model(judge: Opened, data_dir: Path) -> None:
    rows = _rows(data_dir / "mbpp_llama3_samples_first8.jsonl")
    asked = [(row, each) for row in rows for each in row["samples"]]
    verdicts = judge.all([Answer(row=row, response=each["text"]) for row, each in asked])
    differ = [
        (row["task_id"], each["passed"], verdict.judgement.value, verdict.reason)
        for (row, each), verdict in zip(asked, verdicts, strict=True)
        if each["passed"] != verdict.correct
    ]
    assert len(asked) == 256
    assert differ == []


@pytest.mark.parametrize(
    ("name", "count", "differ"),
    [
        # Its tests use a tree that the published rows have no code for.
        ("mbpp_train.jsonl", 374, {927: "name 'root' is not defined"}),
        ("mbpp_validation.jsonl", 90, {}),
    ],
)
def test_golds_pass_their_own_tests(
    judge: Opened, data_dir: Path, name: str, count: int, differ: dict[int, str]
) -> None:
    rows = _rows(data_dir / name)
    verdicts = judge.all([Answer(row=row, response=row["response"]) for row in rows])
    found = {
        row["task_id"]: verdict.reason
        for row, verdict in zip(rows, verdicts, strict=True)
        if not verdict.correct
    }
    assert len(rows) == count
    assert found.keys() == differ.keys()
    assert all(differ[task] in reason for task, reason in found.items())
