"""Sessions on this machine: bubblewrap and nsjail, made tighter than llm-sandbox makes them.

llm-sandbox gives namespaces, no network, no rights, seccomp, an empty environment and a limit on
output. Added here: nothing but a small memory file system can be written, a job comes through a
pipe that is empty before the program starts, and root runs it as a user who counts.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from llm_sandbox.bubblewrap import BubblewrapSession
from llm_sandbox.nsjail import NsjailSession

from ppx_judges.job import FOLDER, NOBODY, start
from ppx_judges.sandbox import Shown


class _Tight:
    """What both have in common; a mixin before a session of llm-sandbox."""

    tempdir: Path
    workspace: Path

    def __init__(self, *, shown: Shown, harness: Path, **options: Any) -> None:
        self._shown, self._harness = shown, harness
        self._job: int | None = None
        super().__init__(**options)

    def furnish(self) -> None:
        """Put the checker in."""
        shutil.copytree(self._harness, self.workspace, dirs_exist_ok=True)
        self._give_away()

    def hand_over(self, text: str) -> tuple[str, str]:
        """Let the next command read ``text``; the command, and what it is to read from."""
        self._job, writing = os.pipe()
        threading.Thread(target=_write, args=(writing, text.encode()), daemon=True).start()
        return f"exec {start(self._shown.python, FOLDER)}", str(self._job)

    @contextlib.contextmanager
    def _launch_command(
        self, command: str, workdir: str
    ) -> Iterator[tuple[list[str], tuple[int, ...]]]:
        job, self._job = self._job, None
        try:
            self._give_away(whole=False)
            with super()._launch_command(command, workdir) as (argv, passed):  # type: ignore[misc]
                at = argv.index("--")
                more = self._mounts() + ([] if job is None else self._passing(job))
                fds = passed if job is None else (*passed, job)
                yield [*_as_nobody(), *argv[:at], *more, *argv[at:]], fds
        finally:
            if job is not None:
                os.close(job)

    def _give_away(self, *, whole: bool = True) -> None:
        """Root's folders to the user who is to run there."""
        if os.geteuid() != 0:
            return
        root = self.workspace.parent
        for path in (root, *(root.rglob("*") if whole else (self.workspace, self.tempdir))):
            os.chown(path, NOBODY, NOBODY, follow_symlinks=False)

    def _mounts(self) -> list[str]:
        raise NotImplementedError

    def _passing(self, fd: int) -> list[str]:
        return []


class Bubble(_Tight, BubblewrapSession):
    """bubblewrap, with nothing to write to but a small /tmp and /dev/shm."""

    def _mounts(self) -> list[str]:
        shown = [each for pair in self._shown.folders for each in ("--ro-bind", *pair)]
        size = str(self._shown.size)
        small = [
            each for path in ("/tmp", "/dev/shm") for each in ("--size", size, "--tmpfs", path)
        ]
        fixed = [each for path in (FOLDER, "/dev", "/") for each in ("--remount-ro", path)]
        return [*shown, *small, *fixed]


class Jail(_Tight, NsjailSession):
    """nsjail, in the same way; its root is read-only as it is."""

    def _mounts(self) -> list[str]:
        shown = [f for a, b in self._shown.folders for f in ("--bindmount_ro", f"{a}:{b}")]
        small = ["--mount", f"none:/tmp:tmpfs:size={self._shown.size}"]
        return [*shown, *small, "--bindmount_ro", f"{self.workspace}:{FOLDER}"]

    def _passing(self, fd: int) -> list[str]:
        return ["--pass_fd", str(fd)]


def _as_nobody() -> Sequence[str]:
    """Root's number of processes has no limit, whatever is set; another user's has."""
    if os.geteuid() != 0:
        return ()
    setpriv = shutil.which("setpriv")
    if setpriv is None:
        raise FileNotFoundError("setpriv (package util-linux), by which root runs it as nobody")
    return (setpriv, f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", "--")


def _write(fd: int, data: bytes) -> None:
    with contextlib.suppress(BrokenPipeError), open(fd, "wb") as pipe:
        pipe.write(data)
