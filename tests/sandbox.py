"""Whether this machine can run a real sandbox; where it cannot, tests of one skip, loudly."""

from __future__ import annotations

import functools
import shutil
import subprocess

import pytest


@functools.cache
def missing() -> str | None:
    """Why bubblewrap cannot be used here, or None where it can."""
    if shutil.which("bwrap") is None:
        return "bubblewrap is not installed (apt-get install bubblewrap)"
    command = ["bwrap", "--unshare-all", "--ro-bind", "/", "/", "--proc", "/proc", "true"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    return None if done.returncode == 0 else f"bubblewrap cannot run here: {done.stderr.strip()}"


needs_bubblewrap = pytest.mark.skipif(
    missing() is not None, reason=f"NO SANDBOX: {missing()}; the code judge is NOT TESTED here"
)


def require() -> None:
    """Skip the running test where there is no sandbox."""
    if missing() is not None:
        pytest.skip(f"NO SANDBOX: {missing()}; the code judge is NOT TESTED here")
