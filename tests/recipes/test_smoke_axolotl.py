"""A recipe of every model, run whole in Axolotl with a small model."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.recipes import smoking

FILES = smoking.one_of_each_model()

pytestmark = [pytest.mark.slow, pytest.mark.axolotl, pytest.mark.filterwarnings("default")]


@pytest.mark.parametrize("file", FILES, ids=lambda file: "/".join(file.parts[-3:]))
def test_it_runs_whole(file: Path, tmp_path: Path) -> None:
    smoking.run([file], tmp_path)
