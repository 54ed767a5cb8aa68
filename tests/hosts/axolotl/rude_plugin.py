"""An Axolotl plugin whose suite leaves all switches the other way after every step."""

from __future__ import annotations

from typing import Any

from axolotl.integrations.base import BasePlugin


class RudePlugin(BasePlugin):
    def add_callbacks_post_trainer(self, cfg: Any, trainer: Any) -> list[Any]:
        from ppx_ext.callbacks import SuiteCallback
        from tests.core.test_callbacks import evaluation, rude

        return [SuiteCallback(evaluation(rude, every=1), trainer)]
