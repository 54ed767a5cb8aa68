"""An Axolotl plugin that installs the stand-in for a model's words, for commands of their own."""

from __future__ import annotations

import pytest
from axolotl.integrations.base import BasePlugin

from tests.hosts import words


class WordsPlugin(BasePlugin):
    def __init__(self) -> None:
        super().__init__()
        words.install(pytest.MonkeyPatch())
