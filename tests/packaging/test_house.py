"""What the tool configuration promises about the checkout."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
CONFIG = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
METHODS = sorted(path.parent.name for path in (ROOT / "plugins").glob("ppx_*/__init__.py"))

pytestmark = pytest.mark.checkout


def test_every_method_is_under_the_import_contracts() -> None:
    linter = CONFIG["tool"]["importlinter"]
    contracts = {contract["id"]: contract for contract in linter["contracts"]}
    assert sorted(linter["root_packages"]) == sorted(["ppx_ext", *METHODS])
    assert sorted(contracts["core"]["forbidden_modules"]) == METHODS
    assert sorted(contracts["methods"]["source_modules"]) == METHODS
    assert sorted(contracts["apart"]["modules"]) == METHODS


def test_no_source_file_is_longer_than_300_lines() -> None:
    sources = [*(ROOT / "ppx_ext").rglob("*.py"), *(ROOT / "plugins").rglob("*.py")]
    lengths = {
        str(path.relative_to(ROOT)): path.read_text(encoding="utf-8").count("\n")
        for path in sources
    }
    assert {path: length for path, length in lengths.items() if length > 300} == {}


def test_nothing_is_pinned() -> None:
    project = CONFIG["project"]
    groups = [project["dependencies"], *project["optional-dependencies"].values()]
    assert [line for group in groups for line in group if "==" in line or "<" in line] == []


def test_top_level_is_the_house() -> None:
    tracked = {"plugins", "ppx_ext", "recipes", "tests", "pyproject.toml", "README.md"}
    tracked |= {"LICENSE", "CHANGELOG.md", "Makefile"}
    made = {"dist", "out", "build"}
    found = {path.name for path in ROOT.iterdir() if not path.name.startswith(".")}
    assert found - made == tracked
