"""A process may end right after an exchange with another."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT


@pytest.mark.slow
def test_no_process_aborts_at_its_end(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.core.exchange_worker", str(tmp_path), "20"]
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.stdout.splitlines()[-1:] == ["failed: 0"], done.stdout + done.stderr[-6000:]
