"""transformers' continuous batching: finished rows make room for new ones at once.

It swallows errors: a request that went wrong is missing from the results of one release, and there
without tokens in another. So every result is looked for by its prompt, and its error looked at.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from ppx_ext.answering import Failure
from ppx_ext.generation.batches import Wanted

BLOCK_TOKENS = 32
MAX_BATCH_TOKENS = 2048


def problem(model: Any) -> str | None:
    """Why a model cannot be asked in this way, or None."""
    if getattr(model.config.get_text_config(), "attn_logit_softcapping", None):
        return (
            "the attention of this model is soft-capped, which the paged attention of continuous "
            "batching leaves out in silence; use `batching: padded`"
        )
    return None


def continuous(
    model: Any, config: Any, wanted: Sequence[Wanted], rows: int
) -> list[list[int] | Failure]:
    """New tokens for each of the requests, or why there are none, in order.

    Args:
        model: a causal LM out of its wrappers.
        config: for `generate`; greedy.
        wanted: of one group.
        rows: that the cache has room for at one time.
    """
    distinct = [list(ids) for ids in dict.fromkeys(one.ids for one in wanted)]
    results = model.generate_batch(
        inputs=distinct,
        generation_config=config,
        continuous_batching_config=_room(distinct, config.max_new_tokens, rows),
        progress_bar=False,
    )
    found = {tuple(result.prompt_ids): result for result in results.values()}
    return [_new_tokens(found.get(one.ids)) for one in wanted]


def _new_tokens(result: Any | None) -> list[int] | Failure:
    if result is None:
        return Failure(reason="continuous batching lost the request; see its log")
    if result.error or not result.is_finished() or not result.generated_tokens:
        why = result.error or "it ended without a token"
        return Failure(reason=f"continuous batching: {why}")
    return list(result.generated_tokens)


def _room(distinct: list[list[int]], new_tokens: int, rows: int) -> Any:
    """The cache's size, of the work at hand: by default it takes what memory is free."""
    from transformers import ContinuousBatchingConfig

    longest = max(map(len, distinct)) + new_tokens
    blocks = -(-longest // BLOCK_TOKENS) + 1
    known = {field.name for field in dataclasses.fields(ContinuousBatchingConfig)}
    settings: dict[str, Any] = {
        "page_size" if "page_size" in known else "block_size": BLOCK_TOKENS,
        "num_blocks": blocks * min(rows, len(distinct)) + blocks,
        "max_batch_tokens": max(MAX_BATCH_TOKENS, longest),
    }
    return ContinuousBatchingConfig(**settings)
