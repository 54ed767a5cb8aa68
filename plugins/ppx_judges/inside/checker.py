"""The trusted end: runs the tests, and alone knows the nonce without which nothing has passed."""

from __future__ import annotations

import json
import os
import signal
import sys
from typing import Any

from ppx_judges.inside import scope
from ppx_judges.inside.child import Child, hide
from ppx_judges.inside.confined import has_rights
from ppx_judges.inside.talk import Peer
from ppx_judges.inside.wire import Broken, Ended, Pipe

CORRECT, WRONG, UNKNOWN = "correct", "wrong", "unknown"
_TICK = 0.1
_LONGEST = 1000  # of a reason, which may quote the program; a pipe takes this in one write


class Over(Exception):
    """The verdict, before all tests ran."""

    def __init__(self, verdict: str, reason: str) -> None:
        self.verdict, self.reason = verdict, reason


class OutOfTime(BaseException):
    """The program had all its seconds."""


def main(folder: str, source: str) -> None:
    """Judge one job, which is read from ``source``: a file descriptor's number, ``-``, or a file.

    A file is removed before the program is there. The verdict is one line after the nonce.
    """
    hide()
    # Before there is anything to hide in this process, the program's may be a copy of it.
    ready = None if has_rights() else Child(folder, anew=False)
    job = json.loads(_read(source))
    nonce = job["nonce"]
    _say(nonce, ["ready"])
    signal.signal(signal.SIGALRM, lambda number, frame: None)
    try:
        _judge(job, folder, ready)
        said = [CORRECT, f"{job['what']} passed"]
    except Over as over:
        said = [over.verdict, over.reason]
    _say(nonce, said)
    os._exit(0)


def _read(source: str) -> str:
    if source == "-":
        return sys.stdin.read()
    if source.isdigit():
        with open(int(source), encoding="utf-8") as pipe:
            return pipe.read()
    with open(source, encoding="utf-8") as file:
        text = file.read()
    os.unlink(source)
    return text


def _say(nonce: str, what: list[str]) -> None:
    # In one write, after a line's end of its own.
    os.write(1, f"\n{nonce} {json.dumps([each[:_LONGEST] for each in what])}\n".encode())


def _judge(job: dict[str, Any], folder: str, ready: Child | None) -> None:
    if job["cases"] and ready:
        ready.kill()
        ready = None
    for number, case in enumerate(job["cases"] or [None], start=1):
        before = _processes()
        try:
            child = ready or Child(folder, anew=True)
        except OSError as error:
            raise Over(WRONG, f"no process could be started for it any more: {error}") from None
        try:
            _one(job, child, number, case)
        finally:
            child.kill()
            signal.setitimer(signal.ITIMER_REAL, 0)
        if child.printed(job["limits"]["output"])[1]:
            raise Over(WRONG, f"wrote more than {job['limits']['output'] >> 20} MB")
        if job["alone"] and _processes() - before - {child.pid}:
            raise Over(WRONG, "left other processes running")


def _processes() -> set[int]:
    return {int(each) for each in os.listdir("/proc") if each.isdigit()}


def _one(job: dict[str, Any], child: Child, number: int, case: dict[str, str] | None) -> None:
    pipe = Pipe(child.back, child.to)
    order = {key: job[key] for key in ("program", "imports", "limits", "extra")}
    order["whole"] = case is not None
    try:
        if case is not None:
            child.give(case["input"])
        pipe.send(order)
        if pipe.receive() != ["safe"]:
            raise Over(UNKNOWN, "the sandbox leaves programs rights that reach the checker")
        _watch(child, job["timeout"])
        if case is None:
            _assertions(job, child, pipe)
        else:
            _whole(job, child, number, case)
    except OutOfTime:
        raise Over(WRONG, _timed_out(job)) from None
    except Ended:
        raise Over(WRONG, _why_ended(job, child)) from None
    except Broken as error:
        raise Over(WRONG, f"its answer cannot be read: {error}") from None
    except MemoryError:
        raise Over(WRONG, _memory(job)) from None


def _watch(child: Child, seconds: float) -> None:
    def tick(number: int, frame: Any) -> None:
        if child.elapsed() > seconds:
            child.kill()
            raise OutOfTime

    child.start_clock()
    signal.signal(signal.SIGALRM, tick)
    signal.setitimer(signal.ITIMER_REAL, min(_TICK, seconds), _TICK)


def _timed_out(job: dict[str, Any]) -> str:
    return f"timed out after {job['timeout']:g} s"


def _memory(job: dict[str, Any]) -> str:
    return f"used more than {job['limits']['memory'] >> 20} MB"


