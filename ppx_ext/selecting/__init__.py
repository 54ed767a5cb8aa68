"""Rows chosen by a column of scores, on data larger than memory: exact, seeded, streaming.

Functions over numpy arrays and memory maps; larger scores are harder. `run` is `ppx select`.
"""

from __future__ import annotations

from ppx_ext.selecting.budget import Chosen, choose, in_window
from ppx_ext.selecting.shuffle import Permutation
from ppx_ext.selecting.strata import Drawn, draw, quantile_bins, shares

__all__ = [
    "Chosen",
    "Drawn",
    "Permutation",
    "choose",
    "draw",
    "in_window",
    "quantile_bins",
    "shares",
]
