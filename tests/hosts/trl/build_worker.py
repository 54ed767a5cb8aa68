"""One of several processes that train a recipe with a builder; writes what it saw beside it."""

from __future__ import annotations

import gc
import json
import os
import sys
from pathlib import Path

import pytest
from torch import distributed
from torch.nn.parallel import DistributedDataParallel

from ppx_ext.hosts import trl
from tests.hosts import words
from tests.hosts.trl.test_recipe import caught
from tests.processes import leave


def main(recipe: Path) -> None:
    """Train the recipe; the trainer that is left outlives the groups, and wraps no model."""
    words.install(pytest.MonkeyPatch())
    trainer = trl.train(recipe)
    found = {
        "rows": sorted(caught(trainer)),
        "groups": distributed.is_initialized(),
        "wrappers": sum(issubclass(type(one), DistributedDataParallel) for one in gc.get_objects()),
    }
    (recipe.parent / f"seen-{os.environ['RANK']}.json").write_text(json.dumps(found))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
    leave()
