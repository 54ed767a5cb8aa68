"""Attention over a packed row, one document at a time, by the model's own attention function.

Works for models that look their attention up in transformers' registries. The mask comes from the
model's own call as well: the longest document lies first in a pack, so the top left corner of its
mask is the mask of every shorter document (causal, sliding and chunked patterns all depend on
positions inside the document only). Where a document's beginning lies elsewhere in the row, the
rest of its tokens see keys and values from there.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from ppx_ext.scoring.tree import Segment

NAME = "ppx_packed"
SUPPORTED = ("sdpa", "eager")


@dataclass(frozen=True, slots=True)
class _Layout:
    segments: Sequence[Segment]
    implementation: str
    # Only where documents share tokens: additive causal mask of the longest, for each dtype.
    causal: dict[torch.dtype, Tensor] = field(default_factory=dict)

    @property
    def longest(self) -> int:
        start, stop = self.segments[0].own
        return stop - start

    def causal_mask(self, like: Tensor) -> Tensor:
        """(longest, longest): 0 where a token is seen, else -inf."""
        if like.dtype not in self.causal:
            mask = torch.full((self.longest,) * 2, float("-inf"), dtype=like.dtype)
            self.causal[like.dtype] = mask.triu_(1).to(like.device)
        return self.causal[like.dtype]


_LAYOUT: ContextVar[_Layout] = ContextVar("ppx_layout")


def implementation_of(model: nn.Module) -> str:
    """The name of the model's attention implementation (``sdpa``, ``flash_attention_2`` ...)."""
    return str(getattr(model.config, "_attn_implementation", None))


@contextlib.contextmanager
def by_document(model: nn.Module, segments: Sequence[Segment]) -> Iterator[None]:
    """Attend inside documents that lie in one row; the first is the longest and all its own.

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
    token = _LAYOUT.set(_Layout(segments, implementation_of(model)))
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
    longest = layout.longest
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
    outputs = []
    for segment in layout.segments:
        start, stop = segment.own
        if start == stop:
            continue
        q, k, v = query[:, :, start:stop], _along(segment, key), _along(segment, value)
        mask = _corner(layout, segment, attention_mask, like=q)
        outputs.append(attend(module, q, k, v, mask, **kwargs)[0])
    return torch.cat(outputs, dim=1), None


def _along(segment: Segment, states: Tensor) -> Tensor:
    """(1, heads, T, dim) -> (1, heads, tokens of the document, dim)."""
    parts = [states[:, :, start:stop] for start, stop in segment.path]
    return parts[0] if len(parts) == 1 else torch.cat(parts, dim=2)


def _corner(
    layout: _Layout, segment: Segment, mask: Tensor | None, *, like: Tensor
) -> Tensor | None:
    """The part of the longest document's mask that this one's own tokens need."""
    seen = segment.seen
    if mask is None:
        if not seen:
            return None
        mask = layout.causal_mask(like)[None, None]
    length = seen + like.shape[2]
    return mask[..., seen:length, :length]


def _original(implementation: str, module: nn.Module) -> Callable[..., Any]:
    from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

    if implementation != "eager":
        return ALL_ATTENTION_FUNCTIONS[implementation]  # type: ignore[no-any-return]
    return sys.modules[type(module).__module__].eager_attention_forward  # type: ignore[no-any-return]
