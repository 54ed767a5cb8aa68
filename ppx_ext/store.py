"""Per-token scores on disk: written once, a shard at a time, by any number of processes.

A folder for each score: ``<name>-<fingerprint>/00000.arrow, 00001.arrow, ...`` and ``key.json``,
which says in words what the fingerprint stands for. A shard is an Arrow IPC stream with one
``binary`` column: for each row, the bytes of its scores at targets (float16, or float64 where the
scores are the user's own). A shard is there wholly or not at all.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ppx_ext.codec import CODEC, Encoded, Key, decode, encode, encode_rows, quantize
from ppx_ext.contracts import Example
from ppx_ext.examples import Chunk, Examples
from ppx_ext.files import write_atomic, write_json
from ppx_ext.progress import progress
from ppx_ext.stored import Stored, open_shard, stored_in

if TYPE_CHECKING:
    from ppx_ext.contracts import Floats, Places

    Score = Callable[[Sequence[Example]], Sequence[Floats]]
    ScoreAt = Callable[[int, Sequence[Example]], Sequence[Floats] | Floats]

__all__ = [
    "Key",
    "Stored",
    "decode",
    "encode",
    "encode_rows",
    "fill",
    "fill_at",
    "pick",
    "quantize",
    "stored_in",
    "write_shard",
]

WAIT_SECONDS = 30.0
log = logging.getLogger(__name__)


def fill(
    root: Path,
    key: Key,
    examples: Examples,
    score: Score,
    *,
    shard_rows: int,
) -> Stored:
    """Have every row scored and stored; rows that are stored already are not scored again.

    Any number of processes may call this at once with the same arguments: each takes the shards
    that no other works on, and all return when the last one is there. A process that dies gives
    its shard free (the lock is the operating system's).

    Args:
        root: folder of all scores, on a file system with locks.
        key: what the scores depend on.
        examples: the rows.
        score: gives ``float (R,)`` for each example that it is handed.
        shard_rows: rows between two writes; a folder that exists keeps its own.

    Raises:
        ValueError: a score is NaN or infinite or of a wrong shape (the row is named), or a stored
            shard belongs to other rows. Finished shards stay.
        OSError: a shard cannot be written (disk full); it is named.
    """
    return fill_at(root, key, examples, lambda _, rows: score(rows), shard_rows=shard_rows)


def pick(
    root: Path, key: Key, examples: Examples, source: Stored, index_K: Places, *, shard_rows: int
) -> Stored:
    """As `fill`, of rows whose scores lie in ``source`` already, at the places ``index_K``."""

    def read(start: int, rows: Sequence[Example]) -> Sequence[Floats]:
        return source.at(index_K[start : start + len(rows)])

    return fill_at(root, key, examples, read, shard_rows=shard_rows)


def fill_at(root: Path, key: Key, examples: Examples, score: ScoreAt, *, shard_rows: int) -> Stored:
    """As `fill`; ``score`` is also told the place of the first row that it is handed."""
    folder = root / key.folder
    folder.mkdir(parents=True, exist_ok=True)
    rows = _settle_key(folder, key, shard_rows)
    stored = Stored(folder=folder, key=key, rows=len(examples), shard_rows=rows)
    missing = {
        shard: path
        for shard, path in enumerate(stored.shards())
        if not path.exists()
        or not _is_good(path, key, examples.chunk(shard * rows, (shard + 1) * rows))
    }
    if not missing:
        log.info("%s: the scores of all %d rows are there already", key.name, len(examples))
        return stored
    todo = sum(_size(stored, shard) for shard in missing)
    with progress(f"scoring {key.name} (rows)", todo) as advance:
        _fill_missing(missing, stored, examples, score, advance)
    return stored


def _fill_missing(
    missing: dict[int, Path],
    stored: Stored,
    examples: Examples,
    score: ScoreAt,
    advance: Callable[[int], None],
) -> None:
    wait = False
    while missing:
        done: list[int] = []
        for shard, path in missing.items():
            start = shard * stored.shard_rows
            if _finish(path, start, stored, examples, score, wait=wait and not done):
                done.append(shard)
                advance(_size(stored, shard))
        for shard in done:
            del missing[shard]
        wait = not done


def _size(stored: Stored, shard: int) -> int:
    return min(stored.shard_rows, stored.rows - shard * stored.shard_rows)


def _finish(
    path: Path, start: int, stored: Stored, examples: Examples, score: ScoreAt, *, wait: bool
) -> bool:
    """See to it that one shard is there; False where another process is at work on it."""
    from filelock import FileLock, Timeout

    chunk = examples.chunk(start, start + stored.shard_rows)
    if _is_good(path, stored.key, chunk):
        return True
    lock = FileLock(path.with_suffix(".lock"))
    try:
        lock.acquire(timeout=WAIT_SECONDS if wait else 0)
    except Timeout:
        if wait:
            log.info("another process scores the rows from %d on; waiting for it", start)
        return False
    try:
        if not _is_good(path, stored.key, chunk):
            rows = list(chunk.examples(examples.ends))
            write_shard(path, stored.key, chunk, encode_rows(score(start, rows), rows, stored.key))
    finally:
        lock.release()
    return True


def _settle_key(folder: Path, key: Key, shard_rows: int) -> int:
    """Write down what the folder is for, once; its own number of rows in a shard then holds."""
    from filelock import FileLock

    path = folder / "key.json"
    with FileLock(path.with_suffix(".lock")):
        if not path.exists():
            write_json(path, {**key.words(), "shard_rows": shard_rows})
        return int(json.loads(path.read_text())["shard_rows"])


def write_shard(path: Path, key: Key, chunk: Chunk, rows: Encoded) -> None:
    """Write the bytes of one shard's rows, whole or not at all."""
    import pyarrow as pa

    metadata = {
        "ppx_codec": str(CODEC),
        "ppx_score": key.name,
        "ppx_fingerprint": key.fingerprint,
        "ppx_model": str(key.fields.get("model")),
        "ppx_dtype": "float64" if key.exact else "float16",
        "ppx_rows": chunk.digest,
        "ppx_shape": f"({len(chunk)}, {'1' if key.each == 'row' else 'targets of the row'})",
    }
    schema = pa.schema([pa.field(key.name, pa.binary())], metadata=metadata)
    ends = np.cumsum([0, *rows.sizes_N]).astype(np.int32)
    buffers = [None, pa.py_buffer(ends), pa.py_buffer(np.ascontiguousarray(rows.data))]
    column = pa.BinaryArray.from_buffers(pa.binary(), len(chunk), buffers)
    table = pa.table([column], schema=schema)

    def write(file: Any) -> None:
        with pa.ipc.new_stream(file, schema) as writer:
            writer.write_table(table)

    write_atomic(path, write)


def _is_good(path: Path, key: Key, chunk: Chunk) -> bool:
    """Whether the shard is there, whole, and of these very rows.

    Raises:
        ValueError: it is whole, but belongs to other rows.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    if not path.exists():
        return False
    try:
        table = open_shard(path)
        metadata = table.schema.metadata or {}
        found = {name.decode(): value.decode() for name, value in metadata.items()}
        sizes = pc.binary_length(table.column(key.name)).to_numpy()
    except (pa.ArrowException, OSError, KeyError, UnicodeDecodeError) as error:
        log.warning("%s cannot be read (%s): its rows are scored again", path, error)
        return False
    wanted = key.sizes(chunk.targets_N)
    if (
        found.get("ppx_fingerprint") != key.fingerprint
        or found.get("ppx_rows") != chunk.digest
        or not np.array_equal(sizes, wanted)
    ):
        raise ValueError(
            f"{path} holds the scores of other rows than the {len(chunk)} from row "
            f"{chunk.rows_N[0]} on (was a file moved here?). Remove it to have them scored again."
        )
    return True
