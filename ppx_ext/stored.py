"""Scores that lie on disk, whole: read in the order of rows, or at any places."""

from __future__ import annotations

import functools
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ppx_ext.codec import Key, decode

if TYPE_CHECKING:
    import pyarrow as pa
    from datasets import Dataset

    from ppx_ext.contracts import Floats, Places


@dataclass(frozen=True, kw_only=True)
class Stored:
    """One score of a data set, on disk and whole.

    Attributes:
        folder: where its shards lie.
        key: what it is.
        rows: rows of the data set.
        shard_rows: rows in each shard but the last.
    """

    folder: Path
    key: Key
    rows: int
    shard_rows: int

    def __iter__(self) -> Iterator[Floats]:
        for path in self.shards():
            for stored in open_shard(path).column(self.key.name).to_pylist():
                yield decode(stored, exact=self.key.exact)

    def at(self, places: Places | range) -> Sequence[Floats]:
        """The scores of the rows at these places, in their order."""
        return [decode(self._bytes[int(at)].as_py(), exact=self.key.exact) for at in places]

    def flat(self) -> Floats:
        """The scores of all rows in one array; of a score of whole rows, float64 (N,)."""
        kind = "<f8" if self.key.exact else "<f2"
        # A shard is one chunk that starts at its file's beginning: its third buffer is all of it.
        parts = [chunk.buffers()[2] for chunk in self._bytes.chunks]
        return np.concatenate([np.frombuffer(part, dtype=kind) for part in parts])

    @functools.cached_property
    def _bytes(self) -> pa.ChunkedArray:
        import pyarrow as pa

        columns = [open_shard(path).column(self.key.name) for path in self.shards()]
        return pa.chunked_array([chunk for column in columns for chunk in column.chunks])

    def shards(self) -> list[Path]:
        """The files, in the order of rows."""
        count = -(-self.rows // self.shard_rows)
        return [self.folder / f"{shard:05d}.arrow" for shard in range(count)]

    def dataset(self, column: str) -> Dataset:
        """The stored bytes as a memory-mapped data set of one ``binary`` column.

        To be joined with ``datasets.concatenate_datasets([rows, scores], axis=1)``.
        """
        from datasets import Dataset, concatenate_datasets

        parts = [Dataset.from_file(str(path)) for path in self.shards()]
        return concatenate_datasets(parts).rename_column(self.key.name, column)


def stored_in(folder: Path, rows: int) -> Stored:
    """A score that `store.fill` has finished, by its folder.

    Raises:
        ValueError: its key or one of its shards is missing.
    """
    path = folder / "key.json"
    if not path.exists():
        raise ValueError(f"{path} is missing: the scores were moved or removed; make them again")
    fields = json.loads(path.read_text())
    shard_rows, name, exact = (fields.pop(key) for key in ("shard_rows", "score", "exact"))
    each = fields.pop("each", "target")
    fields.pop("codec")
    key = Key(name=name, exact=exact, fields=fields, each=each)
    stored = Stored(folder=folder, key=key, rows=rows, shard_rows=shard_rows)
    missing = [path.name for path in stored.shards() if not path.exists()]
    if missing:
        raise ValueError(f"{folder} lacks {', '.join(missing)}; make the scores again")
    return stored


def open_shard(path: Path) -> pa.Table:
    """One file of scores, memory-mapped."""
    import pyarrow as pa

    with pa.memory_map(str(path)) as source:
        return pa.ipc.open_stream(source).read_all()
