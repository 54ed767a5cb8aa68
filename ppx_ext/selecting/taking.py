"""Chosen rows of a data set, written out: a sorted take from each record batch, one read."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ppx_ext.files import write_atomic
from ppx_ext.selecting.order import Positions
from ppx_ext.selecting.sources import JsonRows, Source

GROUP = 1 << 16
"""Rows of a row group or record batch that is written."""


def write_chosen(source: Source, rows: Positions, out: Path) -> None:
    """Write these rows, in the order that ``rows`` has, to a .parquet or .arrow file.

    In ascending order (the data's own) they stream through; any other order, repeats too, is made
    of the chosen rows in memory. The file appears whole or not at all.

    Raises:
        ValueError: a position is not in the data, or ``out`` is of another kind.
        OSError: it cannot be written.
    """
    streams = len(rows) < 2 or bool((np.diff(rows) > 0).all())
    if streams and not isinstance(source, JsonRows):
        write_batches(_groups(taken(source, rows)), out)
        return
    ascending, places = np.unique(rows, return_inverse=True)
    tables = [pa.Table.from_batches([batch]) for batch in taken(source, ascending)]
    if not tables:
        raise ValueError("there is no row to write")
    table = pa.concat_tables(tables, promote_options="permissive").combine_chunks()
    write_batches(iter([table.take(pa.array(places))]), out)


def taken(source: Source, rows: Positions) -> Iterator[pa.RecordBatch]:
    """The rows at these ascending positions, batch by batch.

    Raises:
        ValueError: a position is not in the data.
    """
    done = 0
    for start, batch in source.holding(rows):
        low, high = np.searchsorted(rows, (start, start + len(batch)))
        if low < high:
            done += high - low
            yield batch.take(pa.array(rows[low:high] - start))
    if done < len(rows):
        raise ValueError(
            f"{source.path} lacks {len(rows) - done} of the rows {rows[0]} to {rows[-1]}"
        )


def write_batches(tables: Iterator[pa.Table], out: Path) -> None:
    """Write tables of one schema to a .parquet or .arrow file, whole or not at all.

    Raises:
        ValueError: there is no table, or the file is of another kind.
    """
    if out.suffix not in (".parquet", ".arrow"):
        raise ValueError(f"{out}: chosen rows are written to a .parquet or .arrow file")
    first = next(tables, None)
    if first is None:
        raise ValueError("there is no row to write")

    def write(file: Any) -> None:
        with _writer(file, first.schema, out) as writer:
            table = first
            while table is not None:
                writer.write_table(table, GROUP)
                table = next(tables, None)

    write_atomic(out, write)


def _writer(file: Any, schema: pa.Schema, out: Path) -> Any:
    if out.suffix == ".arrow":
        return pa.ipc.new_stream(file, schema)
    return pq.ParquetWriter(file, schema)


def _groups(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.Table]:
    """Joined to groups that are worth writing, as few rows may come of each batch."""
    waiting: list[pa.RecordBatch] = []
    size = 0
    for batch in batches:
        waiting.append(batch)
        size += len(batch)
        if size >= GROUP:
            yield pa.Table.from_batches(waiting).combine_chunks()
            waiting, size = [], 0
    if waiting:
        yield pa.Table.from_batches(waiting).combine_chunks()
