"""How Axolotl tokenises built rows: as chats, and each row keeps where its target comes from.

Named by ``type:`` of a data set. Axolotl drops every column but those that a strategy returns; what
it does later (merging, shuffling, filtering, splitting, packing) keeps whole rows.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ppx_ext.examples import SOURCE

TYPE = __name__
_READ = ("messages", "tools")


def load(tokenizer: Any, cfg: Any, ds_cfg: Any = None, processor: Any = None) -> Strategy:
    """What Axolotl calls for a data set of `TYPE`."""
    from axolotl.prompt_strategies.chat_template import StrategyLoader

    return Strategy(StrategyLoader()(tokenizer, cfg, ds_cfg=ds_cfg, processor=processor))


class Strategy:
    """Axolotl's own strategy for chats, row by row."""

    supports_batched = False

    def __init__(self, chats: Any) -> None:
        self.chats = chats

    def tokenize_prompt(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """Ids, labels and mask of a row, and its source."""
        read = {name: row[name] for name in _READ if row.get(name) is not None}
        return {**self.chats.tokenize_prompt(read), SOURCE: row[SOURCE]}
