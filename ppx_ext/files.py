"""Files that appear whole or not at all, and the hash of plain values."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from typing import Any


def fingerprint(fields: Any) -> str:
    """Hash (128 bit, hex) of plain JSON values; the order of keys plays no part."""
    text = json.dumps(fields, sort_keys=True, separators=(",", ":"))
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def fingerprint_with_files(values: Any, *, places: Collection[str] = ()) -> str:
    """Hash of plain values, and of size and time of the files and folders that they name.

    What lies under keys called like one of ``places`` is hashed by its name alone.
    """
    files = {name: _state(Path(name)) for name in sorted(set(_strings(values, places)))}
    return fingerprint([values, {name: state for name, state in files.items() if state}])


def _strings(values: Any, places: Collection[str]) -> Iterator[str]:
    if isinstance(values, str):
        yield values
    elif isinstance(values, Mapping):
        for key, value in values.items():
            if key not in places:
                yield from _strings(value, places)
    elif isinstance(values, list | tuple):
        for value in values:
            yield from _strings(value, places)


def _state(path: Path) -> list[Any]:
    if len(str(path)) > 1024 or not path.exists():
        return []
    files = sorted(path.rglob("*")) if path.is_dir() else [path]
    stats = [(str(file), file.stat()) for file in files if file.is_file()]
    return [[name, stat.st_size, stat.st_mtime_ns] for name, stat in stats]


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
    except BaseException as error:
        temporary.unlink(missing_ok=True)
        if not isinstance(error, OSError):
            raise
        raise OSError(
            error.errno,
            f"{path} cannot be written: {error.strerror or error}. What was finished is kept; "
            "make room and run the same command again",
        ) from error
