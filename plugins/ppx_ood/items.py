"""Rows of the user's files -> items to answer, with every fault told by file and line."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ppx_ext import Item, read_rows

GOLDS = "ppx_golds"
"""Column of an item's row: all its golds, where there are several."""

FILES = (".jsonl", ".json", ".ndjson", ".parquet", ".arrow")


def rows_of(
    task: str, path: str, *, split: str, limit: int | None
) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """The rows at ``path``, each with words for where it is: all of them, or the first ``limit``.

    Raises:
        ValueError: there is nothing to read, a row cannot be read, or there is none.
    """
    if path.endswith(FILES) and not Path(path).is_file():
        raise ValueError(f"task {task!r}: there is no file {path} (paths start at {Path.cwd()})")
    count = 0
    for found in read_rows(path, split=split):
        where = f"task {task!r}, {path} ({found.where})"
        if found.row is None:
            raise ValueError(f"{where}: {found.problem}")
        yield where, found.row
        count += 1
        if count == limit:
            return
    if not count:
        raise ValueError(f"task {task!r}: {path} has no row")


def item_of(
    row: Mapping[str, Any], *, prompt: str, answer: str | None, where: str, several: bool = False
) -> Item:
    """An item: the columns ``prompt`` (text, or a chat) and ``answer`` (text or number) of a row.

    A last assistant's turn of a chat is left out. Without ``answer`` the gold is empty. With
    ``several`` the answer may be a list, which judges find under `GOLDS`.

    Raises:
        ValueError: a column is missing, or holds something else.
    """
    asked = field_of(row, prompt, (str, list), where)
    if isinstance(asked, list):
        asked = _without_response(asked, where)
    if answer is None:
        return Item(prompt=asked, gold="", row=row)
    gold = field_of(row, answer, (str, int, float, *([list] if several else [])), where)
    if isinstance(gold, list):
        return Item(prompt=asked, gold=" | ".join(map(str, gold)), row={**row, GOLDS: gold})
    return Item(prompt=asked, gold=str(gold), row=row)


def field_of(row: Mapping[str, Any], name: str, types: tuple[type, ...], where: str) -> Any:
    """A column that must be there and not be empty.

    Raises:
        ValueError: it is not, or is of another type.
    """
    if name not in row:
        has = ", ".join(sorted(row)) or "none"
        raise ValueError(
            f"{where}: no field {name!r} (it has: {has}). Name yours in the task's settings"
        )
    value = row[name]
    if not isinstance(value, types) or isinstance(value, bool) or value in ("", []):
        wanted = " or ".join(kind.__name__ for kind in types)
        raise ValueError(f"{where}: field {name!r} is {value!r}; a non-empty {wanted} is needed")
    return value


def _without_response(messages: list[Any], where: str) -> list[Any]:
    if not all(isinstance(turn, dict) and {"role", "content"} <= turn.keys() for turn in messages):
        raise ValueError(f"{where}: a chat is a list of messages with `role` and `content`")
    prompt = messages[:-1] if messages[-1]["role"] == "assistant" else messages
    if not prompt:
        raise ValueError(f"{where}: the chat has no turn before the response")
    return prompt
