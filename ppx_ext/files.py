"""Files that appear whole or not at all, and the hash of plain values."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any


def fingerprint(fields: Any) -> str:
    """Hash (128 bit, hex) of plain JSON values; the order of keys plays no part."""
    text = json.dumps(fields, sort_keys=True, separators=(",", ":"))
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


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
