"""The untrusted process, as the checker starts, watches and ends it."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import time

from ppx_judges.inside import confined
from ppx_judges.inside.program import ANSWERED, ASKED, main

_SET_DUMPABLE = 4
START = (
    "import sys; sys.path.insert(0, sys.argv[1]); "
    "from ppx_judges.inside.program import main; main(sys.argv[1])"
)


class Child:
    """One process for one program.

    Args:
        folder: where the checker's package lies.
        anew: start another interpreter. Else the process is a copy of this one, which is quicker,
            and right only as long as this one has no tests in its memory.

    Attributes:
        to, back: file descriptors of the pipes to and from it.
        pid: its process.
        output: file descriptor of what it printed.
    """

    def __init__(self, folder: str, *, anew: bool) -> None:
        self._began = time.monotonic()
        asked, self.to = os.pipe()
        self.back, answered = os.pipe()
        (self.output, _), (self.errors, _), (self._input, given) = (_unnamed() for _ in range(3))
        self.pid = os.fork()
        if self.pid == 0:
            try:
                _wire({0: given, 1: self.output, 2: self.errors, ASKED: asked, ANSWERED: answered})
                if anew:
                    confined.to_no_rights(folder)
                    os.execv(sys.executable, [sys.executable, "-ISB", "-c", START, folder])
                main(folder)
            finally:
                os._exit(127)
        for each in (asked, answered, given):
            os.close(each)

    def start_clock(self) -> None:
        """The program's time runs from here."""
        self._began = time.monotonic()

    def give(self, text: str) -> None:
        """What it reads from its standard input."""
        os.pwrite(self._input, text.encode("utf-8", "surrogatepass"), 0)

    def elapsed(self) -> float:
        """Seconds that it had: by the clock, less those that it waited for a processor."""
        taken = time.monotonic() - self._began
        try:
            with open(f"/proc/{self.pid}/schedstat", encoding="ascii") as file:
                waited = int(file.read().split()[1]) / 1e9
        except (OSError, IndexError, ValueError):
            waited = 0.0
        return max(taken - waited, taken / 2)

    def printed(self, most: int) -> tuple[str, bool]:
        """What it printed, and whether that, or its messages, reached ``most`` bytes."""
        full = any(os.fstat(each).st_size >= most for each in (self.output, self.errors))
        return os.pread(self.output, most, 0).decode("utf-8", "replace"), full

    def complaint(self) -> str:
        """The last line that it wrote to its standard error."""
        size = os.fstat(self.errors).st_size
        text = os.pread(self.errors, 4096, max(0, size - 4096)).decode("utf-8", "replace")
        lines = [line.strip() for line in text.splitlines() if line.strip()]
        return lines[-1] if lines else ""

    def ended(self) -> int:
        """Wait for its end: its exit code, or less than 0 for a signal."""
        # It stays a zombie, of which the kernel still tells how long it waited for a processor.
        found = os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOWAIT)
        assert found is not None
        return found.si_status if found.si_code == os.CLD_EXITED else -found.si_status

    def is_over(self) -> bool:
        """Whether it is at its end."""
        return os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOWAIT | os.WNOHANG) is not None

    def kill(self) -> None:
        """End it now."""
        try:
            os.kill(self.pid, signal.SIGKILL)
        except OSError:
            return


def hide() -> None:
    """Let no process of the same user look into this one: its memory, its open files.

    Raises:
        OSError: the kernel did not do it.
    """
    if ctypes.CDLL(None, use_errno=True).prctl(_SET_DUMPABLE, 0, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_DUMPABLE)")


def _unnamed() -> tuple[int, int]:
    """A file without a name, opened for both, and again for reading."""
    path = f"/tmp/ppx-{os.getpid()}-{time.monotonic_ns()}"
    both = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
    reading = os.open(path, os.O_RDONLY)
    os.unlink(path)
    return both, reading


def _wire(ends: dict[int, int]) -> None:
    """Give these file descriptors these numbers, and close all others."""
    # First out of the way of the numbers that they get.
    high = {at: os.dup(fd) for at, fd in ends.items()}
    while min(high.values()) <= ANSWERED:
        high = {at: os.dup(fd) for at, fd in high.items()}
    for at, fd in high.items():
        os.dup2(fd, at, inheritable=True)
    os.closerange(ANSWERED + 1, 1024)
