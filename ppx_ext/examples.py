"""A tokenised data set -> examples, a chunk of rows at a time, and the hash of what they hold."""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ppx_ext.contracts import GOLD as GOLD
from ppx_ext.contracts import IGNORE, Example
from ppx_ext.contracts import SOURCE as SOURCE
from ppx_ext.tokens import from_labels

if TYPE_CHECKING:
    import numpy.typing as npt
    import pyarrow as pa
    from datasets import Dataset

    from ppx_ext.contracts import Bools, Ints

ROW = "ppx_row"
"""Column with the row's position in the user's data; without it, rows are counted from 0."""

NEEDED = ("input_ids", "labels")
CHUNK_ROWS = 4096
DIGEST_BYTES = 16


@dataclass(frozen=True, kw_only=True, eq=False)
class Chunk:
    """Some rows in flat arrays.

    Args:
        ids: int32, of all rows, one after the other.
        labels: as the host made them, the same length as ``ids``.
        lengths_N: tokens of each row.
        rows_N: position of each row in the user's data.
        columns: other columns, one entry for each row.
    """

    ids: Ints
    labels: npt.NDArray[np.integer[Any]]
    lengths_N: npt.NDArray[np.int64]
    rows_N: npt.NDArray[np.int64]
    columns: Mapping[str, Sequence[Any]]

    def __len__(self) -> int:
        return len(self.lengths_N)

    @functools.cached_property
    def _starts(self) -> npt.NDArray[np.int64]:
        return np.concatenate([[0], np.cumsum(self.lengths_N)])

    @functools.cached_property
    def target(self) -> Bools:
        """True at targets, of all rows, one after the other (token 0 of a row never is one)."""
        target: Bools = self.labels != IGNORE
        target[self._starts[:-1][self.lengths_N > 0]] = False
        return target

    @functools.cached_property
    def targets_N(self) -> npt.NDArray[np.int64]:
        """Number of targets of each row."""
        total = np.concatenate([[0], np.cumsum(self.target)])
        return np.diff(total[self._starts])

    def examples(self, ends: frozenset[int]) -> Iterator[Example]:
        """The rows, one by one; ``ends`` are the ids that end a turn."""
        for at, row in enumerate(self.rows_N.tolist()):
            part = slice(self._starts[at], self._starts[at + 1])
            columns = {name: values[at] for name, values in self.columns.items()}
            yield from_labels(row, self.ids[part], self.labels[part], ends, columns)

    def row_of(self, token: int) -> tuple[int, int]:
        """The user's row, and the place in it, of the flat position ``token``."""
        at = int(np.searchsorted(self._starts, token, side="right")) - 1
        return int(self.rows_N[at]), int(token - self._starts[at])

    @functools.cached_property
    def digest(self) -> str:
        """Hash of ids, targets and positions of these rows."""
        return hashlib.blake2b(b"".join(self._bytes()[:3]), digest_size=DIGEST_BYTES).hexdigest()

    def _bytes(self) -> tuple[bytes, ...]:
        # Each part is a plain concatenation over rows, so that a hash hangs on no chunk's borders.
        places = np.stack([self.rows_N, self.lengths_N], axis=1).astype("<i8")
        others = (
            json.dumps([values[at] for values in self.columns.values()], default=str)
            for at in range(len(self) if self.columns else 0)
        )
        ids = self.ids.astype("<i4", copy=False)
        return places.tobytes(), ids.tobytes(), self.target.tobytes(), "\n".join(others).encode()


