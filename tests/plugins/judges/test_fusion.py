"""The code judge over HTTP: a loopback server with the published interface of SandboxFusion.

What answers is a small server that runs each program in a plain session of llm-sandbox. A real
SandboxFusion server was not run.
"""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from ppx_ext import Answer, Judgement
from ppx_judges import sandbox
from ppx_judges.checks import checks_of
from ppx_judges.job import Job, SandboxLostError, report_of, start
from ppx_judges.settings import CodeSettings
from tests.plugins.judges.hostile import ENDS, LIES, RIGHT, SAYS, TAKES, TESTS
from tests.plugins.judges.sandboxed import needs_bubblewrap, opened

pytestmark = pytest.mark.timeout(300)
FIELDS = {"code", "language", "stdin", "compile_timeout", "run_timeout"}


class Handler(BaseHTTPRequestHandler):
    asked: list[dict[str, Any]] = []  # noqa: RUF012 # of one test
    broken: str = ""

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.asked.append(body)
        if self.path != "/run_code" or not set(body) <= FIELDS or body["language"] != "python":
            self.send_error(422)
            return
        answer = {"status": "SandboxError", "message": self.broken, "compile_result": None}
        data = json.dumps(answer if self.broken else _run(body)).encode()
        self.send_response(200)
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: Any) -> None:
        return


def _run(body: dict[str, Any]) -> dict[str, Any]:
    from llm_sandbox import SandboxBackend, SandboxSession
    from llm_sandbox.exceptions import SandboxError, SandboxTimeoutError

    ran: dict[str, Any] = {"status": "Finished", "stdout": "", "stderr": "", "return_code": None}
    session = SandboxSession(
        backend=SandboxBackend.BUBBLEWRAP,
        lang="python",
        skip_environment_setup=True,
        encoding_errors="replace",
        execution_timeout=body["run_timeout"],
    )
    with session, tempfile.TemporaryDirectory() as folder:
        for name, text in (("main.py", body["code"]), ("in", body["stdin"])):
            (Path(folder) / name).write_text(text, encoding="utf-8")
            session.copy_to_runtime(f"{folder}/{name}", f"/sandbox/{name}")
        said: list[str] = []
        try:
            command = "(cat in; rm in) | exec /usr/bin/python3 main.py"
            done = session.execute_command(command, on_stdout=said.append)
            ran |= {"stderr": done.stderr, "return_code": done.exit_code}
        except SandboxTimeoutError:
            ran["status"] = "TimeLimitExceeded"
        except SandboxError as error:
            ran |= {"status": "Error", "stderr": str(error)}
        ran["stdout"] = "".join(said)
    status = "Success" if ran["return_code"] == 0 else "Failed"
    return {"status": status, "message": "", "compile_result": None, "run_result": ran, "files": {}}


@pytest.fixture
def url() -> Iterator[str]:
    Handler.asked, Handler.broken = [], ""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    thread.join()
    server.server_close()


@needs_bubblewrap
def test_programs_are_judged_by_a_server(url: str) -> None:
    hostile = [
        ENDS["os._exit(0) at once"],
        ENDS["kills all"],
        LIES["equal to all"],
        SAYS["children that print"],
        SAYS["writes to others' outputs"],
        TAKES["endless loop"],
        TAKES["memory"],
    ]
    rows = [*hostile, RIGHT, "def f(x): return 3"]
    with opened(sandbox="fusion", url=url, timeout=2, sessions=2) as judge:
        found = judge.all([Answer(row={"tests": TESTS}, response=each) for each in rows])
    assert [each.judgement for each in found] == [
        *[Judgement.WRONG] * len(hostile),
        Judgement.CORRECT,
        Judgement.WRONG,
    ]
    assert found[-1].reason == "assertion 1 of 3 failed: assert f(1) == 2"
    assert all(set(each) == FIELDS for each in Handler.asked)


def test_a_server_that_is_not_there_is_refused() -> None:
    refused = pytest.raises(ValueError, match=r"sandbox: fusion does not work: .*run_code")
    with refused, opened(sandbox="fusion", url="http://127.0.0.1:9"):
        pytest.fail("it was opened")


def test_a_server_that_cannot_run_programs_is_refused(url: str) -> None:
    Handler.broken = "no overlay file system"
    refused = pytest.raises(ValueError, match="no overlay file system")
    with refused, opened(sandbox="fusion", url=url):
        pytest.fail("it was opened")


@needs_bubblewrap
def test_a_server_that_breaks_later_is_unknown_and_the_job_goes_on(url: str) -> None:
    with opened(sandbox="fusion", url=url, sessions=1) as judge:
        assert judge(RIGHT, TESTS).correct
        Handler.broken = "out of disk"
        verdict = judge(RIGHT, TESTS)
        Handler.broken = ""
        assert judge(RIGHT, TESTS).correct
    assert (verdict.judgement, "out of disk" in verdict.reason) == (Judgement.UNKNOWN, True)


MINE = """
import os
def who(): return os.geteuid()
def rights():
    return [l.split()[1] for l in open('/proc/self/status') if l.startswith(('CapEff', 'CapPrm'))]
def look():
    try:
        open(f'/proc/{os.getppid()}/mem', 'rb')
    except PermissionError:
        return False
    return True
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has rights to take away")
@pytest.mark.parametrize(("mode", "user"), [(0o700, 0), (0o755, 65534)])
def test_a_checker_with_rights_takes_them_from_the_program(
    tmp_path: Path, mode: int, user: int
) -> None:
    """As in a container, whose root has some. The program is ours, so it needs no sandbox here."""
    none = "0000000000000000"
    tests = f"assert who() == {user}\nassert rights() == ['{none}', '{none}']\nassert not look()"
    job = Job(
        program=MINE,
        checks=checks_of({"tests": tests}, None, None),
        settings=CodeSettings(sandbox="fusion", url="http://nowhere", processes=4000),
    )
    (tmp_path / "job").write_text(job.text, encoding="utf-8")
    with sandbox.harness() as folder:
        folder.chmod(mode)
        command = f"{start('/usr/bin/python3', str(folder))} {tmp_path / 'job'}"
        done = subprocess.run(command, shell=True, capture_output=True, text=True, timeout=60)
    assert report_of(done.stdout, job.nonce, done.stderr)[0] == "correct", done.stdout
    assert not (tmp_path / "job").exists()


def test_a_report_that_was_cut_off_is_no_verdict_and_no_failure() -> None:
    nonce = "n" * 32
    ready, cut = f'\n{nonce} ["ready"]\n', f'\n{nonce} ["correct", "all 3 asser\n'
    assert report_of(ready + cut, nonce, "")[0] == "wrong"
    assert report_of(ready, nonce, "timed out") == ("wrong", "timed out")
    with pytest.raises(SandboxLostError):
        report_of("nothing of it", nonce, "")
