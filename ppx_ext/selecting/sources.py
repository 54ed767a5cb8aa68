"""Parquet, Arrow and JSON files as record batches, each with the position of its first row."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ppx_ext.readers import Found, read_rows
from ppx_ext.selecting.order import Positions

Batches: TypeAlias = Iterator[tuple[int, pa.RecordBatch]]
JSON = (".jsonl", ".json", ".ndjson")
BLOCK = 1 << 13
KINDS = "Give a .parquet, .arrow, .jsonl or .json file, or a folder of save_to_disk"


class Source(Protocol):
    """Rows on disk."""

    @property
    def path(self) -> Path:
        """Where they are."""

    def batches(self, columns: Sequence[str] | None = None) -> Batches:
        """All rows, or some columns of them, in order."""

    def holding(self, rows: Positions) -> Batches:
        """Batches that hold all of ``rows`` (ascending); others may be left out."""


def open_source(path: Path) -> Source:
    """A file (Parquet, Arrow, JSONL, JSON) or a folder of `Dataset.save_to_disk`.

    Raises:
        ValueError: nothing of that kind can be read there.
    """
    if path.is_dir():
        return _saved(path)
    if path.suffix in JSON:
        return JsonRows(path=path)
    if path.suffix == ".arrow":
        return ArrowRows(path=path, files=(path,))
    if path.suffix != ".parquet":
        raise ValueError(f"{path} is none of the kinds that can be read. {KINDS}")
    try:
        return ParquetRows(path=path, file=pq.ParquetFile(path, memory_map=True))
    except (OSError, pa.ArrowException) as error:
        raise _unreadable(path, error) from error


def _saved(path: Path) -> ArrowRows:
    if (path / "dataset_dict.json").is_file():
        splits = sorted(str(at.parent) for at in path.glob("*/state.json"))
        raise ValueError(f"{path} holds several data sets. Give one: {', '.join(splits)}")
    if not (path / "state.json").is_file():
        raise ValueError(f"{path} is a folder without the state.json of save_to_disk. {KINDS}")
    try:
        state = json.loads((path / "state.json").read_text(encoding="utf-8"))
        names = [file["filename"] for file in state["_data_files"]]
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise _unreadable(path / "state.json", error) from error
    return ArrowRows(path=path, files=tuple(path / name for name in names))


def _unreadable(path: Path, error: Exception) -> ValueError:
    return ValueError(f"{path} cannot be read: it is broken, or of another kind ({error})")


@dataclass(frozen=True, kw_only=True)
class ParquetRows:
    """A Parquet file; row groups without a wanted row are never read."""

    path: Path
    file: pq.ParquetFile

    def batches(self, columns: Sequence[str] | None = None) -> Batches:
        """All rows, or some columns of them, in order."""
        if columns is not None:
            _need(columns, self.file.schema_arrow.names, self.path)
        return _numbered(self.path, self.file.iter_batches(batch_size=1 << 16, columns=columns))

    def holding(self, rows: Positions) -> Batches:
        """Batches of the row groups that hold ``rows``."""
        about = self.file.metadata
        sizes = [about.row_group(at).num_rows for at in range(about.num_row_groups)]
        for group, start in enumerate(itertools.accumulate(sizes[:-1], initial=0)):
            low, high = np.searchsorted(rows, (start, start + sizes[group]))
            if low < high:
                yield from _numbered(self.path, self.file.iter_batches(1 << 16, [group]), start)


@dataclass(frozen=True, kw_only=True)
class ArrowRows:
    """Arrow files (of either format), mapped into memory."""

    path: Path
    files: tuple[Path, ...]

    def batches(self, columns: Sequence[str] | None = None) -> Batches:
        """All rows, or some columns of them, in order."""
        for start, batch in _numbered(self.path, self._all()):
            if columns is not None:
                _need(columns, batch.schema.names, self.path)
                batch = batch.select(columns)
            yield start, batch

    def holding(self, rows: Positions) -> Batches:
        """All batches: what is not taken from a mapped file is not read."""
        return self.batches()

    def _all(self) -> Iterator[pa.RecordBatch]:
        for file in self.files:
            mapped = pa.memory_map(str(file))
            try:
                reader = pa.ipc.open_file(mapped)
            except pa.ArrowInvalid:
                mapped.seek(0)
                yield from pa.ipc.open_stream(mapped)
                if mapped.tell() < mapped.size():  # zeros, too, are read as an end
                    ends = f"its rows end at byte {mapped.tell()} of {mapped.size()}"
                    raise pa.ArrowInvalid(ends) from None
                continue
            yield from (reader.get_batch(at) for at in range(reader.num_record_batches))


@dataclass(frozen=True, kw_only=True)
class JsonRows:
    """JSON or JSON lines; blocks may differ in their schemas."""

    path: Path

    def batches(self, columns: Sequence[str] | None = None) -> Batches:
        """All rows, or some columns of them, in order."""
        found = read_rows(self.path)
        start = 0
        while block := list(itertools.islice(found, BLOCK)):
            yield start, self._batch([_row(each, columns) for each in block], start)
            start += len(block)

    def holding(self, rows: Positions) -> Batches:
        """Blocks that hold ``rows``."""
        found = read_rows(self.path)
        start = 0
        while block := list(itertools.islice(found, BLOCK)):
            low, high = np.searchsorted(rows, (start, start + len(block)))
            if low < high:
                yield start, self._batch([_row(each) for each in block], start)
            start += len(block)

    def _batch(self, rows: list[Mapping[str, Any]], start: int) -> pa.RecordBatch:
        try:
            return pa.RecordBatch.from_struct_array(pa.array(rows))
        except (pa.ArrowException, OverflowError) as error:
            raise ValueError(
                f"{self.path}, rows {start} to {start + len(rows) - 1}: a column holds values of "
                f"different kinds ({error})"
            ) from error


def _row(found: Found, columns: Sequence[str] | None = None) -> Mapping[str, Any]:
    if found.row is None:
        raise ValueError(f"{found.where} cannot be read: {found.problem}")
    if columns is None:
        return found.row
    _need(columns, list(found.row), found.where)
    return {name: found.row[name] for name in columns}


def _need(columns: Sequence[str], there: Sequence[str], where: object) -> None:
    if missing := [name for name in columns if name not in there]:
        raise ValueError(f"{where} has no column {missing[0]!r}; it has {', '.join(there)}")


def _numbered(path: Path, batches: Iterator[pa.RecordBatch], start: int = 0) -> Batches:
    try:
        for batch in batches:
            if len(batch):
                yield start, batch
            start += len(batch)
    except (OSError, pa.ArrowException) as error:
        raise _unreadable(path, error) from error
