"""What all tests share: a quiet, offline, one-thread environment, and the real data."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path

import pytest
from hypothesis import settings

# Before anything imports torch, datasets or Axolotl.
os.environ |= {
    "HF_HUB_OFFLINE": "1",
    "HF_DATASETS_OFFLINE": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "AXOLOTL_DO_NOT_TRACK": "1",
    "DO_NOT_TRACK": "1",
    "AXOLOTL_DATASET_NUM_PROC": "1",
    "WANDB_MODE": "offline",
}
os.environ.setdefault("OMP_NUM_THREADS", "1")

# The same cases in every run; `HYPOTHESIS_PROFILE=searching` looks for new ones.
settings.register_profile("repeatable", derandomize=True, deadline=None)
settings.register_profile("searching", max_examples=1000, deadline=None)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "repeatable"))

# What a test sets, all must see: `Dataset.map(num_proc=...)` leaves a copy in the place of
# `os.environ`, while Rich and pytest's monkeypatch go on with the mapping that they first met.
ENVIRON = os.environ

ROOT = Path(__file__).resolve().parents[1]
HAS_AXOLOTL = importlib.util.find_spec("axolotl") is not None


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup() -> None:
    os.environ = ENVIRON  # noqa: B003 - the point is the mapping itself


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    skip = pytest.mark.skip(reason="Axolotl is not installed: pip install 'ppx-ext[axolotl]'")
    for item in items:
        if item.get_closest_marker("axolotl") and not HAS_AXOLOTL:
            item.add_marker(skip)


def _data() -> Path:
    return Path(os.environ.get("PPX_DATA") or ROOT.parent / "shared" / "data")


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """Real data (GSM8K, MBPP, published perplexities)."""
    folder = _data()
    if not folder.is_dir():
        pytest.skip(f"NO REAL DATA: {folder} is not there; set PPX_DATA to the folder that has it")
    return folder


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if not _data().is_dir():
        terminalreporter.write_line(
            f"WARNING: tests on real data were SKIPPED: no folder {_data()} (set PPX_DATA)",
            yellow=True,
            bold=True,
        )
