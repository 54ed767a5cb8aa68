"""Hostile programs, one by one, and a sandbox that is not there: nothing of it is simulated."""

from __future__ import annotations

import contextlib
import os
import resource
import shutil
import socket
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from ppx_ext import Answer, Judgement
from tests.plugins.judges.hostile import ENDS, HOSTILE, RIGHT, TAKES, TESTS
from tests.plugins.judges.sandboxed import Opened, needs_bubblewrap, opened

pytestmark = [needs_bubblewrap, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder for temporary files that root's nobody can reach, unlike pytest's own."""
    tmp_path_factory.getbasetemp()  # made where it belongs, not in here
    found = Path(tempfile.mkdtemp(prefix="ppx-test-"))
    found.chmod(0o755)
    kept, tempfile.tempdir = tempfile.tempdir, str(found)
    yield found
    tempfile.tempdir = kept
    shutil.rmtree(found)


@pytest.fixture(scope="module")
def judge(folder: Path) -> Iterator[Opened]:
    # Should a limit fail, the machine is to survive the test of it.
    soft, hard = resource.getrlimit(resource.RLIMIT_NPROC)
    ceiling = 8192 if hard == resource.RLIM_INFINITY else min(8192, hard)
    resource.setrlimit(resource.RLIMIT_NPROC, (ceiling, hard))
    try:
        with opened(timeout=2, sessions=1) as found:
            yield found
    finally:
        resource.setrlimit(resource.RLIMIT_NPROC, (soft, hard))


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_program_is_wrong_and_the_next_one_is_judged(
    judge: Opened, folder: Path, name: str
) -> None:
    verdict = judge(HOSTILE[name], TESTS)
    assert verdict.judgement is Judgement.WRONG, verdict.reason
    assert verdict.reason
    assert judge(RIGHT, TESTS).correct
    assert len(list(folder.glob("llm-sandbox-*"))) == 1, "a lost session left its files"


def test_reasons_name_what_was_used_up(judge: Opened) -> None:
    for name, reason in {
        "endless loop": "timed out after 2 s",
        "sleeps": "timed out after 2 s",
        "memory": "used more than 512 MB",
        "10 GB of output": "wrote more than 8 MB",
        "daemon left behind": "left other processes running",
    }.items():
        assert judge(TAKES[name], TESTS).reason == reason
    for name in ("os._exit(0) at once", "sys.exit(0) in the call", "kills all"):
        assert judge(ENDS[name], TESTS).reason.startswith("ended before the tests did")


SEEN = """
import os, socket
def files(paths):
    found = []
    for path in paths:
        try:
            found.append((path, open(path, 'rb').read(100)))
        except OSError:
            pass
    return found
def checker():
    return files(f'/proc/{os.getppid()}/{each}' for each in ('mem', 'environ', 'maps', 'fd/0'))
def neighbours():
    return [each for each in os.listdir('/proc') if each.isdigit()]
def value(name):
    return os.environ.get(name)
def reach(port):
    try:
        socket.create_connection(('127.0.0.1', port), timeout=1)
    except OSError:
        return False
    return True
def interfaces():
    return [name for _, name in socket.if_nameindex()]
def left(path):
    found = os.path.exists(path)
    open(path, 'w').close()
    return found
def writes(paths):
    found = []
    for path in paths:
        try:
            open(path, 'w').close()
            found.append(path)
        except OSError:
            pass
    return found
def holes():
    import ctypes
    libc = ctypes.CDLL(None, use_errno=True)
    return [n for n in (101, 310, 165, 272, 29, 319) if libc.syscall(n, 0, 0, 0, 0, 0) != -1]
def job():
    found = []
    for fd in range(3, 256):
        try:
            os.fstat(fd)
            found.append(fd)
        except OSError:
            pass
    return found
"""


def test_no_files_of_this_machine(judge: Opened, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("x")
    paths = ["/etc/passwd", "/etc/shadow", "/etc/hostname", str(Path.home() / ".bashrc")]
    tests = f"assert files({[*paths, str(secret), __file__]!r}) == []"
    assert judge(SEEN, tests).correct


def test_no_environment_of_this_process(judge: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    with opened(timeout=2, sessions=1) as fresh:
        assert fresh(SEEN, "assert value('HF_TOKEN') is None").correct
        assert fresh(SEEN, "assert value('HF_TOKEN') == 'hf_secret'").judgement is Judgement.WRONG


def test_no_network(judge: Opened) -> None:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        tests = f"assert not reach({server.getsockname()[1]})\nassert interfaces() == ['lo']"
        assert judge(SEEN, tests).correct


def test_nothing_of_the_checker_can_be_read(judge: Opened) -> None:
    # Its memory and its open files hold the tests and the nonce; 3 and 4 are the program's own.
    assert judge(SEEN, "assert checker() == []\nassert job() == [3, 4]").correct


def test_processes_of_this_machine_are_not_seen(judge: Opened) -> None:
    assert judge(SEEN, "assert len(neighbours()) <= 4").correct


def test_nothing_is_left_for_the_next_program(judge: Opened) -> None:
    for _ in range(2):
        assert judge(SEEN, "assert left('/tmp/note') is False").correct


def test_nothing_but_a_small_tmp_can_be_written(judge: Opened) -> None:
    folders = ["/", "/sandbox", "/sandbox/ppx_judges/inside", "/dev", "/usr", "/bin", "/proc"]
    tests = f"assert writes({[f'{each}/x' for each in folders]!r}) == []"
    assert judge(SEEN, tests).correct


def test_system_calls_that_look_into_others_are_refused(judge: Opened) -> None:
    # On x86-64: ptrace, process_vm_readv, mount, unshare, shmget, memfd_create.
    if os.uname().machine != "x86_64":
        pytest.skip("the numbers of the system calls are those of x86-64")
    assert judge(SEEN, "assert holes() == []").correct


def test_a_killed_session_does_not_touch_its_neighbours() -> None:
    killers = [ENDS["kills all"], ENDS["stops its parent"], TAKES["patient fork bomb"]]
    programs = [p for i in range(6) for p in (killers[i % 3] + f"\n#{i}", RIGHT + f"\n#{i}")]
    answers = [Answer(row={"tests": TESTS}, response=each) for each in programs]
    with opened(timeout=3, sessions=2) as judge:
        found = [verdict.correct for verdict in judge.all(answers)]
    assert found == [False, True] * 6


def test_a_session_that_dies_is_replaced(folder: Path) -> None:
    """Its own folder vanishes: another one is opened, and the program judged there."""
    before = set(folder.glob("llm-sandbox-*"))
    with opened(timeout=2, sessions=1) as judge:
        assert judge(RIGHT, TESTS).correct
        for lost in set(folder.glob("llm-sandbox-*")) - before:
            shutil.rmtree(lost)
        assert judge(RIGHT, TESTS).correct


def test_without_bubblewrap_nothing_is_run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with (
        pytest.raises(ValueError, match="bubblewrap \\(bwrap\\) is not installed") as caught,
        opened(),
    ):
        pytest.fail("it was opened")
    for way in ("apt-get install bubblewrap", "sandbox: docker", "sandbox: fusion", "url"):
        assert way in str(caught.value)


@pytest.mark.parametrize(
    ("says", "cause"),
    [
        ("bwrap: No permissions to create a new namespace", "forbids user namespaces"),
        ("bwrap: setting up uid map: Permission denied", "forbids user namespaces"),
        ("bwrap: Unknown option --disable-userns", "older than 0.8"),
    ],
)
def test_a_bubblewrap_that_may_not_is_refused(
    monkeypatch: pytest.MonkeyPatch, folder: Path, says: str, cause: str
) -> None:
    _fake(monkeypatch, folder, f"#!/bin/sh\necho '{says}' >&2\nexit 1\n")
    with pytest.raises(ValueError, match=cause) as caught, opened():
        pytest.fail("it was opened")
    assert says in str(caught.value)


def test_a_sandbox_that_does_not_shut_in_is_refused(
    monkeypatch: pytest.MonkeyPatch, folder: Path
) -> None:
    real = shutil.which("bwrap")
    script = f'#!/bin/sh\nshift\nexec {real} --unshare-all --share-net "$@"\n'
    _fake(monkeypatch, folder, script)
    with pytest.raises(ValueError, match="not shut in"), opened():
        pytest.fail("it was opened")


def _fake(monkeypatch: pytest.MonkeyPatch, folder: Path, script: str) -> None:
    programs = folder / "bin"
    programs.mkdir(exist_ok=True)
    (programs / "bwrap").write_text(script)
    (programs / "bwrap").chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")


def test_docker_without_a_daemon_is_refused() -> None:
    with (
        pytest.raises(ValueError, match=r"sandbox: docker does not work.*Ways to get"),
        opened(sandbox="docker"),
    ):
        pytest.fail("it was opened")


def test_no_process_is_left(judge: Opened, folder: Path) -> None:
    assert judge(TAKES["fork bomb"], TESTS).judgement is Judgement.WRONG
    until = time.monotonic() + 10
    while (left := _running(str(folder).encode())) and time.monotonic() < until:
        time.sleep(0.2)
    assert left == []


def _running(word: bytes) -> list[str]:
    """Processes whose command line, as that of each sandbox, has this word."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError):
            if word in Path(f"/proc/{pid}/cmdline").read_bytes():
                found.append(pid)
    return found
