"""Verdicts on disk by the content of their rows: lines of JSON that are only ever added."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from types import TracebackType
from typing import Any

from ppx_ext.answering import Verdict
from ppx_ext.contracts import Row

_FILE = "verdicts.jsonl"


def key_of(row: Row) -> str:
    """Hash (32 hex digits) of a row's columns and their values."""
    text = json.dumps(row, sort_keys=True, separators=(",", ":"), default=repr)
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


class Kept:
    """The verdicts in a folder, read at the start and added to.

    Raises:
        OSError: the folder cannot be made or read.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(exist_ok=True)
        path = folder / _FILE
        self._verdicts: dict[str, dict[str, str]] = {}
        torn = False
        if path.exists():
            with path.open("rb") as file:
                for line in file:
                    torn = not line.endswith(b"\n")
                    self._read(line)
        self._file = path.open("ab")
        if torn:  # the process died while it wrote: its line ends here, and is asked again
            self._file.write(b"\n")

    def _read(self, line: bytes) -> None:
        try:
            found = json.loads(line)
            self._verdicts[found.pop("key")] = found
        except (ValueError, KeyError, AttributeError):
            pass

    def __contains__(self, key: str) -> bool:
        return key in self._verdicts

    def __len__(self) -> int:
        return len(self._verdicts)

    def get(self, key: str) -> dict[str, str]:
        """The columns ``verdict``, ``reason`` and ``judge`` of a row."""
        return self._verdicts[key]

    def add(self, key: str, verdict: Verdict) -> None:
        """Keep a verdict; it is on disk after `sync`."""
        printable = verdict.reason.encode("utf-8", "backslashreplace").decode()
        said: dict[str, Any] = {
            "verdict": verdict.judgement.value,
            "reason": printable,
            "judge": verdict.judge,
        }
        self._verdicts[key] = said
        self._file.write(json.dumps({"key": key, **said}).encode() + b"\n")

    def sync(self) -> None:
        """Have all that was added survive a kill, and a loss of power."""
        self._file.flush()
        os.fsync(self._file.fileno())

    def __enter__(self) -> Kept:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._file.close()
