"""Every row that reaches the loss carries the labels that an independent oracle expects."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.hosts.axolotl.conftest import Oracle, documents

pytestmark = pytest.mark.axolotl

Config = Callable[..., Path]
Train = Callable[[Path], SimpleNamespace]
Oracles = Callable[[str], Oracle]

PACKED = {"sample_packing": True, "gradient_accumulation_steps": 1}
FULL = {"adapter": None}


def check(entries: list[dict[str, Any]], oracle: Oracle, threshold: float) -> int:
    """Compare each document with the oracle; gives how many there were."""
    seen = 0
    for entry in entries:
        for ids, labels in documents(entry):
            assert labels == oracle.labels(ids, threshold), f"document {seen}"
            seen += 1
    return seen


@pytest.mark.parametrize(
    ("arch", "apply", "changes", "least"),
    [
        ("llama", "baked", {}, 12),
        ("llama", "baked", FULL, 12),
        ("llama", "baked", {**PACKED, "micro_batch_size": 1}, 6),
        ("llama", "baked", {**PACKED, **FULL, "micro_batch_size": 2}, 6),
        ("gemma2", "baked", {**PACKED, "micro_batch_size": 2}, 6),
        ("gemma2", "baked", {}, 12),
        ("llama", "collator", {}, 12),
        ("llama", "collator", {**PACKED, "micro_batch_size": 2}, 6),
        ("llama", "online", {}, 12),
        ("llama", "online", {**PACKED, "micro_batch_size": 2}, 6),
        ("gemma2", "online", {**PACKED, "micro_batch_size": 1}, 6),
    ],
)
def test_labels_at_the_loss_equal_the_oracle(
    config: Config,
    train: Train,
    oracles: Oracles,
    arch: str,
    apply: str,
    changes: dict[str, Any],
    least: int,
) -> None:
    oracle = oracles(arch)
    threshold = oracle.threshold()
    block = {"mask": {"use": "stm", "ppl_threshold": threshold, "apply": apply}}
    found = train(config(arch, ppx=block, **changes))
    assert check(found.train, oracle, threshold) >= least
