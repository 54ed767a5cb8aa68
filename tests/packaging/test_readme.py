"""The blocks of settings that the README shows are blocks that the plan takes."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from ppx_ext import catalog, plan

README = Path(__file__).parents[2] / "README.md"
BLOCKS = [
    block
    for found in re.findall(r"```yaml\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    if (block := yaml.safe_load(found)).get("ppx")
]


@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: "-".join(block["ppx"]))
def test_a_block_of_the_readme_is_one_that_can_be_used(block: dict[str, object]) -> None:
    assert plan.parse(block["ppx"], catalog.load())


def test_the_readme_shows_every_stage() -> None:
    assert {"build", "choose", "mask", "eval"} <= {key for block in BLOCKS for key in block["ppx"]}
