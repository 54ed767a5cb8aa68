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
from ppx_ext.examples import Chunk, Examples

if TYPE_CHECKING:
    import pyarrow as pa
    from datasets import Dataset

    from ppx_ext.contracts import Floats

    Score = Callable[[Sequence[Example]], Sequence[Floats]]

CODEC = 1
"""Changes with the layout of a shard, so that an old one is never misread."""

WAIT_SECONDS = 30.0
_NAME = re.compile(r"[A-Za-z0-9_]+")
log = logging.getLogger(__name__)


def fingerprint(fields: Any) -> str:
    """Hash (128 bit, hex) of plain JSON values; the order of keys plays no part."""
    text = json.dumps(fields, sort_keys=True, separators=(",", ":"))
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


@dataclass(frozen=True, kw_only=True)
class Key:
    """What a score depends on: all of it takes part in the name of its folder.

    Args:
        name: the score's name.
        exact: float64 is kept as given; else float16.
        fields: plain JSON values (data, scorer, settings, model, dtype).

    Raises:
        ValueError: the name cannot be that of a folder and a column.
    """

    name: str
    exact: bool
    fields: Mapping[str, Any]

    def __post_init__(self) -> None:
        """Check the name."""
        if not _NAME.fullmatch(self.name):
            raise ValueError(
                f"score name {self.name!r}: only letters, digits and underscores may be used"
            )

    def words(self) -> dict[str, Any]:
        """All that the fingerprint is made of."""
        return {"score": self.name, "exact": self.exact, "codec": CODEC, **self.fields}

    @property
    def fingerprint(self) -> str:
        """Hash of all that the score depends on."""
        return fingerprint(self.words())

    @property
    def folder(self) -> str:
        """Name of the score's folder."""
        return f"{self.name}-{self.fingerprint}"


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
        rows: rows of the data set.
        shard_rows: rows in each shard but the last.
    """

    folder: Path
    key: Key
    rows: int
    shard_rows: int

    def __iter__(self) -> Iterator[Floats]:
        for path in self.shards():
            for stored in _open(path).column(self.key.name).to_pylist():
                yield decode(stored, exact=self.key.exact)

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


def fill(
    root: Path,
    key: Key,
    examples: Examples,
    score: Score,
    *,
    shard_rows: int,
    advance: Callable[[int], object] = lambda rows: None,
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
        advance: told how many more rows are done, here or elsewhere.

    Raises:
        ValueError: a score is NaN or infinite or of a wrong shape (the row is named), or a stored
            shard belongs to other rows. Finished shards stay.
        OSError: a shard cannot be written (disk full); it is named.
    """
    folder = root / key.folder
    folder.mkdir(parents=True, exist_ok=True)
    rows = _settle_key(folder, key, shard_rows)
    stored = Stored(folder=folder, key=key, rows=len(examples), shard_rows=rows)
    missing = dict(enumerate(stored.shards()))
    wait = False
    while missing:
        done: list[int] = []
        for shard, path in missing.items():
            if _finish(path, shard * rows, stored, examples, score, wait=wait and not done):
                done.append(shard)
                advance(min(rows, len(examples) - shard * rows))
        for shard in done:
            del missing[shard]
        wait = not done
    return stored


def _finish(
    path: Path, start: int, stored: Stored, examples: Examples, score: Score, *, wait: bool
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
            _write(path, stored.key, chunk, encode_rows(score(rows), rows, stored.key))
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


def encode_rows(values: Sequence[Floats], examples: Sequence[Example], key: Key) -> list[bytes]:
    """The bytes of each row, checked.

    Raises:
        ValueError: a row is missing, of another length, not finite or beyond float16; it is named.
    """
    if len(values) != len(examples):
        raise ValueError(
            f"the scorer of {key.name!r} returned {len(values)} results for {len(examples)} rows"
        )
    return [
        _encode_row(scores_R, example, key)
        for scores_R, example in zip(values, examples, strict=True)
    ]


def _encode_row(scores_R: Floats, example: Example, key: Key) -> bytes:
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
        raise ValueError(f"row {example.row}, score {key.name!r}: {error}") from error


def _write(path: Path, key: Key, chunk: Chunk, values: Sequence[bytes]) -> None:
    import pyarrow as pa

    metadata = {
        "ppx_codec": str(CODEC),
        "ppx_score": key.name,
        "ppx_fingerprint": key.fingerprint,
        "ppx_model": str(key.fields.get("model")),
        "ppx_dtype": "float64" if key.exact else "float16",
        "ppx_rows": chunk.digest(),
        "ppx_shape": f"({len(chunk)}, targets of the row)",
    }
    schema = pa.schema([pa.field(key.name, pa.binary())], metadata=metadata)
    table = pa.table([pa.array(values, type=pa.binary())], schema=schema)

    def write(file: Any) -> None:
        with pa.ipc.new_stream(file, schema) as writer:
            writer.write_table(table)

    write_atomic(path, write)


def write_json(path: Path, values: Mapping[str, Any]) -> None:
    """Write plain JSON values, keys sorted, whole or not at all."""
    text = json.dumps(values, indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n"
    write_atomic(path, lambda file: file.write(text.encode()))


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
            f"{path} cannot be written: {error.strerror or error}. What was finished is kept; "
            "make room and run the same command again",
        ) from error


def _open(path: Path) -> pa.Table:
    import pyarrow as pa

    with pa.memory_map(str(path)) as source:
        return pa.ipc.open_stream(source).read_all()


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
        table = _open(path)
        metadata = table.schema.metadata or {}
        found = {name.decode(): value.decode() for name, value in metadata.items()}
        sizes = pc.binary_length(table.column(key.name)).to_numpy()
    except (pa.ArrowException, OSError, KeyError, UnicodeDecodeError) as error:
        log.warning("%s cannot be read (%s): its rows are scored again", path, error)
        return False
    wanted = chunk.targets_N * (8 if key.exact else 2)
    if (
        found.get("ppx_fingerprint") != key.fingerprint
        or found.get("ppx_rows") != chunk.digest()
        or not np.array_equal(sizes, wanted)
    ):
        raise ValueError(
            f"{path} holds the scores of other rows than the {len(chunk)} from row "
            f"{chunk.rows_N[0]} on (was a file moved here?). Remove it to have them scored again."
        )
    return True
