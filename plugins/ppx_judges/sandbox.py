"""Sandboxes that take one job after the other: sessions of llm-sandbox, kept in a pool."""

from __future__ import annotations

import contextlib
import os
import py_compile
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.machinery import PathFinder
from importlib.util import cache_from_source
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ppx_judges.job import FOLDER, PACKAGES, Job, report_of, seconds_of, start

if TYPE_CHECKING:
    from ppx_judges.settings import CodeSettings

_MB = 2**20
# Calls by which memory outlives the process that took it, and is in nobody's account.
_LASTING = ("shmget", "msgget", "semget", "memfd_create")
_SYSTEM = ("/usr/", "/bin/", "/lib")


@dataclass(frozen=True, kw_only=True, slots=True)
class Shown:
    """What a session shows of this machine, read-only.

    Attributes:
        python: that runs programs, as a path inside.
        folders: pairs of a path here and a path inside.
        size: bytes of the file systems in memory, which alone can be written.
    """

    python: str
    folders: tuple[tuple[str, str], ...]
    size: int


class Session:
    """One sandbox; a lost one is replaced when the next job comes.

    Args:
        make: gives a new session of the library, not yet open.
        once: whether a session is for one job only.
    """

    def __init__(self, make: Callable[[], Any], *, once: bool = False) -> None:
        self._make, self._once = make, once
        self._session: Any = None

    def run(self, job: Job) -> tuple[str, str]:
        """Verdict and reason of a job.

        Raises:
            SandboxLostError: the sandbox failed before the program was started.
        """
        said: list[str] = []
        why = ""
        try:
            session = self._opened()
            command, source = session.hand_over(job.text)
            session.config.execution_timeout = job.seconds
            done = session.execute_command(f"{command} {source}", on_stdout=said.append)
            why = done.stderr.strip()[-300:] if done.exit_code else ""
        except Exception as error:  # the library's, the system's or a container service's
            why = _reason(error, job)
            self.close()
        finally:
            if self._once:
                self.close()
        return report_of("".join(said), job.nonce, why)

    def _opened(self) -> Any:
        if self._session is None or not self._session.is_open:
            self._session = self._make()
            self._session.open()
            self._session.furnish()
        return self._session

    def close(self) -> None:
        """Give the sandbox up; what runs in it ends."""
        session, self._session = self._session, None
        if session is not None:
            with contextlib.suppress(Exception):
                session.close()


def _reason(error: Exception, job: Job) -> str:
    if type(error).__name__ == "SandboxTimeoutError":
        return f"timed out after {job.settings.timeout:g} s"
    if "output exceeded" in str(error):
        return f"wrote more than {job.settings.output_mb} MB"
    return str(error) or type(error).__name__


@contextlib.contextmanager
def harness() -> Iterator[Path]:
    """A folder with what runs inside, compiled for a Python of this version."""
    with tempfile.TemporaryDirectory(prefix="ppx-harness-") as folder:
        package = Path(folder) / "ppx_judges"
        inside = package / "inside"
        inside.mkdir(parents=True)
        (package / "__init__.py").touch()
        for source in sorted((Path(__file__).parent / "inside").glob("*.py")):
            copy = inside / source.name
            shutil.copyfile(source, copy)
            py_compile.compile(
                str(copy),
                cache_from_source(str(copy)),
                f"{FOLDER}/ppx_judges/inside/{source.name}",
                doraise=True,
                invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH,
            )
        yield Path(folder)


