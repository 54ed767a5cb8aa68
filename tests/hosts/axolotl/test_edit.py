"""Gold text is rewritten before it is tokenised, where it is gold, and nowhere else."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.hosts.axolotl.conftest import tokens_of, write_rows

pytestmark = pytest.mark.axolotl

Config = Callable[..., Path]
Prepare = Callable[[Path], SimpleNamespace]
CLEAN = {"mask": {"use": "stm", "ppl_threshold": 1e9, "normalize_newlines": True}}


def chat(question: str, answer: str) -> dict[str, Any]:
    said = [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
    return {"messages": said}


def test_newlines_of_answers_and_of_nothing_else(
    config: Config, prepare: Prepare, world: SimpleNamespace, tmp_path: Path
) -> None:
    rows = [chat("one\r\ntwo", "def f():\r\n    pass"), chat("plain", "answer")]
    data = [{"path": str(write_rows(tmp_path / "rows.jsonl", rows)), "type": "chat_template"}]
    found = prepare(config(ppx=CLEAN, datasets=data))
    wanted = [chat("one\r\ntwo", "def f():\n    pass"), rows[1]]
    assert {ids for ids, _ in found.train} == {
        tuple(tokens_of(row, world.tokenizer)[0]) for row in wanted
    }


def test_newlines_under_other_names_of_fields(
    config: Config, prepare: Prepare, world: SimpleNamespace, tmp_path: Path
) -> None:
    rows = [{"talk": [{"from": "human", "value": "q\r\n"}, {"from": "gpt", "value": "a\r\nb"}]}]
    entry = {
        "path": str(write_rows(tmp_path / "rows.jsonl", rows)),
        "type": "chat_template",
        "field_messages": "talk",
        "message_property_mappings": {"role": "from", "content": "value"},
    }
    ((ids, _),) = prepare(config(ppx=CLEAN, datasets=[entry])).train
    assert list(ids) == tokens_of(chat("q\r\n", "a\nb"), world.tokenizer)[0]


def test_newlines_of_an_alpaca_output(
    config: Config, prepare: Prepare, world: SimpleNamespace, tmp_path: Path
) -> None:
    row = {"instruction": "do\r\nthis", "input": "", "output": "a\r\nb"}
    data = [{"path": str(write_rows(tmp_path / "rows.jsonl", [row])), "type": "alpaca"}]
    ((ids, _),) = prepare(config(ppx=CLEAN, datasets=data)).train
    text = world.tokenizer.decode(ids)
    assert "do\r\nthis" in text
    assert "a\nb" in text


@pytest.mark.parametrize(
    ("row", "kind", "said"),
    [
        (
            {"input_ids": [], "labels": [], "attention_mask": []},
            None,
            "tokenised already",
        ),
        ({"question": "q", "answer": "a\r\nb", "context": "c"}, "context_qa", "field 'answer'"),
    ],
    ids=["tokenised", "unknown"],
)
def test_text_that_cannot_be_edited_is_an_error(
    config: Config,
    prepare: Prepare,
    world: SimpleNamespace,
    tmp_path: Path,
    row: dict[str, Any],
    kind: str | None,
    said: str,
) -> None:
    if kind is None:
        ids = world.tokenizer("a\r\nb")["input_ids"]
        row = {"input_ids": ids, "labels": ids, "attention_mask": [1] * len(ids)}
    path = write_rows(tmp_path / "rows.jsonl", [row])
    with pytest.raises(ValueError, match=r"row 0.*normalize_newlines: false") as caught:
        prepare(config(ppx=CLEAN, datasets=[{"path": str(path), "type": kind}]))
    assert said in str(caught.value)
