"""A tokenised data set -> examples, a shard of rows at a time, and the hash of what they hold."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ppx_ext.contracts import IGNORE, Example
from ppx_ext.tokens import from_labels

if TYPE_CHECKING:
    import pyarrow as pa
    from datasets import Dataset

    from ppx_ext.contracts import Ints

ROW = "ppx_row"
"""Column with the row's position in the user's data; without it, rows are counted from 0."""

NEEDED = ("input_ids", "labels")
HASH_ROWS = 4096


@dataclass(frozen=True, kw_only=True)
class Examples:
    """The rows of a tokenised data set as `Example` values, read from Arrow when asked for.

    Args:
        dataset: with the columns ``input_ids`` and ``labels`` (and, where it has one, `ROW`).
        ends: ids that end a turn (`tokens.end_of_turn_ids`).
        columns: other columns that are put into ``Example.columns``.
    """

    dataset: Dataset
    ends: frozenset[int]
    columns: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Check that the columns are there.

        Raises:
            ValueError: one is missing; the columns are listed.
        """
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
        for start in range(0, len(self), HASH_ROWS):
            yield from self.between(start, start + HASH_ROWS)

    def between(self, start: int, stop: int) -> list[Example]:
        """Rows ``start`` to ``stop`` (or the end).

        Raises:
            ValueError: ids and labels differ in length or in place; the row is named.
        """
        table = self._table(start, stop)
        ids, labels = (_rows(table, name, start) for name in NEEDED)
        others = {name: table.column(name).to_pylist() for name in self.columns}
        positions = _positions(table, start)
        found = []
        for at, (ids_T, labels_T, row) in enumerate(zip(ids, labels, positions, strict=True)):
            columns = {name: values[at] for name, values in others.items()}
            example = from_labels(row, ids_T, labels_T, self.ends, columns)
            _check_labels(example, labels_T)
            found.append(example)
        return found

    def fingerprint(self) -> str:
        """Hash of ids, targets, positions and ``columns`` of all rows, in their order."""
        parts = [hashlib.blake2b(digest_size=16) for _ in range(4)]
        for start in range(0, len(self), HASH_ROWS):
            for part, chunk in zip(
                parts, _bytes(self.between(start, start + HASH_ROWS)), strict=True
            ):
                part.update(chunk)
        return hashlib.blake2b(
            b"".join(part.digest() for part in parts), digest_size=16
        ).hexdigest()

    def _table(self, start: int, stop: int) -> pa.Table:
        wanted = [name for name in (*NEEDED, ROW, *self.columns) if name in self.dataset.features]
        view = self.dataset.select_columns(wanted).with_format("arrow")
        return view[start : min(stop, len(self))]


def shard_hash(examples: Sequence[Example]) -> str:
    """Hash of ids and targets of some rows, which a shard of scores carries."""
    return hashlib.blake2b(b"".join(_bytes(examples)[:3]), digest_size=16).hexdigest()


def _bytes(examples: Sequence[Example]) -> tuple[bytes, bytes, bytes, bytes]:
    # Each part is a plain concatenation over rows, so that the hash hangs on no chunk borders.
    places = [(example.row, len(example.ids_T)) for example in examples]
    others = "".join(_json(example.columns) for example in examples if example.columns)
    return (
        np.asarray(places, dtype="<i8").tobytes(),
        b"".join(example.ids_T.astype("<i4").tobytes() for example in examples),
        b"".join(example.target_T.tobytes() for example in examples),
        others.encode(),
    )


def _json(value: Any) -> str:
    return json.dumps(value, sort_keys=True, default=str) + "\n"


def _rows(table: pa.Table, name: str, start: int) -> list[Ints]:
    """The list column ``name`` as one flat view for each row."""
    import pyarrow as pa

    column = table.column(name)
    array = pa.concat_arrays(column.chunks) if column.num_chunks != 1 else column.chunk(0)
    flat = array.flatten()
    if array.null_count or flat.null_count:
        raise ValueError(f"column {name!r} holds an empty (null) value near row {start}")
    ends = np.cumsum(array.value_lengths().to_numpy(zero_copy_only=False))
    return np.split(flat.to_numpy(zero_copy_only=False), ends[:-1]) if len(ends) else []


def _positions(table: pa.Table, start: int) -> list[int]:
    if ROW in table.column_names:
        return list(table.column(ROW).to_pylist())
    return list(range(start, start + table.num_rows))


def _check_labels(example: Example, labels_T: Ints) -> None:
    wrong_T = (labels_T != IGNORE) & (labels_T != example.ids_T)
    if wrong_T.any():
        at = int(np.argmax(wrong_T))
        raise ValueError(
            f"row {example.row}: the label at token {at} is {labels_T[at]}, but the id there is "
            f"{example.ids_T[at]}. Labels must repeat the ids where there is loss and be {IGNORE} "
            "elsewhere; they are not shifted by one (the trainer does that)."
        )
