"""Files, folders and hub ids -> rows as the user wrote them, each with the place that it is at."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from datasets import Dataset

Source: TypeAlias = "str | Path | Dataset | Iterable[Mapping[str, Any]]"
"""A file, a folder, a hub id, a data set in memory, or rows."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Found:
    """One row as it was found.

    Attributes:
        position: place in the user's data, from 0; unreadable rows count.
        where: the same for people, for instance ``train.jsonl:17``.
        row: the row, or None where it cannot be read.
        problem: why it cannot be read.
    """

    position: int
    where: str
    row: Mapping[str, Any] | None
    problem: str = ""


def read_rows(
    source: Source, *, split: str = "train", revision: str | None = None
) -> Iterator[Found]:
    """All rows of ``source``, in order.

    Args:
        source: JSONL or JSON (by its ending), Parquet, Arrow, a folder (of `save_to_disk`, or of
            such files), a hub id, a data set, or rows.
        split: of a folder or hub id that has several.
        revision: of a hub id.

    Raises:
        ValueError: nothing of that name can be read.
    """
    if not isinstance(source, str | Path):
        yield from _numbered(source, type(source).__name__)
        return
    path = Path(source)
    if path.is_file() and path.suffix in (".jsonl", ".json", ".ndjson"):
        yield from _json(path)
    else:
        yield from _numbered(_dataset(str(source), split, revision), path.name)


def _numbered(rows: Iterable[Mapping[str, Any]], name: str) -> Iterator[Found]:
    for position, row in enumerate(rows):
        yield Found(position=position, where=f"{name}, row {position}", row=row)


def _json(path: Path) -> Iterator[Found]:
    with path.open("rb") as file:
        first = file.read(4096).removeprefix(b"\xef\xbb\xbf").lstrip()[:1]
    if first != b"[":
        yield from _json_lines(path)
        return
    try:
        rows = json.loads(path.read_bytes())
    except ValueError as error:
        raise ValueError(f"{path} is not readable as JSON: {error}") from error
    for position, row in enumerate(rows):
        yield _checked(position, f"{path.name}, entry {position}", row)


def _json_lines(path: Path) -> Iterator[Found]:
    position = 0
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            text = line.removeprefix(b"\xef\xbb\xbf") if number == 1 else line
            if not text.strip():
                continue
            where = f"{path.name}:{number}"
            try:
                yield _checked(position, where, json.loads(text))
            except ValueError as error:  # broken JSON, or bytes that are not UTF-8
                yield Found(position=position, where=where, row=None, problem=str(error))
            position += 1


def _checked(position: int, where: str, row: Any) -> Found:
    if isinstance(row, dict):
        return Found(position=position, where=where, row=row)
    problem = f"a {type(row).__name__} stands where an object with named fields is needed"
    return Found(position=position, where=where, row=None, problem=problem)


def _dataset(name: str, split: str, revision: str | None) -> Iterable[Mapping[str, Any]]:
    from datasets import DatasetDict, load_dataset, load_from_disk

    path = Path(name)
    loaded: Any
    try:
        if path.is_file():
            kind = path.suffix.removeprefix(".")
            loaded = load_dataset(kind, data_files=name, split="train")
        elif path.is_dir() and any(
            (path / mark).exists() for mark in ("state.json", "dataset_dict.json")
        ):
            loaded = load_from_disk(name)
        else:
            loaded = load_dataset(name, split=split, revision=revision)
    except Exception as error:
        raise ValueError(
            f"{name!r} cannot be read as data: {type(error).__name__}: {error}. Give a .jsonl, "
            ".json, .parquet or .arrow file, a folder of such files or of save_to_disk, or a hub "
            "id that can be reached."
        ) from error
    if isinstance(loaded, DatasetDict):
        if split not in loaded:
            raise ValueError(f"{name!r} has no split {split!r}; it has {', '.join(loaded)}")
        loaded = loaded[split]
    rows: Iterable[Mapping[str, Any]] = loaded
    return rows