def _why_ended(job: dict[str, Any], child: Child) -> str:
    code = child.ended()
    if code == -signal.SIGXCPU or child.elapsed() > job["timeout"]:
        return _timed_out(job)
    if "MemoryError" in child.complaint():
        return _memory(job)
    if child.printed(job["limits"]["output"])[1]:
        return f"wrote more than {job['limits']['output'] >> 20} MB"
    how = f"exit code {code}" if code >= 0 else signal.Signals(-code).name
    return f"ended before the tests did ({how})"


def _assertions(job: dict[str, Any], child: Child, pipe: Pipe) -> None:
    peer = Peer(
        pipe,
        scope.serve,
        distant=scope.ProgramObject,
        raising=scope.exception,
        trusting=False,
    )
    loaded = pipe.receive()
    if loaded != ["loaded"]:
        if not isinstance(loaded, list) or len(loaded) != 5 or loaded[0] != "raised":
            raise Broken("no sign that it was loaded")
        raise Over(WRONG, _raised(job, *(str(each) for each in (loaded[1], *loaded[3:]))))
    tests = scope.Tests(job, peer)
    try:
        tests.run()
    except scope.Failed as failed:
        # A runner of tests takes the end of the program for one more failure.
        if child.elapsed() > job["timeout"]:
            raise OutOfTime from None
        if child.is_over():
            raise Ended from None
        raise Over(failed.verdict, failed.reason) from None
    except (OutOfTime, Ended, Broken, MemoryError):
        raise
    except BaseException as error:
        raise Over(*_explained(job, tests, error)) from None
    if child.elapsed() > job["timeout"]:
        raise OutOfTime
    if tests.passed == 0:
        raise Over(UNKNOWN, "the tests ended without one assertion that was checked")


def _explained(job: dict[str, Any], tests: scope.Tests, error: BaseException) -> tuple[str, str]:
    """Verdict and reason of an exception that came out of the tests."""
    told = getattr(error, "told", None)
    place, source = tests.place, tests.source
    if told is not None:
        if scope.REFUSED and scope.OURS in told.message:
            return UNKNOWN, f"the program does what cannot be carried over here ({told.message})"
        what = _raised(job, told.name, told.message, str(told.line))
        if not place or not what.startswith(told.name):
            return WRONG, what
        return WRONG, f"{place} raised {what}: {source}"
    if isinstance(error, AssertionError) and place:
        return WRONG, f"{place} failed: {source}"
    text = f"{type(error).__name__}: {error}"
    if scope.is_limit(text):
        return UNKNOWN, f"the tests do what cannot be carried over to the program ({text})"
    if isinstance(error, ImportError):
        return UNKNOWN, f"the tests need what the sandbox does not have ({text})"
    return WRONG, f"{place} raised {text}: {source}" if place else text


def _raised(job: dict[str, Any], name: str, message: str, line: str) -> str:
    if name == "MemoryError":
        return _memory(job)
    if name in ("SystemExit", "KeyboardInterrupt", "GeneratorExit"):
        return f"ended before the tests did ({name})"
    if name == "OSError" and "File too large" in message:
        return f"wrote more than {job['limits']['output'] >> 20} MB"
    where = f" (line {line} of the program)" if line not in ("", "0") else ""
    return f"{name}: {message}{where}" if message else f"{name}{where}"


def _whole(job: dict[str, Any], child: Child, number: int, case: dict[str, str]) -> None:
    code = child.ended()
    signal.setitimer(signal.ITIMER_REAL, 0)
    place = f"input {number} of {len(job['cases'])}"
    if child.elapsed() > job["timeout"] or code == -signal.SIGXCPU:
        raise OutOfTime
    if child.printed(job["limits"]["output"])[1]:
        return  # as is said of any program
    if code != 0:
        why = child.complaint() or f"ended with {code}"
        raise Over(WRONG, _memory(job) if "MemoryError" in why else f"{place}: {why}")
    found, expected = _lines(child.printed(job["limits"]["output"])[0]), _lines(case["output"])
    if found == expected:
        return
    at = next((i for i, (a, b) in enumerate(zip(found, expected, strict=False)) if a != b), None)
    if at is None:
        raise Over(WRONG, f"{place}: printed {len(found)} lines where {len(expected)} are expected")
    raise Over(WRONG, f"{place}: line {at + 1} is {found[at][:80]!r}, not {expected[at][:80]!r}")


def _lines(text: str) -> list[str]:
    return [line.rstrip() for line in text.rstrip().splitlines()]
