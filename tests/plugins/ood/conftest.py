"""What the tests of suites share: local lm-eval tasks, and a tiny model that was taught them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from ppx_ext import Subject
from tests.plugins.ood.local_tasks import taught, write_tasks


@dataclass(frozen=True, kw_only=True)
class Lab:
    """Local tasks, a model and its tokenizer."""

    tasks: Path
    model: Any
    tokenizer: Any

    @property
    def subject(self) -> Subject:
        """The model, in one process."""
        return Subject(model=self.model, tokenizer=self.tokenizer)


@pytest.fixture(scope="session")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Lab:
    model, tokenizer = taught()
    folder = write_tasks(tmp_path_factory.mktemp("lm_eval_tasks"))
    return Lab(tasks=folder, model=model, tokenizer=tokenizer)
