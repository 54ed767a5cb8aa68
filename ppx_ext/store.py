"""Per-token scores on disk: written once, a shard at a time, by any number of processes.

A folder for each score: ``<name>-<fingerprint>/00000.arrow, 00001.arrow, ...`` and ``key.json``,
which says in words what the fingerprint stands for. A shard is an Arrow IPC stream with one
``binary`` column: for each row, the bytes of its scores at targets (float16, or float64 where the
scores are the user's own). A shard is there wholly or not at all.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ppx_ext.contracts import Example
from ppx_ext.examples import Examples, shard_hash

if TYPE_CHECKING:
    import pyarrow as pa
    from datasets import Dataset

    from ppx_ext.contracts import Floats

    Score = Callable[[Sequence[Example]], Sequence[Floats]]

CODEC = 1
POLL_SECONDS = 0.2
WAIT_NOTE_SECONDS = 30.0
_NAME = re.compile(r"[A-Za-z0-9_]+")
log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Key:
    """What a score depends on: all of it takes part in the name of its folder.

    Args:
        name: the score's name.
        exact: float64 is kept as given; else float16.
        fields: plain JSON values (data, scorer, settings, model, dtype).
    """

    name: str
    exact: bool
    fields: Mapping[str, Any]

    def __post_init__(self) -> None:
        """Check the name, which becomes a folder and a column.

        Raises:
            ValueError: it holds anything but letters, digits and underscores.
        """
        if not _NAME.fullmatch(self.name):
            raise ValueError(
                f"score name {self.name!r}: only letters, digits and underscores may be used"
            )

    @property
    def fingerprint(self) -> str:
        """Hash of the codec, ``exact`` and all fields."""
        return fingerprint({"codec": CODEC, "exact": self.exact, **self.fields})

    @property
    def folder(self) -> str:
        """Name of the score's folder."""
        return f"{self.name}-{self.fingerprint}"


def fingerprint(fields: Any) -> str:
    """Hash (128 bit, hex) of plain JSON values; the order of keys plays no part."""
    text = json.dumps(fields, sort_keys=True, separators=(",", ":"))
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def quantize(scores_R: Floats, *, exact: bool = False) -> Floats:
    """Scores at the precision they are stored with; every mask is decided on these values.

    Raises:
        ValueError: a finite score does not fit (float16 ends at 65504).
    """
    return decode(encode(scores_R, exact=exact), exact=exact)


def encode(scores_R: Floats, *, exact: bool = False) -> bytes:
    """Bytes of one row's scores: float16, or float64 where ``exact``. See `quantize`."""
    if exact:
        return np.asarray(scores_R, dtype="<f8").tobytes()
    with np.errstate(over="ignore"):
        half_R = np.asarray(scores_R).astype("<f2")
    lost_R = np.isinf(half_R) & np.isfinite(scores_R)
    if lost_R.any():
        raise ValueError(
            f"score {np.asarray(scores_R)[lost_R][0]} is beyond float16 (65504); a scorer of such "
            "values must be declared with exact=True"
        )
    return half_R.tobytes()


def decode(stored: bytes, *, exact: bool = False) -> Floats:
    """Scores (R,) of one row: float32 from float16 bytes, float64 where ``exact``."""
    if exact:
        return np.frombuffer(stored, dtype="<f8")
    return np.frombuffer(stored, dtype="<f2").astype(np.float32)


