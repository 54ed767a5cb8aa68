"""Rows chosen by a column of scores, on data larger than memory: exact, seeded, streaming.

Functions over numpy arrays and memory maps; larger scores are harder. `run` is `ppx select`.
`ShuffledSampler` and `OrderedSampler` are PyTorch samplers, for a training loop of one's own; only
they import torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ppx_ext.selecting.budget import Chosen, choose, in_window
from ppx_ext.selecting.shuffle import Permutation
from ppx_ext.selecting.strata import Drawn, draw, quantile_bins, shares

if TYPE_CHECKING:
    from ppx_ext.selecting.sampler import OrderedSampler, ShuffledSampler

__all__ = [
    "Chosen",
    "Drawn",
    "OrderedSampler",
    "Permutation",
    "ShuffledSampler",
    "choose",
    "draw",
    "in_window",
    "quantile_bins",
    "shares",
]


def __getattr__(name: str) -> Any:
    if name in ("OrderedSampler", "ShuffledSampler"):
        from ppx_ext.selecting import sampler

        return getattr(sampler, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