def local(
    settings: CodeSettings, folder: Path, packages: tuple[str, ...], *, once: bool = False
) -> Session:
    """A session of bubblewrap or nsjail.

    Args:
        settings: of the judge.
        folder: as `harness` makes it.
        packages: of this environment, that programs may import.
        once: as in `Session`.

    Raises:
        ValueError: a package is not in this environment.
    """
    shown = _shown(settings, packages)

    def make() -> Any:
        from llm_sandbox.local.config import LocalSandboxConfig
        from llm_sandbox.security.seccomp import DEFAULT_BLOCKED_SYSCALLS, SeccompPolicy

        from ppx_judges.local import Bubble, Jail

        kind = Bubble if settings.sandbox == "bubblewrap" else Jail
        return kind(
            shown=shown,
            harness=folder,
            sandbox_config=LocalSandboxConfig(
                seccomp=SeccompPolicy(blocked_syscalls=(*DEFAULT_BLOCKED_SYSCALLS, *_LASTING)),
                env={"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"},
                max_output_bytes=_MB,
                memory_limit_bytes=settings.memory_mb * _MB,
                cpu_time_limit=int(seconds_of(settings.timeout, 1)),
                file_size_limit=max(settings.output_mb, 1) * _MB,
                open_files_limit=256,
            ),
            skip_environment_setup=True,
            encoding_errors="replace",
            execution_timeout=seconds_of(settings.timeout, 1),
        )

    return Session(make, once=once)


def _shown(settings: CodeSettings, packages: tuple[str, ...]) -> Shown:
    python = settings.python or _own_python()
    folders = [pair for name in packages for pair in _package(name)]
    if not python.startswith(_SYSTEM):
        python = os.path.realpath(python)
        prefix = str(Path(python).parents[1])
        folders.append((prefix, prefix))
    size = 4 * max(settings.output_mb, 1) * _MB
    return Shown(python=python, folders=tuple(folders), size=size)


def _own_python() -> str:
    """The Python that this one was made from where all can see it, or the system's, or that."""
    own = os.path.realpath(sys.executable)
    if own.startswith(_SYSTEM):
        return own
    system = (
        path for path in ("/usr/bin/python3", "/usr/local/bin/python3") if Path(path).exists()
    )
    return next(system, own)


def _package(name: str) -> Iterator[tuple[str, str]]:
    """Folders of an installed package: its own, and the one with its libraries."""
    found = PathFinder.find_spec(name)
    if found is None or not found.submodule_search_locations:
        raise ValueError(f"packages: there is no package {name!r} in this environment")
    own = Path(found.submodule_search_locations[0])
    for folder in (own, own.with_name(f"{name}.libs")):
        if folder.is_dir():
            yield str(folder), f"{PACKAGES}/{folder.name}"


class _Container:
    """A container of docker or podman, with the face of a local session."""

    def __init__(self, session: Any, folder: Path, python: str) -> None:
        self._session, self._folder, self._python = session, folder, python

    def __getattr__(self, name: str) -> Any:
        return getattr(self._session, name)

    def furnish(self) -> None:
        """Put the checker in."""
        self._session.copy_to_runtime(str(self._folder / "ppx_judges"), f"{FOLDER}/ppx_judges")

    def hand_over(self, text: str) -> tuple[str, str]:
        """Put a job in, as a file that the checker removes before it starts the program."""
        with tempfile.TemporaryDirectory() as folder:
            job = Path(folder) / "job"
            job.write_text(text, encoding="utf-8")
            self._session.copy_to_runtime(str(job), f"{FOLDER}/job")
        return start(self._python, FOLDER), f"{FOLDER}/job"


def container(settings: CodeSettings, folder: Path) -> Session:
    """A container for each program: files that one leaves behind are never another's."""
    import llm_sandbox

    limits: dict[str, Any] = {
        "network_mode": "none",
        "mem_limit": f"{settings.memory_mb}m",
        "memswap_limit": f"{settings.memory_mb}m",
        "pids_limit": settings.processes + 16,
        "cap_drop": ["ALL"],
        "cap_add": ["SETUID", "SETGID", "SETPCAP", "KILL"],
        "security_opt": ["no-new-privileges"],
        "tmpfs": dict.fromkeys(("/tmp", "/var/tmp"), f"size={4 * settings.output_mb}m"),
        "user": "root",
    }

    def make() -> Any:
        session = llm_sandbox.SandboxSession(
            backend=llm_sandbox.SandboxBackend(settings.sandbox),
            lang="python",
            image=settings.image,
            runtime_configs=limits,
            workdir=FOLDER,
            skip_environment_setup=True,
            encoding_errors="replace",
            execution_timeout=seconds_of(settings.timeout, 1),
        )
        return _Container(session, folder, settings.python or "python3")

    return Session(make, once=True)