@dataclass(frozen=True, kw_only=True)
class Stored:
    """One score of a data set, on disk and whole.

    Attributes:
        folder: where its shards lie.
        key: what it is.
        examples: the rows it speaks of.
        shard_rows: rows in each shard but the last.
    """

    folder: Path
    key: Key
    examples: Examples
    shard_rows: int

    def __iter__(self) -> Iterator[Floats]:
        for shard in range(_shards(self.examples, self.shard_rows)):
            for stored in self.column(shard).to_pylist():
                yield decode(stored, exact=self.key.exact)

    def column(self, shard: int) -> pa.ChunkedArray:
        """The bytes of one shard's rows, memory-mapped."""
        return _open(_path(self.folder, shard)).column(self.key.name)

    def dataset(self, column: str) -> Dataset:
        """The stored bytes as a memory-mapped data set of one ``binary`` column."""
        from datasets import Dataset, concatenate_datasets

        shards = range(_shards(self.examples, self.shard_rows))
        parts = [Dataset.from_file(str(_path(self.folder, shard))) for shard in shards]
        return concatenate_datasets(parts).rename_column(self.key.name, column)


def fill(
    root: Path,
    key: Key,
    examples: Examples,
    score: Score,
    *,
    shard_rows: int,
    advance: Callable[[int], None] = lambda rows: None,
) -> Stored:
    """Have every row scored and stored; rows that are stored already are not scored again.

    Any number of processes may call this at once with the same arguments: each takes the shards
    that no other works on, and all return when the last one is there. A process that dies gives
    its shard free.

    Args:
        root: folder of all scores.
        key: what the scores depend on.
        examples: the rows.
        score: gives ``float (R,)`` for each example that it is handed.
        shard_rows: rows between two writes; a folder that exists keeps its own.
        advance: told how many more rows are done, here or elsewhere.

    Raises:
        ValueError: a score is NaN or infinite or of a wrong shape (the row is named), or a stored
            shard belongs to other rows. Finished shards stay.
        OSError: the shard cannot be written (disk full); it is named.
    """
    folder = root / key.folder
    folder.mkdir(parents=True, exist_ok=True)
    rows = _settle_key(folder, key, shard_rows)
    stored = Stored(folder=folder, key=key, examples=examples, shard_rows=rows)
    missing = set(range(_shards(examples, rows)))
    wait = False
    while missing:
        before = len(missing)
        for shard in sorted(missing):
            if _finish(stored, shard, score, wait=wait):
                missing.discard(shard)
                advance(min(rows, len(examples) - shard * rows))
                wait = False
        wait = len(missing) == before
    return stored


def _finish(stored: Stored, shard: int, score: Score, *, wait: bool) -> bool:
    """Make sure of one shard; False where another process is at work on it."""
    from filelock import FileLock, Timeout

    start = shard * stored.shard_rows
    examples = stored.examples.between(start, start + stored.shard_rows)
    path = _path(stored.folder, shard)
    if _is_good(path, stored.key, examples):
        return True
    lock = FileLock(path.with_suffix(".lock"))
    try:
        lock.acquire(timeout=WAIT_NOTE_SECONDS if wait else 0, poll_interval=POLL_SECONDS)
    except Timeout:
        if wait:
            log.info("waiting for another process to score rows %d and on", start)
        return False
    try:
        if not _is_good(path, stored.key, examples):
            _write(path, stored.key, examples, _encoded(score(examples), examples, stored.key))
    finally:
        lock.release()
    return True


