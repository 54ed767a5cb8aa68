"""What the study does, as values: PROTOCOL.md says why."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

Range = tuple[int, int]


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """One size of the study.

    Attributes:
        bases: name -> fewest and most operations of its training; ``weak`` and ``strong``.
        ranges: name -> operations of the fine-tuning problems, from easy to hard.
        budgets: n, from small to large.
        seeds: how many, by default.
        slices: numbers of operations that are tested, one slice each.
    """

    bases: Mapping[str, Range]
    ranges: Mapping[str, Range]
    budgets: tuple[int, ...]
    seeds: int
    slices: tuple[int, ...]
    test_items: int
    base_steps: int
    base_batch: int
    base_rate: float
    steps: int
    batch: int
    rate: float
    hidden_size: int
    layers: int
    heads: int
    modulus: int = 7
    max_length: int = 512
    ppl_threshold: float = 2.5
    train_items: int = 128
    """Training rows on which the training loss is measured, at most."""
