"""The answers of one job on disk: lines of JSON that are only ever added.

Each opening writes a file of its own, whose first line says of which job, and reads those of all
others, so that processes may share a job without a lock, and a line that was torn when a process
died is never written after: it is left out, and its request is asked again.
"""

from __future__ import annotations

import json
import logging
import os
import time
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, BinaryIO

from ppx_ext.answering import Request, Response
from ppx_ext.contracts import Numbers
from ppx_ext.files import fingerprint

SYNC_SECONDS = 2.0
"""What was answered so long ago survives a loss of power; a killed process loses nothing at all."""

log = logging.getLogger(__name__)


def key_of(request: Request) -> str:
    """Hash (32 hex digits) of all that makes a request: prompt, decoding, seed and prefix."""
    prompt = request.prompt if isinstance(request.prompt, str) else list(map(dict, request.prompt))
    return fingerprint([prompt, asdict(request.decoding), request.seed, request.prefix])


class Ledger:
    """The answers in ``folder``: read at the start, added to as they come.

    Only their places are held in memory, so that a job may have millions.

    Args:
        folder: of the job.
        job: what names it, for whoever reads a file.

    Raises:
        OSError: the folder cannot be made or read.
    """

    def __init__(self, folder: Path, job: Numbers) -> None:
        self.folder = folder
        self._job = job
        folder.mkdir(parents=True, exist_ok=True)
        self._places: dict[bytes, tuple[Path, int]] = {}
        self._readers: dict[Path, BinaryIO] = {}
        self._writer: BinaryIO | None = None
        self._end = 0
        self._synced = time.monotonic()
        for path in sorted(folder.glob("answers-*.jsonl")):
            for key, offset in _whole_lines(path):
                self._places[key] = (path, offset)

    def __len__(self) -> int:
        return len(self._places)

    def get(self, key: str) -> Response | None:
        """The answer that is kept under ``key``, if there is one."""
        place = self._places.get(bytes.fromhex(key))
        if place is None:
            return None
        path, offset = place
        if path not in self._readers:
            self._readers[path] = path.open("rb")
        reader = self._readers[path]
        reader.seek(offset)
        found = json.loads(reader.readline())
        return Response(text=found["text"], finished=found["finished"], tokens=found["tokens"])

    def add(self, key: str, response: Response) -> None:
        """Keep an answer: it is in the file when this returns.

        Raises:
            OSError: there is no room; what was kept before stays whole.
        """
        if self._writer is None:
            path = self.folder / f"answers-{uuid.uuid4().hex}.jsonl"
            self._writer = path.open("xb", buffering=0)
            self._write({"job": self._job})
        start = self._end
        self._write({"key": key, **asdict(response)})
        self._places[bytes.fromhex(key)] = (Path(self._writer.name), start)
        if time.monotonic() - self._synced > SYNC_SECONDS:
            self.sync()

    def _write(self, values: Mapping[str, Any]) -> None:
        assert self._writer is not None
        line = left = json.dumps(values, allow_nan=False).encode() + b"\n"
        try:
            while left:  # a disk that is all but full takes a part of it
                left = left[self._writer.write(left) :]
        except OSError as error:
            self._writer.truncate(self._end)
            self._writer.seek(self._end)
            raise OSError(
                error.errno,
                f"{self._writer.name} cannot be written: {error.strerror or error}. All answers "
                "before this one are kept; make room and run the same command again",
            ) from error
        self._end += len(line)

    def sync(self) -> None:
        """Have all that was added survive a loss of power."""
        if self._writer is not None:
            os.fsync(self._writer.fileno())
        self._synced = time.monotonic()

    def close(self) -> None:
        """Sync, and let go of the files."""
        self.sync()
        for file in (self._writer, *self._readers.values()):
            if file is not None:
                file.close()


def _whole_lines(path: Path) -> Iterator[tuple[bytes, int]]:
    """Key and offset of each line that can be read."""
    offset = 0
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            key = _key(line)
            if key is None and number > 1:
                log.warning(
                    "%s, line %d was torn when a run ended: its request is asked again",
                    path,
                    number,
                )
            elif key is not None:
                yield key, offset
            offset += len(line)


def _key(line: bytes) -> bytes | None:
    if not line.endswith(b"\n"):
        return None
    try:
        found: Any = json.loads(line)
        whole = isinstance(found["text"], str) and {"finished", "tokens"} <= found.keys()
        return bytes.fromhex(found["key"]) if whole else None
    except (ValueError, KeyError, TypeError, AttributeError):
        return None
