"""Whether a sandbox works: seen before anything is generated, not believed."""

from __future__ import annotations

import contextlib
import secrets
import socket
import tempfile
import warnings
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from ppx_judges.checks import checks_of
from ppx_judges.job import Job, SandboxLostError

if TYPE_CHECKING:
    from ppx_judges.code import Runner
    from ppx_judges.settings import CodeSettings

LOCAL = ("bubblewrap", "nsjail")
WAYS = (
    "Ways to get a sandbox: install bubblewrap (`apt-get install bubblewrap` or `dnf install "
    "bubblewrap`, 0.8 or later, with user namespaces allowed) and `pip install llm-sandbox`; or "
    "`sandbox: docker` or `sandbox: podman` with `pip install 'llm-sandbox[docker]'`; or `sandbox: "
    "nsjail`; or `sandbox: fusion` with `url:` of a SandboxFusion server. Programs are never run "
    "without one."
)
_FORBIDDEN = (
    "the kernel or the container forbids user namespaces to this user (docker's default seccomp "
    "profile does; so may user.max_user_namespaces, kernel.unprivileged_userns_clone and "
    "kernel.apparmor_restrict_unprivileged_userns)"
)
_NO_LIBRARY = "the Python package that it needs is not installed"
_CAUSES = (
    ("requires 'bwrap'", "bubblewrap (bwrap) is not installed"),
    ("nsjail' was not found", "nsjail is not installed"),
    (
        "Can't find source path",
        "user nobody, as whom root runs programs, cannot reach the folder for temporary files "
        "(TMPDIR) or that of `python`",
    ),
    ("namespace", _FORBIDDEN),
    ("uid map", _FORBIDDEN),
    ("Operation not permitted", _FORBIDDEN),
    ("unknown option", "bubblewrap is older than 0.8"),
    ("Unknown option", "bubblewrap is older than 0.8"),
    ("No module named '_ctypes'", "its Python has no ctypes: install the whole python3"),
    ("No module named", _NO_LIBRARY),
    ("Error while fetching server API version", "no docker daemon answers"),
)
_ENVIRONMENT = {
    *("PATH", "HOME", "TMPDIR", "LANG", "LC_CTYPE", "PWD", "OLDPWD", "SHLVL", "_"),
    *("PYTHONUNBUFFERED", "OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS"),
}
_PROGRAM = """
import os, socket

def reach(path, port):
    found = []
    try:
        found.append(open(path).read())
    except OSError:
        pass
    try:
        socket.create_connection(("127.0.0.1", port), timeout=2).close()
        found.append("network")
    except OSError:
        pass
    return found

def seen():
    return list(os.environ)

def forks(most):
    import signal
    children = []
    try:
        for _ in range(most):
            child = os.fork()
            if child == 0:
                signal.pause()
                os._exit(0)
            children.append(child)
    except OSError:
        pass
    for child in children:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    return len(children)
"""


def prove(settings: CodeSettings, make: Callable[[tuple[str, ...]], Runner]) -> tuple[str, ...]:
    """See that a right program passes, that a wrong one does not, and what no program reaches.

    Args:
        settings: of the judge.
        make: gives a sandbox that shows these packages.

    Returns:
        Packages that programs can import there; a warning names those that they cannot.

    Raises:
        ValueError: there is no sandbox; with the reason and the ways to get one.
    """
    # What a container's image or a server has is theirs to say, program by program.
    here = settings.sandbox in LOCAL
    shown = tuple(name for name in settings.packages if not here or _imports(settings, make, name))
    with contextlib.closing(make(shown)) as runner:
        try:
            _see(settings, runner)
        except SandboxLostError as lost:
            raise _refused(settings, str(lost)) from None
    if missing := sorted(set(settings.packages) - set(shown)):
        warnings.warn(
            f"code judge: the sandbox cannot import {', '.join(missing)}; programs that need it "
            "are judged wrong (settings `python` and `packages`)",
            stacklevel=2,
        )
    return shown


def _imports(settings: CodeSettings, make: Callable[[tuple[str, ...]], Runner], name: str) -> bool:
    program = f"import {name}\ndef works(): return True"
    with contextlib.closing(make((name,))) as runner:
        try:
            return _run(settings, runner, "assert works()", program, (name,))[0] == "correct"
        except SandboxLostError:
            return False  # the sandbox alone is seen next, and tells why it fails


def _see(settings: CodeSettings, runner: Runner) -> None:
    verdict, reason = _run(settings, runner, "assert seen() == 1")
    if verdict != "wrong":
        raise _refused(settings, f"a wrong program is judged {verdict} in it: {reason}")
    with tempfile.NamedTemporaryFile("w", prefix="ppx-secret-") as file, _listening() as server:
        file.write(secrets.token_hex(8))
        file.flush()
        tests = [f"assert reach({file.name!r}, {server.getsockname()[1]}) == []"]
        if settings.sandbox != "fusion":
            tests.append(f"assert forks(1000) <= {settings.processes + 16}")
        if settings.sandbox in LOCAL:
            tests.append(f"assert set(seen()) <= {_ENVIRONMENT!r}")
        verdict, reason = _run(settings, runner, "\n".join(tests))
    if verdict != "correct":
        raise _refused(settings, f"a program in it is not shut in, or does not work: {reason}")


def _run(
    settings: CodeSettings,
    runner: Runner,
    tests: str,
    program: str = _PROGRAM,
    packages: tuple[str, ...] = (),
) -> tuple[str, str]:
    checks = checks_of({"tests": tests}, None, None)
    return runner.run(Job(program=program, checks=checks, settings=settings, packages=packages))


@contextlib.contextmanager
def _listening() -> Iterator[socket.socket]:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        yield server


def _refused(settings: CodeSettings, why: str) -> ValueError:
    cause = next((f"{cause}: " for sign, cause in _CAUSES if sign in why), "")
    said = " ".join(why.split()).rstrip(".")
    return ValueError(f"sandbox: {settings.sandbox} does not work: {cause}{said}. {WAYS}")
