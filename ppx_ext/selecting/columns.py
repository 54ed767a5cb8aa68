"""Columns of a file as memory maps: read once, in bounded memory, whatever the file's format."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ppx_ext.selecting.distinct import keys_of
from ppx_ext.selecting.order import Array
from ppx_ext.selecting.sources import JsonRows, Source


@dataclass(frozen=True, kw_only=True)
class Columns:
    """Columns of N rows, mapped; None where not asked for.

    Attributes:
        rows: N.
        scores: float64 (float32 where the file has no more) or int64.
        lengths: int64.
        labels: places in ``strata`` (int32).
        strata: the values of the strata's column, in the order of their first rows.
        keys: hashes of the column whose values are to be unique.
    """

    rows: int
    scores: Array | None
    lengths: Array | None
    labels: Array | None
    strata: tuple[Any, ...]
    keys: Array | None = None


def read_columns(
    source: Source,
    folder: Path,
    *,
    by: str | None,
    length: str | None,
    strata: str | None,
    unique: str | None = None,
) -> Columns:
    """Write these columns of ``source`` into ``folder`` as plain numbers, and map them.

    Raises:
        ValueError: a column is not there, or holds something else than it should (a score that is
            null or no number, a length below 0, a row without a stratum or without the value
            that is to be unique); the row is named.
    """
    names = list(dict.fromkeys(name for name in (by, length, strata, unique) if name is not None))
    codes: dict[Any, int] = {}
    files: dict[str, BinaryIO] = {}
    types: dict[str, Any] = {}
    rows = 0
    try:
        for start, batch in source.batches(names):
            rows = start + len(batch)
            given: dict[str, Array | None] = {
                "scores": _scores(batch.column(by), source, by, start) if by else None,
                "lengths": _lengths(batch.column(length), source.path, length, start)
                if length
                else None,
                "labels": _labels(batch.column(strata), source.path, start, codes)
                if strata
                else None,
                "keys": _keys(batch.column(unique), source.path, unique, start) if unique else None,
            }
            for name, values in given.items():
                if values is None:
                    continue
                if name not in files:
                    files[name] = (folder / name).open("wb")
                    types[name] = values.dtype
                if values.dtype != types[name]:
                    was = f"{types[name]} before row {start}, and {values.dtype} from there on"
                    raise ValueError(f"{source.path}: a column changes its type: {was}")
                files[name].write(values.tobytes())
    finally:
        for file in files.values():
            file.close()
    if not rows:
        raise ValueError(f"{source.path} has no row")
    found = {name: np.memmap(folder / name, dtype=types[name], mode="r") for name in files}
    return Columns(
        rows=rows,
        scores=found.get("scores"),
        lengths=found.get("lengths"),
        labels=found.get("labels"),
        strata=tuple(codes),
        keys=found.get("keys"),
    )


def _scores(column: pa.Array, source: Source, name: str, start: int) -> Array:
    kind, path = column.type, source.path
    if pa.types.is_float32(kind) or pa.types.is_float16(kind):
        target = pa.float32()
    elif isinstance(source, JsonRows) and pa.types.is_integer(kind):
        target = pa.float64()  # JSON does not tell 1 from 1.0
    elif pa.types.is_integer(kind):
        target = pa.int64()
    elif pa.types.is_floating(kind) or pa.types.is_null(kind):
        target = pa.float64()
    else:
        raise ValueError(f"{path}: column {name!r} holds {kind}, and scores are numbers")
    values = _numbers(column, target, path, name, start)
    told = f"{path}, row {{}}: {name!r} is not a number; leave such rows out first"
    _refuse(np.isnan(values), told, start)
    return values


def _lengths(column: pa.Array, path: Path, name: str, start: int) -> Array:
    if not (pa.types.is_integer(column.type) or pa.types.is_null(column.type)):
        raise ValueError(
            f"{path}: column {name!r} holds {column.type}, and lengths are whole numbers of tokens"
        )
    values = _numbers(column, pa.int64(), path, name, start)
    _refuse(values < 0, f"{path}, row {{}}: {name!r} is below 0", start)
    return values


def _labels(column: pa.Array, path: Path, start: int, codes: dict[Any, int]) -> Array:
    missing = column.is_null(nan_is_null=True).to_numpy(zero_copy_only=False)
    _refuse(missing, f"{path}, row {{}}: the column of strata is null", start)
    try:
        encoded = pc.dictionary_encode(column)
    except pa.ArrowException as error:
        raise ValueError(f"{path}: a stratum is a string or a number, not {column.type}") from error
    places = [codes.setdefault(value, len(codes)) for value in encoded.dictionary.to_pylist()]
    labels: Array = np.asarray(places, dtype=np.int32)[
        encoded.indices.to_numpy(zero_copy_only=False)
    ]
    return labels


def _keys(column: pa.Array, path: Path, name: str, start: int) -> Array:
    missing = column.is_null().to_numpy(zero_copy_only=False)
    _refuse(missing, f"{path}, row {{}}: {name!r}, which is to be unique, is null", start)
    return keys_of(column)


def _numbers(column: pa.Array, target: pa.DataType, path: Path, name: str, start: int) -> Array:
    missing = column.is_null().to_numpy(zero_copy_only=False)
    _refuse(missing, f"{path}, row {{}}: {name!r} is null; leave such rows out first", start)
    try:
        values: Array = column.cast(target).to_numpy(zero_copy_only=False)
    except pa.ArrowException as error:
        raise ValueError(f"{path}: column {name!r} cannot be read as {target} ({error})") from error
    return values


def _refuse(wrong: Array, message: str, start: int) -> None:
    if wrong.any():
        row = start + int(np.argmax(wrong))
        raise ValueError(message.format(f"{row} (counted from 0)"))
