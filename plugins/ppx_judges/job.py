"""One job for the checker, and what it says of it."""

from __future__ import annotations

import json
import math
import secrets
import shlex
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ppx_judges.checks import Checks

if TYPE_CHECKING:
    from ppx_judges.settings import CodeSettings

FOLDER, PACKAGES = "/sandbox", "/packages"
NOBODY, GRACE = 65534, 5.0
START = (
    "import sys; sys.path.insert(0, sys.argv[1]); "
    "from ppx_judges.inside.checker import main; main(sys.argv[1], sys.argv[2])"
)
_OWN_PROCESSES = 4  # the sandbox's first, the checker, the program, one that is ending
_MB = 2**20


class SandboxLostError(RuntimeError):
    """The sandbox failed, not the program; the message says how."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Job:
    """A program with its tests, and the nonce that no program can know.

    Attributes:
        packages: names that programs may import beside the standard library.
    """

    program: str
    checks: Checks
    settings: CodeSettings
    packages: tuple[str, ...] = ()
    nonce: str = field(default_factory=lambda: secrets.token_hex(16))

    @property
    def seconds(self) -> float:
        """After which the sandbox ends it, whatever the checker says."""
        return seconds_of(self.settings.timeout, len(self.checks.cases))

    @property
    def text(self) -> str:
        """All of it as JSON."""
        checks, settings = self.checks, self.settings
        return json.dumps(
            {
                "nonce": self.nonce,
                "program": self.program,
                "what": checks.what,
                "steps": checks.steps,
                "asserts": checks.asserts,
                "names": checks.names,
                "modules": checks.modules,
                "imports": checks.imports,
                "functions": checks.functions,
                "cases": [{"input": given, "output": wanted} for given, wanted in checks.cases],
                "packages": self.packages,
                "extra": [PACKAGES],
                "alone": settings.sandbox != "fusion",
                "timeout": settings.timeout,
                "limits": limits_of(settings),
            }
        )


def start(python: str, folder: str) -> str:
    """The command that starts the checker, but for what it reads its job from."""
    return f"{shlex.quote(python)} -ISB -c {shlex.quote(START)} {folder}"


def seconds_of(timeout: float, cases: int) -> float:
    """Seconds by the clock, of which a program may have waited half for a processor."""
    return 2 * timeout * max(cases, 1) + GRACE


def limits_of(settings: CodeSettings) -> dict[str, int]:
    """What one program may use up, as the checker sets it: bytes, seconds, numbers."""
    return {
        "memory": settings.memory_mb * _MB,
        "output": settings.output_mb * _MB,
        "seconds": math.ceil(settings.timeout) + 1,
        "processes": settings.processes + _OWN_PROCESSES,
        "files": 64,
    }


def report_of(said: str, nonce: str, why: str) -> tuple[str, str]:
    """Verdict and reason in what the sandbox said; without the nonce nothing of it counts.

    Args:
        said: all that came out of the sandbox, the program's own words perhaps among it.
        nonce: of the job.
        why: what ended the job early, in words.

    Raises:
        SandboxLostError: the checker did not even begin.
    """
    lines = [line[len(nonce) :] for line in said.splitlines() if line.startswith(nonce)]
    if not lines:
        raise SandboxLostError(why or said.strip()[-300:] or "it said nothing")
    try:
        judgement, reason = json.loads(lines[-1])
    except ValueError:  # nothing but "ready", or a report that was cut off
        return "wrong", why or "ended before the tests did"
    return str(judgement), str(reason)
