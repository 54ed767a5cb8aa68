"""Beginnings that several rows share, computed once, their keys and values given to each row."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Sequence
from typing import Any

import torch
from transformers.cache_utils import DynamicLayer, DynamicSlidingWindowLayer

log = logging.getLogger(__name__)


def shared_cache(model: Any, rows: Sequence[tuple[int, ...]], pad: int) -> Any | None:
    """The cache of all prompt tokens but the last, for `generate`; or None where it cannot be.

    Each distinct prompt is computed once. None, so that every row is computed for itself, where
    no row is like another, where a prompt has one token, and for models whose memory is not one of
    keys and values for each token (recurrent ones), which cannot be repeated row by row here.

    Args:
        model: a causal LM out of its wrappers.
        rows: prompts as `generate` is given them, in order.
        pad: id that fills the left.
    """
    distinct = {ids: place for place, ids in enumerate(dict.fromkeys(rows))}
    if len(distinct) == len(rows) or max(map(len, rows)) < 2 or not _can_share(model):
        return None
    ids_PT, mask_PT = left_padded(list(distinct), pad, model.get_input_embeddings().weight.device)
    cache = model.base_model(
        input_ids=ids_PT[:, :-1],
        attention_mask=mask_PT[:, :-1],
        position_ids=(mask_PT.cumsum(-1) - 1).clamp_(min=0)[:, :-1],
        use_cache=True,
    ).past_key_values
    layers = getattr(cache, "layers", ())
    if not layers or any(type(each) not in _REPEATABLE for each in layers):
        log.info(
            "%s keeps no plain keys and values: each sample's prompt is computed for itself",
            type(model).__name__,
        )
        return None
    cache.batch_select_indices(torch.tensor([distinct[ids] for ids in rows], device=ids_PT.device))
    return cache


_REPEATABLE = (DynamicLayer, DynamicSlidingWindowLayer)


def _can_share(model: Any) -> bool:
    takes = inspect.signature(model.forward).parameters
    stateful = getattr(model, "_is_stateful", False)
    return not stateful and {"position_ids", "past_key_values"} <= takes.keys()


def left_padded(
    rows: Sequence[Sequence[int]], pad: int, device: torch.device
) -> tuple[torch.Tensor, torch.Tensor]:
    """Ids and attention mask (B, T) of rows that end together."""
    width = max(map(len, rows))
    ids_BT = torch.full((len(rows), width), pad, dtype=torch.long)
    mask_BT = torch.zeros_like(ids_BT)
    for place, found in enumerate(rows):
        ids_BT[place, width - len(found) :] = torch.tensor(found)
        mask_BT[place, width - len(found) :] = 1
    return ids_BT.to(device), mask_BT.to(device)
