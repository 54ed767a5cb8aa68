"""Axolotl: what a measure reads of a row is there when the tokens are, whatever the data set."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.hosts import choices, words
from tests.hosts.axolotl.conftest import chats, tokens_of, write_rows

pytestmark = pytest.mark.axolotl

Config = Callable[..., Path]
Run = Callable[[Path], SimpleNamespace]


@pytest.fixture(autouse=True)
def stand_in(monkeypatch: pytest.MonkeyPatch) -> None:
    choices.install(monkeypatch)


def test_pass_rates_that_a_builder_wrote(
    world: SimpleNamespace,
    config: Config,
    prepare: Run,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    words.install(monkeypatch)
    questions = [f"How many pairs of {row} make a chain?" for row in range(9)]
    golds = [f"print the total of clips: {row}" for row in range(9)]
    words.table_of(questions, [str(row) for row in range(9)], tmp_path / "answers.json")
    turns = [
        [{"role": "user", "content": q}, {"role": "assistant", "content": a}]
        for q, a in zip(questions, golds, strict=True)
    ]
    rows = [{"messages": turn} for turn in turns]
    path = write_rows(tmp_path / "golds.jsonl", rows)
    engine = words.build_block(tmp_path / "answers.json")
    block = {
        "build": {**engine, "use": "pass_rate", "samples": 1, "temperature": 0},
        "choose": {"use": "budget", "by": "pass_rate", "max_examples": 3, "take": "easiest"},
    }
    prepared = str(tmp_path / "prepared")
    entry = {"path": str(path), "type": "chat_template"}
    found = prepare(config(ppx=block, datasets=[entry], dataset_prepared_path=prepared))
    answered = {tuple(tokens_of(row, world.tokenizer)[0]) for row in rows[::3]}
    assert {ids for ids, _ in found.train} == answered
    assert not {"ppx_pass_rate", "ppx_source"} & found.columns


ALPACA = {"instruction": "Write a function", "input": "", "output": "def add(a, b): return a + b"}
OTHERS: tuple[tuple[Any, list[dict[str, Any]]], ...] = (
    ("completion", [{"text": "half as many clips"}, {"text": "in April and May"}]),
    (
        {"field_instruction": "q", "field_output": "a"},
        [{"q": "How many?", "a": "The answer is 42."}, {"q": "And then?", "a": "It is 41."}],
    ),
)
"""Types of data sets, each with two rows."""


def test_columns_survive_in_other_types_of_data_sets(
    config: Config, prepare: Run, tmp_path: Path
) -> None:
    plain, entries = [], []
    for at, (kind, (first, second)) in enumerate(OTHERS):
        bare = write_rows(tmp_path / f"bare-{at}.jsonl", [second])
        path = write_rows(
            tmp_path / f"{at}.jsonl", [{**first, choices.NOTED: 9 + at}, noted(second)]
        )
        plain.append({"path": str(bare), "type": kind})
        entries.append({"path": str(path), "type": kind})
    wanted = prepare(config(datasets=plain)).train
    block = {"choose": choices.block("easiest", count=len(OTHERS))}
    assert len(wanted) == len(OTHERS)
    assert sorted(prepare(config(ppx=block, datasets=entries)).train) == sorted(wanted)


def test_tokenised_rows_keep_their_columns(config: Config, prepare: Run, tmp_path: Path) -> None:
    rows = [
        {
            "input_ids": [1, token, 30, 2],
            "labels": [-100, -100, 30, 2],
            "attention_mask": [1] * 4,
            choices.NOTED: score,
        }
        for token, score in ((20, 9), (21, 1))
    ]
    path = write_rows(tmp_path / "rows.jsonl", rows)
    block = {"choose": choices.block("easiest", count=1)}
    found = prepare(config(ppx=block, datasets=[{"path": str(path), "type": None}]))
    assert found.train == [((1, 21, 30, 2), [-100, -100, 30, 2])]


def noted(row: dict[str, Any]) -> dict[str, Any]:
    return {**row, choices.NOTED: 1}


def test_columns_that_are_lost_or_not_there(config: Config, prepare: Run, tmp_path: Path) -> None:
    block = {"choose": choices.block("climb")}
    path = write_rows(tmp_path / "alpaca.jsonl", [noted(ALPACA)])
    with pytest.raises(ValueError, match="Axolotl drops them from a data set of the type 'alpaca'"):
        prepare(config(ppx=block, datasets=[{"path": str(path), "type": "alpaca"}]))
    bare = write_rows(tmp_path / "bare.jsonl", chats(2))
    with pytest.raises(ValueError, match=f"has no column '{choices.NOTED}'"):
        prepare(config(ppx=block, datasets=[{"path": str(bare), "type": "chat_template"}]))
