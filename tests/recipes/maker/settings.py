"""How the papers trained, and how we do where they do not say."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Adapter = Literal["lora", "dora", "qlora", "full"]


@dataclass(frozen=True, kw_only=True)
class Training:
    """Settings of a run, the same in both hosts.

    Attributes:
        rank, alpha, dropout: of the adapter, on all linear layers.
        batch, accumulate: rows of a micro-batch, and micro-batches of a step.
        length: in tokens; longer rows are cut.
        attention: of the paper's script; the model's own need goes first.
        saves: whether each epoch is saved.
        cards: over which the run is sharded, and by what.
    """

    adapter: Adapter
    rank: int = 0
    alpha: int = 0
    dropout: float = 0.0
    batch: int
    accumulate: int
    rate: str
    warmup: int
    epochs: int
    optimizer: str
    length: int
    attention: str | None = None
    cards: Literal["", "fsdp", "deepspeed"] = ""

    @property
    def called(self) -> str:
        """For titles."""
        return {"lora": "LoRA", "dora": "DoRA", "qlora": "QLoRA", "full": "all weights"}[
            self.adapter
        ]


STM_SCRIPT = Training(
    adapter="dora",
    rank=16,
    alpha=32,
    dropout=0.05,
    batch=1,
    accumulate=1,
    rate="2.0e-5",
    warmup=20,
    epochs=3,
    optimizer="adamw_bnb_8bit",
    length=2048,
    attention="eager",
)
"""The STM authors' `train_with_mask.py`."""

STM_BASELINES = Training(
    adapter="lora",
    rank=32,
    alpha=16,
    dropout=0.05,
    batch=2,
    accumulate=2,
    rate="2.0e-5",
    warmup=10,
    epochs=3,
    optimizer="adamw_bnb_8bit",
    length=4096,
)
"""The STM authors' Axolotl files for golds, self-output and rephrase; accumulation for a card."""

S3FT = Training(
    adapter="lora",
    rank=8,
    alpha=16,
    dropout=0.1,
    batch=4,
    accumulate=4,
    rate="2.0e-5",
    warmup=20,
    epochs=3,
    optimizer="adamw_torch_fused",
    length=2048,
)
"""Rank, alpha and dropout of arXiv 2502.08130; all else is ours."""

DIFFICULTY_SMALL = Training(
    adapter="full",
    batch=1,
    accumulate=16,
    rate="1.0e-5",
    warmup=50,
    epochs=3,
    optimizer="adamw_bnb_8bit",
    length=16384,
)
DIFFICULTY_LARGE = Training(
    adapter="lora",
    rank=64,
    alpha=128,
    batch=1,
    accumulate=16,
    rate="1.0e-4",
    warmup=50,
    epochs=3,
    optimizer="adamw_torch_fused",
    length=16384,
)
"""Ours, both: nothing of arXiv 2605.12906's training was found."""

SMALL_CARD = Training(
    adapter="lora",
    rank=16,
    alpha=32,
    batch=2,
    accumulate=8,
    rate="5.0e-5",
    warmup=20,
    epochs=2,
    optimizer="adamw_torch_fused",
    length=1024,
)
"""Ours, for 16 GB."""
