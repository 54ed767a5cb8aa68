"""Several processes (gloo) that run one module together."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import NoReturn

from tests.conftest import ROOT


def start(*arguments: object, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    """Run ``python -m ARGUMENTS`` in two processes."""
    how = ("-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", "-m")
    return subprocess.run(
        [sys.executable, *how, *map(str, arguments)], cwd=cwd, capture_output=True, text=True,
        timeout=400, check=False, env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip


def launch(*arguments: object, cwd: Path = ROOT) -> str:
    """As `start`, where both end well; gives what they said."""
    done = start(*arguments, cwd=cwd)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-6000:]
    return done.stdout + done.stderr


def leave() -> NoReturn:
    """End a process that did what it was to do, whatever the threads of its group still hold.

    gloo's threads let the tensors of a collective go some time after it; where that is while the
    interpreter ends, the process aborts. A run of a user saves its model in between.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)
