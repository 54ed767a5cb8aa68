"""Any user's data: one call for all of it, and a clear word on what cannot be read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from datasets import Dataset
from hypothesis import given
from hypothesis import strategies as st

from ppx_ext.chats import Skip
from ppx_ext.rows import PROMPTS, RESPONSES, Fields, canonical_rows, edit_gold, shape_of
from ppx_ext.tokenized import tokenize_rows
from tests.core import fakes

CHAT = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]


def jsonl(path: Path, rows: list[Any]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def canonical(source: Any, *, chat: bool = True, **given: Any) -> list[Any]:
    return [row for _, row in canonical_rows(source, chat=chat, **given)]


def text_of(row: Any, *, targets: bool) -> str:
    ids = [i for i, label in zip(row["input_ids"], row["labels"], strict=True) if label >= 0]
    return str(fakes.tokenizer().decode(ids if targets else row["input_ids"]))


@pytest.mark.parametrize(("name", "rows"), [("gsm8k_train", 7473), ("mbpp_train", 374)])
def test_real_files_of_other_field_names_with_the_same_call(
    data_dir: Path, name: str, rows: int
) -> None:
    path = data_dir / f"{name}.jsonl"
    found = tokenize_rows(path, fakes.tokenizer())
    assert len(found.dataset) == rows == found.record.numbers["rows"]
    assert found.record.numbers["skipped"] == 0
    first = json.loads(path.read_text().split("\n")[0])
    prompt, gold = (
        first.get("question") or first["prompt"],
        first.get("answer") or first["response"],
    )
    assert text_of(found.dataset[0], targets=True) == gold + "<|im_end|>"
    assert prompt in text_of(found.dataset[0], targets=False)


@pytest.mark.parametrize("prompt", PROMPTS)
@pytest.mark.parametrize("response", RESPONSES)
def test_known_names_are_found(prompt: str, response: str) -> None:
    (row,) = canonical([{prompt: "q", response: "a", "other": 1}])
    assert row == {"messages": CHAT}


@pytest.mark.parametrize(
    "row",
    [
        {"messages": CHAT},
        {"conversations": [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}]},
        {"conversations": CHAT},
        {"prompt": CHAT[:1], "completion": CHAT[1:]},
        {"instruction": "q", "input": "", "output": "a"},
    ],
)
def test_all_shapes_give_the_same_row(row: Any) -> None:
    assert canonical([row]) == [{"messages": CHAT}]


def test_without_a_chat_template_a_pair_stays_plain_text() -> None:
    (row,) = canonical([{"instruction": "add", "input": "1 2", "output": "3"}], chat=False)
    assert row == {"prompt": "add\n\n1 2", "completion": "3"}
    assert canonical([{"text": "all"}]) == [{"prompt": "", "completion": "all"}]


def test_names_may_be_given_where_they_are_not_known_or_not_clear() -> None:
    rows = [{"frage": "q", "antwort": "a", "problem": "x", "solution": "y", "answer": "z"}]
    (row,) = canonical(rows, fields=Fields(prompt="frage", response="antwort"))
    assert row == {"messages": CHAT}
    (row,) = canonical([{"talk": CHAT}], fields=Fields(messages="talk"))
    assert row == {"messages": CHAT}


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        (["frage", "antwort"], "no column is known"),
        (["problem", "solution", "answer"], "more than one column may be .*answer, solution"),
        (["question", "prompt", "answer"], "more than one column may be the prompt"),
        (["messages", "conversations"], "both a chat"),
        (["messages", "prompt", "answer"], "both a chat"),
        (["prompt"], "no column is known"),
        (["input_ids"], "input_ids but no labels"),
    ],
)
def test_unclear_columns_are_listed_and_nothing_is_guessed(
    columns: list[str], message: str
) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        shape_of(columns, Fields())
    assert f"Columns: {', '.join(columns)}." in str(caught.value)


def test_a_named_column_that_is_missing() -> None:
    with pytest.raises(ValueError, match=r"no column is called q\. Columns: prompt, a\."):
        shape_of(["prompt", "a"], Fields(prompt="q", response="a"))
    with pytest.raises(ValueError, match="together"):
        Fields(prompt="q")
    with pytest.raises(ValueError, match="not both"):
        Fields(messages="m", prompt="q", response="a")


@pytest.mark.parametrize("kind", ["jsonl", "json", "parquet", "arrow", "folder", "memory", "list"])
def test_every_way_of_keeping_rows_gives_the_same_tokens(tmp_path: Path, kind: str) -> None:
    rows = [{"question": f"What is {n}?", "answer": f"It is {n * n}."} for n in range(5)]
    data = Dataset.from_list(rows)
    source: Any = tmp_path / f"rows.{kind}"
    if kind == "jsonl":
        jsonl(source, rows)
    elif kind == "json":
        source.write_text(json.dumps(rows, indent=2))
    elif kind == "parquet":
        data.to_parquet(str(source))
    elif kind == "arrow":
        data.save_to_disk(str(tmp_path / "saved"))
        source = next((tmp_path / "saved").glob("*.arrow"))
    elif kind == "folder":
        data.save_to_disk(str(source))
    else:
        source = data if kind == "memory" else rows
    found = tokenize_rows(source, fakes.tokenizer())
    assert found.fingerprint == tokenize_rows(rows, fakes.tokenizer()).fingerprint
    assert text_of(found.dataset[4], targets=True) == "It is 16.<|im_end|>"


def test_something_that_is_nowhere_says_what_can_be_given() -> None:
    with pytest.raises(ValueError, match=r"'no/such-thing' cannot be read as data.*\.jsonl"):
        tokenize_rows("no/such-thing", fakes.tokenizer())


BAD = {
    "no response": {"question": "q"},
    "empty response": {"question": "q", "answer": " \n"},
    "unreadable row": {"question": "q", "answer": 3},
}


@pytest.mark.parametrize("reason", BAD)
def test_a_row_that_cannot_be_trained_on_is_counted_by_its_reason(
    tmp_path: Path, reason: str
) -> None:
    good = [{"question": "q", "answer": "a"}] * 9
    path = jsonl(tmp_path / "rows.jsonl", [*good[:4], BAD[reason], *good[4:]])
    found = tokenize_rows(path, fakes.tokenizer(), max_skipped_share=0.1)
    assert len(found.dataset) == 9
    assert list(found.dataset["ppx_row"]) == [0, 1, 2, 3, 5, 6, 7, 8, 9]
    about = found.record.numbers["skipped_by_reason"]
    assert list(about) == [reason]
    assert about[reason]["rows"] == 1
    assert about[reason]["first"][0].startswith("rows.jsonl:5 (")
    with pytest.raises(
        ValueError, match=rf"1 of 10 rows cannot .*\n  {reason}: 1 rows, first rows"
    ):
        tokenize_rows(path, fakes.tokenizer(), max_skipped_share=0.09)


@pytest.mark.parametrize("line", [b'{"question": "q", "ans', b"\xff\xfe", b"[1, 2]", b'"text"'])
def test_an_unreadable_line_names_the_file_and_the_line(tmp_path: Path, line: bytes) -> None:
    good = b'{"question": "q", "answer": "a"}\n'
    path = tmp_path / "rows.jsonl"
    path.write_bytes(good + b"\n" + line + b"\n" + good)
    with pytest.raises(
        ValueError, match=r"1 of 3 rows.*\n  unreadable row: 1 rows, first rows\.jsonl:3"
    ):
        tokenize_rows(path, fakes.tokenizer())
    assert len(tokenize_rows(path, fakes.tokenizer(), max_skipped_share=0.5).dataset) == 2


def test_no_row_and_no_usable_row_are_errors(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="holds no row"):
        tokenize_rows(jsonl(tmp_path / "a.jsonl", []), fakes.tokenizer())
    with pytest.raises(ValueError, match="2 of 2 rows"):
        tokenize_rows([BAD["empty response"]] * 2, fakes.tokenizer(), max_skipped_share=1.0)


def test_line_ends_inside_text_are_no_line_ends_of_the_file(tmp_path: Path) -> None:
    rows = [{"question": "q", "answer": "one\r\ntwo\u2028three\x85"}]
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps(rows[0], ensure_ascii=False) + "\r\n", newline="")
    assert canonical(path) == canonical(rows)


def test_chats_are_checked_turn_by_turn() -> None:
    rows: list[Any] = [
        {"messages": CHAT[:1]},
        {"messages": [*CHAT, {"role": "assistant", "content": ""}]},
        {"messages": "no list"},
        {"messages": [{"from": "parrot", "value": "x"}]},
        {"messages": [*CHAT[:1], {"role": "assistant", "content": None, "tool_calls": [{"f": 1}]}]},
    ]
    found = canonical(rows)
    assert [row.reason for row in found[:4] if isinstance(row, Skip)] == [
        "no response",
        "empty response",
        "unreadable row",
        "unreadable row",
    ]
    assert found[4]["messages"][1] == {
        "role": "assistant",
        "content": None,
        "tool_calls": [{"f": 1}],
    }


def test_tools_and_template_options_come_along() -> None:
    row = {"messages": CHAT, "tools": '[{"name": "f"}]', "chat_template_kwargs": {"a": 1}}
    assert canonical([row]) == [
        {"messages": CHAT, "tools": [{"name": "f"}], "chat_template_kwargs": {"a": 1}}
    ]


@given(st.text(), st.text())
def test_gold_is_edited_and_nothing_else(question: str, answer: str) -> None:
    chat = [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
    edited = edit_gold({"messages": chat, "tools": [1]}, str.upper)
    assert edited == {"messages": [chat[0], {**chat[1], "content": answer.upper()}], "tools": [1]}
    plain = edit_gold({"prompt": question, "completion": answer}, str.upper)
    assert plain == {"prompt": question, "completion": answer.upper()}


def test_an_edit_of_real_carriage_returns(data_dir: Path) -> None:
    path = data_dir / "mbpp_train.jsonl"
    plain = tokenize_rows(path, fakes.tokenizer())
    edited = tokenize_rows(path, fakes.tokenizer(), edit=lambda text: text.replace("\r\n", "\n"))
    before, after = (
        sum("\r" in text_of(row, targets=True) for row in found.dataset)
        for found in (plain, edited)
    )
    assert before > 100
    assert after == 0
    assert edited.fingerprint != plain.fingerprint


def test_ids_pass_through_and_cannot_be_edited() -> None:
    rows = fakes.dataset(4, mine=[[0.5] * 3] * 4)
    found = tokenize_rows(rows, fakes.tokenizer(), keep=["mine"])
    assert found.dataset["input_ids"] == rows["input_ids"]
    assert found.dataset["labels"] == rows["labels"]
    assert found.dataset["mine"] == rows["mine"]
    with pytest.raises(ValueError, match="tokenised already"):
        tokenize_rows(rows, fakes.tokenizer(), edit=lambda text: text + "!")


def test_columns_with_one_value_a_token_are_cut_with_the_ids() -> None:
    rows = Dataset.from_dict(
        {"input_ids": [[5, 6, 7, 8]], "labels": [[-100, 6, 7, 8]], "mine": [[1.0, 2.0, 3.0, 4.0]]}
    )
    found = tokenize_rows(rows, fakes.tokenizer(), max_length=3, keep=["mine"])
    assert found.dataset[0] == {
        "input_ids": [5, 6, 7],
        "labels": [-100, 6, 7],
        "ppx_row": 0,
        "mine": [1.0, 2.0, 3.0],
    }
