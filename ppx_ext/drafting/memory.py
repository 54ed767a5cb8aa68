"""How a model is trained on a card of so many GB: a rule of thumb, stated as it is used.

====== =============================================================================
bytes  what for
====== =============================================================================
2      each weight in bfloat16; 0.6 where it is held in 4 bits (QLoRA)
6      more for each weight that is trained whole (gradient and AdamW's two moments)
2      each token, layer and hidden unit: what gradient checkpointing keeps
10     each token and word of the vocabulary: logits, and their gradient
====== =============================================================================

and 2 GB for the card's own things and the adapter. 1 GB is 10^9 bytes. A card is filled to 90 %.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from ppx_ext.proving.published import parameters

Adapter: TypeAlias = Literal["lora", "qlora", "full"]

EFFECTIVE = 16
_GB, _FILLED, _OWN = 1e9, 0.9, 2.0
_BYTES: Mapping[Adapter, float] = {"lora": 2.0, "qlora": 0.6, "full": 8.0}


@dataclass(frozen=True, kw_only=True)
class Way:
    """How a model is trained.

    Attributes:
        adapter: LoRA, LoRA over 4-bit weights, or all weights.
        rows: at once on the card; None of the model's sizes are known where it is a guess.
        needed: GB that the rule gives, or None where the model's sizes are not known.
    """

    adapter: Adapter
    rows: int
    needed: float | None

    @property
    def accumulation(self) -> int:
        """Steps between two updates, so that an update sees `EFFECTIVE` rows."""
        return EFFECTIVE // self.rows


def choose(
    config: Mapping[str, Any] | None, *, card: float, length: int, adapter: Adapter | None = None
) -> Way:
    """The adapter and the rows at once that a card has room for.

    LoRA, and QLoRA where that does not fit; all weights only where ``adapter`` asks for it.

    Args:
        config: the model's ``config.json``; None where it is not known, and then QLoRA with one row
            is the cautious answer.
        card: memory in GB; 0 is a CPU, which is not counted.
        length: of the longest row, in tokens.
        adapter: take this one.

    Raises:
        ValueError: nothing fits; with what would.
    """
    if card == 0:
        return Way(adapter=adapter or "lora", rows=4, needed=None)
    if config is None:
        return Way(adapter=adapter or "qlora", rows=1, needed=None)
    tried: tuple[Adapter, ...] = (adapter,) if adapter else ("lora", "qlora")
    for kind in tried:
        for rows in (8, 4, 2, 1):
            if (needed := need(config, kind, rows, length)) <= _FILLED * card:
                return Way(adapter=kind, rows=rows, needed=needed)
    least = need(config, tried[-1], 1, length)
    raise ValueError(
        f"by the rule of thumb this needs {least / _FILLED:.0f} GB, even with {tried[-1]} and one "
        f"row of {length} tokens at once, and the card has {card:g}. Take a smaller model, a "
        "shorter --length, a larger card, or several (recipes `gsm8k-fsdp`, `gsm8k-deepspeed`)."
    )


def need(config: Mapping[str, Any], adapter: Adapter, rows: int, length: int) -> float:
    """GB that training takes, by the rule of thumb.

    Raises:
        ValueError: the configuration does not give its sizes.
    """
    inner = config.get("text_config", config)
    weights = parameters(config) * _BYTES[adapter]
    kept = inner["num_hidden_layers"] * inner["hidden_size"] * 2
    logits = inner["vocab_size"] * 10
    return float((weights + rows * length * (kept + logits)) / _GB + _OWN)
