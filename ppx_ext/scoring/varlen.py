"""Attention over a packed row, one document at a time, by the model's own attention function.

Works for models that look their attention up in transformers' registries. The mask comes from the
model's own call as well: the longest document lies first in a pack, so the top left corner of its
mask is the mask of every shorter document (causal, sliding and chunked patterns all depend on
positions inside the document only).
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

NAME = "ppx_packed"
SUPPORTED = ("sdpa", "eager")


@dataclass(frozen=True, slots=True)
class _Layout:
    lengths: tuple[int, ...]
    implementation: str


_LAYOUT: ContextVar[_Layout] = ContextVar("ppx_layout")


def implementation_of(model: nn.Module) -> str:
    """The name of the model's attention implementation (``sdpa``, ``flash_attention_2`` ...)."""
    return str(getattr(model.config, "_attn_implementation", None))


@contextlib.contextmanager
def by_document(model: nn.Module, lengths: tuple[int, ...]) -> Iterator[None]:
    """Attend inside documents of these lengths (longest first) that lie end to end in one row.

    The model's configs name the implementation for the time being and get their own back.
    """
    _register()
    found: list[Any] = [getattr(module, "config", None) for module in model.modules()]
    configs = {id(config): config for config in found}
    before = [
        (config, config._attn_implementation)
        for config in configs.values()
        if hasattr(config, "_attn_implementation")
    ]
    token = _LAYOUT.set(_Layout(lengths, implementation_of(model)))
    try:
        for config, _ in before:
            config._attn_implementation = NAME
        yield
    finally:
        for config, implementation in before:
            config._attn_implementation = implementation
        _LAYOUT.reset(token)


def _register() -> None:
    from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS
    from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

    ALL_ATTENTION_FUNCTIONS.register(NAME, _attend)
    ALL_MASK_ATTENTION_FUNCTIONS.register(NAME, _mask)


def _mask(*, q_length: int, kv_length: int, **kwargs: Any) -> Tensor | None:
    """The original implementation's mask for the longest document alone."""
    from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS

    layout = _LAYOUT.get()
    longest = layout.lengths[0]
    original: Any = ALL_MASK_ATTENTION_FUNCTIONS[layout.implementation]
    mask: Tensor | None = original(q_length=longest, kv_length=longest, **kwargs)
    if mask is not None and mask.dtype == torch.bool and _is_causal(mask):
        return None  # lets SDPA take its causal kernel, which skips half of the work
    return mask


def _is_causal(mask: Tensor) -> bool:
    return bool((mask == torch.ones_like(mask[0, 0]).tril()).all())


def _attend(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """(1, heads, T, dim) for each of query, key and value -> (1, T, heads, dim)."""
    layout = _LAYOUT.get()
    attend = _original(layout.implementation, module)
    sizes = layout.lengths
    parts = zip(query.split(sizes, 2), key.split(sizes, 2), value.split(sizes, 2), strict=True)
    outputs = []
    for q, k, v in parts:
        length = q.shape[2]
        mask = None if attention_mask is None else attention_mask[..., :length, :length]
        outputs.append(attend(module, q, k, v, mask, **kwargs)[0])
    return torch.cat(outputs, dim=1), None


def _original(implementation: str, module: nn.Module) -> Callable[..., Any]:
    from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

    if implementation != "eager":
        return ALL_ATTENTION_FUNCTIONS[implementation]  # type: ignore[no-any-return]
    return sys.modules[type(module).__module__].eager_attention_forward  # type: ignore[no-any-return]
