"""Selective Token Masking (arXiv 2501.14315), its variants and its controls."""

from __future__ import annotations

from collections.abc import Sequence

from ppx_ext import Mask, TokenScorer, hookimpl
from ppx_stm.masks import DPF, LOWEST, RANDOM, STM, STM_DPF
from ppx_stm.scorers import CAUSAL_LM, COLUMN


@hookimpl
def ppx_register_scorers() -> Sequence[TokenScorer]:
    """Scores from a causal language model's forward pass, or from a column that the user brings."""
    return [CAUSAL_LM, COLUMN]


@hookimpl
def ppx_register_masks() -> Sequence[Mask]:
    """STM, differential filtering, both together, and the two controls of equal count."""
    return [STM, DPF, STM_DPF, RANDOM, LOWEST]