@dataclass(frozen=True, kw_only=True)
class Examples:
    """The rows of a tokenised data set as `Example` values, read from Arrow when asked for.

    Args:
        dataset: with the columns ``input_ids`` and ``labels`` (and, where it has one, `ROW`).
        ends: ids that end a turn (`tokens.end_of_turn_ids`).
        columns: other columns that are put into ``Example.columns``.

    Raises:
        ValueError: a column is missing; those that are there are listed.
    """

    dataset: Dataset
    ends: frozenset[int]
    columns: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Check that the columns are there."""
        names = self.dataset.column_names
        missing = [name for name in (*NEEDED, *self.columns) if name not in names]
        if missing:
            raise ValueError(
                f"the data set has no column {', '.join(map(repr, missing))}; it has "
                f"{', '.join(names) or 'none'}"
            )

    def __len__(self) -> int:
        return len(self.dataset)

    def __iter__(self) -> Iterator[Example]:
        for start in range(0, len(self), CHUNK_ROWS):
            yield from self.chunk(start, start + CHUNK_ROWS).examples(self.ends)

    def chunk(self, start: int, stop: int) -> Chunk:
        """Rows ``start`` to ``stop`` (or to the end).

        Raises:
            ValueError: ids and labels differ in length or in place; the row is named.
        """
        table = self._view[start : min(stop, len(self))]
        ids, lengths_N = _flat(table, "input_ids", start)
        labels, label_lengths_N = _flat(table, "labels", start)
        rows = table.column(ROW).to_numpy() if ROW in table.column_names else None
        chunk = Chunk(
            ids=ids.astype(np.int32, copy=False),
            labels=labels,
            lengths_N=lengths_N,
            rows_N=np.arange(start, start + len(lengths_N)) if rows is None else rows,
            columns={name: table.column(name).to_pylist() for name in self.columns},
        )
        _check(chunk, label_lengths_N)
        return chunk

    def fingerprint(self) -> str:
        """Hash of ids, targets, positions and ``columns`` of all rows, in their order."""
        parts = [hashlib.blake2b(digest_size=DIGEST_BYTES) for _ in range(4)]
        for start in range(0, len(self), CHUNK_ROWS):
            pieces = self.chunk(start, start + CHUNK_ROWS)._bytes()
            for part, piece in zip(parts, pieces, strict=True):
                part.update(piece)
        whole = b"".join(part.digest() for part in parts)
        return hashlib.blake2b(whole, digest_size=DIGEST_BYTES).hexdigest()

    @functools.cached_property
    def _view(self) -> Dataset:
        wanted = [name for name in (*NEEDED, ROW, *self.columns) if name in self.dataset.features]
        return self.dataset.select_columns(list(dict.fromkeys(wanted))).with_format("arrow")


def with_rows(dataset: Dataset) -> Dataset:
    """The data set with the column `ROW`: as it is, or the rows counted from 0."""
    if ROW in dataset.column_names:
        return dataset
    return dataset.add_column(ROW, np.arange(len(dataset), dtype=np.int64))


def _flat(table: pa.Table, name: str, start: int) -> tuple[Any, npt.NDArray[np.int64]]:
    """All values of the list column ``name``, and the length of each row."""
    import pyarrow as pa

    column = table.column(name)
    array = column.chunk(0) if column.num_chunks == 1 else pa.concat_arrays(column.chunks)
    flat = array.flatten()
    if array.null_count or flat.null_count:
        rows = f"{start} to {start + table.num_rows}"
        raise ValueError(f"column {name!r} holds an empty (null) value in one of the rows {rows}")
    lengths_N = array.value_lengths().to_numpy(zero_copy_only=False).astype(np.int64)
    return flat.to_numpy(zero_copy_only=False), lengths_N


def _check(chunk: Chunk, label_lengths_N: npt.NDArray[np.int64]) -> None:
    uneven_N = chunk.lengths_N != label_lengths_N
    if uneven_N.any():
        at = int(np.argmax(uneven_N))
        raise ValueError(
            f"row {chunk.rows_N[at]}: {chunk.lengths_N[at]} input_ids but {label_lengths_N[at]} "
            f"labels; a tokenised data set needs one label for each id ({IGNORE} where there is "
            "no loss)"
        )
    wrong = (chunk.labels != IGNORE) & (chunk.labels != chunk.ids)
    if wrong.any():
        token = int(np.argmax(wrong))
        row, place = chunk.row_of(token)
        raise ValueError(
            f"row {row}: the label at token {place} is {chunk.labels[token]}, but the id there is "
            f"{chunk.ids[token]}. Labels must repeat the ids where there is loss and be {IGNORE} "
            "elsewhere; they are not shifted by one (the trainer does that)."
        )
