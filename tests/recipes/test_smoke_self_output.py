"""Every shipped recipe of self_output and s3ft, run whole in TRL with a small model."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.recipes import smoking

GROUPS = smoking.groups(*smoking.FILES_OF["self_output"])

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("default")]


@pytest.mark.parametrize("group", GROUPS, ids=smoking.label)
def test_it_runs_whole(group: smoking.Group, tmp_path: Path) -> None:
    smoking.run(group[1], tmp_path)
