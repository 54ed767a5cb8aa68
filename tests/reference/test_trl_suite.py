"""TRL's own SFT tests with our trainer in place of theirs; needs a checkout of TRL."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.reference.trl_suite import compare


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_ours_passes_what_theirs_passes(tmp_path: Path) -> None:
    checkout = os.environ.get("PPX_TRL_CHECKOUT")
    if not checkout:
        pytest.skip("NO TRL CHECKOUT: set PPX_TRL_CHECKOUT (see tests/reference/trl_suite.py)")
    assert compare(Path(checkout), tmp_path, ("stock", "ours"))["ours"] == set()
