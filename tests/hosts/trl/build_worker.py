"""One of several processes that train a recipe with a builder; writes what it saw beside it."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest

from ppx_ext.hosts import trl
from tests.hosts import words
from tests.hosts.trl.test_recipe import caught
from tests.processes import leave


def main(recipe: Path) -> None:
    """Train the recipe."""
    words.install(pytest.MonkeyPatch())
    seen = sorted(caught(trl.train(recipe)))
    (recipe.parent / f"seen-{os.environ['RANK']}.json").write_text(json.dumps(seen))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
    leave()