def _shards(examples: Examples, shard_rows: int) -> int:
    return -(-len(examples) // shard_rows)


def _path(folder: Path, shard: int) -> Path:
    return folder / f"{shard:05d}.arrow"


def _settle_key(folder: Path, key: Key, shard_rows: int) -> int:
    """Write down what the folder is for, once; its own number of rows in a shard then holds."""
    from filelock import FileLock

    path = folder / "key.json"
    with FileLock(path.with_suffix(".lock")):
        if not path.exists():
            words = {"score": key.name, "exact": key.exact, "codec": CODEC, **key.fields}
            text = json.dumps({**words, "shard_rows": shard_rows}, indent=1, sort_keys=True)
            write_atomic(path, lambda file: file.write(text.encode() + b"\n"))
        return int(json.loads(path.read_text())["shard_rows"])


def _encoded(values: Sequence[Floats], examples: Sequence[Example], key: Key) -> list[bytes]:
    if len(values) != len(examples):
        raise ValueError(
            f"the scorer of {key.name!r} returned {len(values)} results for {len(examples)} rows"
        )
    return [
        _checked(scores_R, example, key) for scores_R, example in zip(values, examples, strict=True)
    ]


def _checked(scores_R: Floats, example: Example, key: Key) -> bytes:
    targets = int(example.target_T.sum())
    if np.shape(scores_R) != (targets,):
        raise ValueError(
            f"row {example.row}: the scorer of {key.name!r} returned shape {np.shape(scores_R)}; "
            f"it must be ({targets},), one score for each target"
        )
    if not np.isfinite(scores_R).all():
        at = int(np.argmin(np.isfinite(scores_R)))
        token = int(np.flatnonzero(example.target_T)[at])
        raise ValueError(
            f"row {example.row}: score {key.name!r} is {scores_R[at]} at token {token} (id "
            f"{example.ids_T[token]}). A model that overflows gives such values: try "
            "`scoring: {dtype: float32}`, or take the row out. Finished rows are kept."
        )
    try:
        return encode(scores_R, exact=key.exact)
    except ValueError as error:
        raise ValueError(f"row {example.row}: {error}") from error


def _write(path: Path, key: Key, examples: Sequence[Example], values: Sequence[bytes]) -> None:
    import pyarrow as pa

    metadata = {
        "ppx_codec": str(CODEC),
        "ppx_score": key.name,
        "ppx_fingerprint": key.fingerprint,
        "ppx_model": str(key.fields.get("model")),
        "ppx_dtype": "float64" if key.exact else "float16",
        "ppx_rows": shard_hash(examples),
        "ppx_first_row": str(examples[0].row),
    }
    schema = pa.schema([pa.field(key.name, pa.binary())], metadata=metadata)
    table = pa.table([pa.array(values, type=pa.binary())], schema=schema)

    def write(file: Any) -> None:
        with pa.ipc.new_stream(file, schema) as writer:
            writer.write_table(table)

    write_atomic(path, write)


def write_atomic(path: Path, write: Callable[[Any], object]) -> None:
    """Have ``write(file)`` fill a file that appears under ``path`` whole, or not at all.

    Raises:
        OSError: it cannot be written; nothing half-made is left.
    """
    temporary = path.with_name(path.name + ".tmp")
    try:
        with temporary.open("wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise OSError(
            error.errno,
            f"{path} cannot be written ({error.strerror or error}). What was finished is kept: "
            "make room, then run the same command again",
        ) from error


def _open(path: Path) -> pa.Table:
    import pyarrow as pa

    with pa.memory_map(str(path)) as source:
        return pa.ipc.open_stream(source).read_all()


def _is_good(path: Path, key: Key, examples: Sequence[Example]) -> bool:
    """Whether the shard is there, readable and of these very rows."""
    import pyarrow as pa

    if not path.exists():
        return False
    try:
        table = _open(path)
        rows = table.num_rows
        metadata = {name.decode(): value.decode() for name, value in table.schema.metadata.items()}
        lengths = table.column(key.name).combine_chunks().cast(pa.binary())
        sizes = [len(value) for value in lengths.to_pylist()]
    except (pa.ArrowException, OSError, KeyError, AttributeError, UnicodeDecodeError) as error:
        log.warning("%s cannot be read (%s): its rows are scored again", path, error)
        return False
    width = 8 if key.exact else 2
    wanted = [width * int(example.target_T.sum()) for example in examples]
    mended = "Remove that file to have its rows scored again."
    if metadata.get("ppx_rows") != shard_hash(examples) or rows != len(examples):
        raise ValueError(f"{path} holds the scores of other rows than these. {mended}")
    if sizes != wanted or metadata.get("ppx_fingerprint") != key.fingerprint:
        raise ValueError(f"{path} does not fit its rows (number of scores). {mended}")
    return True
