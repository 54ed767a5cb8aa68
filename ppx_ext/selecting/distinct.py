"""The first of rows that have the same value, by 128-bit hashes, part by part in bounded memory."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import numpy as np
import pyarrow as pa

from ppx_ext.selecting.order import Array, Positions

KEY = np.dtype([("part", "<u8"), ("rest", "<u8")])
PART = 1 << 21
CHUNK = 1 << 20


def keys_of(column: pa.Array) -> Array:
    """A 128-bit hash (dtype ``KEY``) of each value: of text, numbers, lists or structures.

    Fields that are null count as fields that are not there, as JSON's blocks may differ in them.
    """
    digests = (
        hashlib.blake2b(_bytes(value), digest_size=16).digest() for value in column.to_pylist()
    )
    return np.frombuffer(b"".join(digests), dtype=KEY)


def firsts(keys: Array) -> Positions:
    """Positions, ascending, of the rows whose key no earlier row has.

    Args:
        keys: of the rows; a memory map is never copied whole.
    """
    parts = max(len(keys) // PART, 1)
    found = []
    for part in range(parts):
        at = np.concatenate(
            [_of_part(keys, start, part, parts) for start in range(0, len(keys), CHUNK)]
            or [np.empty(0, dtype=np.int64)]
        )
        here = keys[at]
        order = np.lexsort((here["rest"], here["part"]))  # stable: the first of equals is first
        new = np.ones(len(order), dtype=bool)
        new[1:] = here[order[1:]] != here[order[:-1]]
        found.append(at[order[new]])
    return np.sort(np.concatenate(found))


def _of_part(keys: Array, start: int, part: int, parts: int) -> Positions:
    chunk = keys["part"][start : start + CHUNK]
    return np.flatnonzero(chunk % np.uint64(parts) == part) + start


def _bytes(value: Any) -> bytes:
    if isinstance(value, str):
        return b'"' + value.encode(errors="surrogatepass")  # not that of the number it may spell
    return json.dumps(_bare(value), sort_keys=True, default=repr).encode()


def _bare(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _bare(inner) for name, inner in value.items() if inner is not None}
    if isinstance(value, list):
        return [_bare(inner) for inner in value]
    return value
