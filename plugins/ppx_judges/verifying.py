"""Processes that run math-verify, each under a time limit that nothing it does can stretch."""

from __future__ import annotations

import json
import queue
import signal
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType

from ppx_ext import Judgement, Verdict

_WORKER = Path(__file__).with_name("verify_worker.py")
_FIRST_SECONDS = 120.0


class Verifiers:
    """Up to ``processes`` workers, started when they are needed and again when they were ended.

    They are programs of their own: neither forked from a process that may hold locks and a GPU,
    nor made by running the user's script again.

    Raises:
        ValueError: math-verify cannot be run; the message says what to install.
    """

    def __init__(self, processes: int, seconds: float) -> None:
        self._seconds = seconds
        self._threads = ThreadPoolExecutor(processes, thread_name_prefix="math-verify")
        self._idle: queue.LifoQueue[_Worker] = queue.LifoQueue()
        first = _Worker()
        found = first.ask(_FIRST_SECONDS, "1/2", "0.5")
        if found.judgement is not Judgement.CORRECT:
            first.end()
            raise ValueError(
                "math-verify does not work here: it does not find 1/2 and 0.5 the same "
                f"({found.reason}). Run: pip install 'ppx-ext[judges]'\n{first.complaint}"
            )
        self._idle.put(first)

    def verify(self, pairs: Sequence[tuple[str, str | None]]) -> list[Verdict]:
        """One verdict for each pair of a gold and a response, in order."""
        return list(self._threads.map(lambda pair: self._verify(*pair), pairs))

    def _verify(self, gold: str, response: str | None) -> Verdict:
        try:
            worker = self._idle.get_nowait()
        except queue.Empty:
            worker = _Worker()
        found = worker.ask(self._seconds, gold, response)
        if worker.alive:
            self._idle.put(worker)
        return found

    def __enter__(self) -> Verifiers:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._threads.shutdown()
        while not self._idle.empty():
            self._idle.get_nowait().end()


class _Worker:
    def __init__(self) -> None:
        # -P: the folder of the script, which has modules of its own, stays off the path.
        self._process = subprocess.Popen(
            [sys.executable, "-P", str(_WORKER)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.alive = True
        self.complaint = ""

    def ask(self, seconds: float, gold: str, response: str | None) -> Verdict:
        """The verdict; where the process dies, UNKNOWN with the cause."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.write(json.dumps([seconds, gold, response]) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            pass  # what it died of is told below
        line = self._process.stdout.readline()
        if line:
            judgement, reason = json.loads(line)
            return Verdict(judgement=Judgement(judgement), reason=reason)
        self.end()
        return Verdict(judgement=Judgement.UNKNOWN, reason=self._cause(seconds))

    def _cause(self, seconds: float) -> str:
        if self._process.returncode == -signal.SIGALRM:
            return f"math-verify took longer than {seconds:g} s and was stopped"
        return f"math-verify died with exit code {self._process.returncode}"

    def end(self) -> None:
        """End the process; what it said on its way is the complaint."""
        self.alive = False
        try:
            _, self.complaint = self._process.communicate(timeout=5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            _, self.complaint = self._process.communicate()
