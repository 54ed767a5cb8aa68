"""How rows become forward passes: sorted, packed without padding where that is proven right.

A pack is one row that holds many documents end to end, each attending to itself only. A tiny
probe compares the packed answer with plain forwards before it is trusted; a model that fails it
(state-space layers, attention code of its own) is scored in length-sorted, right-padded batches,
which need no mask under causal attention.

The head runs through the model's own forward too, with the body's answer held in place, on the
wanted positions only and a few rows at a time: no vocabulary-sized tensor outgrows its chunk, and
soft-caps and scalings stay the model's own business.
"""

from __future__ import annotations

import contextlib
import weakref
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ppx_ext.scoring import varlen


@dataclass(frozen=True, slots=True)
class Route:
    """How a model is scored.

    Args:
        packed: documents end to end without padding; False = right-padded batches.
        held: the head runs apart from the body, on chunks; False = whole logits of a batch.
    """

    packed: bool
    held: bool


@dataclass(frozen=True, slots=True)
class Batch:
    """Inputs of one forward pass, and where each document starts in its flattened hidden states.

    Args:
        inputs: keyword arguments of the model's forward.
        starts: flat position of each document's first token.
        lengths: tokens of each document.
    """

    inputs: dict[str, Any]
    starts: tuple[int, ...]
    lengths: tuple[int, ...]


_ROUTES: weakref.WeakKeyDictionary[nn.Module, dict[str, Route]] = weakref.WeakKeyDictionary()
_CANDIDATES = (Route(True, True), Route(False, True))
_PLAIN = Route(False, False)


def plan(lengths: Sequence[int], *, budget: int, packed: bool) -> list[list[int]]:
    """Cut rows, longest first, into groups of at most ``budget`` tokens (padding counted).

    A row longer than the budget gets a group of its own. The order is a function of the lengths
    alone, ties by index.
    """
    groups: list[list[int]] = []
    used = longest = 0
    for index in sorted(range(len(lengths)), key=lambda i: (-lengths[i], i)):
        cost = lengths[index] if packed else longest
        if not groups or used + cost > budget:
            groups.append([])
            used, longest = 0, lengths[index]
            cost = longest
        groups[-1].append(index)
        used += cost
    return groups


def make_batch(model: nn.Module, documents: Sequence[Tensor], *, packed: bool) -> Batch:
    """Join documents (int64 (T,) on the CPU, longest first) into the inputs of one forward."""
    device = device_of(model)
    lengths = tuple(len(document) for document in documents)
    if not packed:
        ids = nn.utils.rnn.pad_sequence(list(documents), batch_first=True)
        starts = tuple(range(0, ids.numel(), ids.shape[1]))
        return Batch({"input_ids": ids.to(device)}, starts, lengths)
    ends = torch.tensor((0, *lengths)).cumsum(0)
    positions = torch.cat([torch.arange(length) for length in lengths])
    inputs: dict[str, Any] = {
        "input_ids": torch.cat(list(documents))[None].to(device),
        "position_ids": positions[None].to(device),
    }
    if _is_flash(model):
        bounds = ends.to(device=device, dtype=torch.int32)
        inputs |= {"cu_seq_lens_q": bounds, "cu_seq_lens_k": bounds}
        inputs |= {"max_length_q": max(lengths), "max_length_k": max(lengths)}
    return Batch(inputs, tuple(ends[:-1].tolist()), lengths)


def logits_of(
    model: nn.Module, batch: Batch, index: Tensor, *, route: Route, rows: int
) -> Iterator[Tensor]:
    """Logits (n <= rows, V) in the model's own dtype at flat positions ``index``, in order.

    Each tensor is the model's own output. Read each before asking for the next: the body is held
    until all have been read.
    """
    chunks = index.split(rows)
    arguments = {**batch.inputs, "use_cache": False, "return_dict": True}
    with contextlib.ExitStack() as stack:
        if route.packed and not _is_flash(model):
            stack.enter_context(varlen.by_document(model, batch.lengths))
        if not route.held:
            flat = model(**arguments).logits.flatten(0, 1)
            yield from (flat[chunk.to(flat.device)] for chunk in chunks)
            return
        advance = stack.enter_context(_held(body_of(model), chunks))
        for _ in chunks:
            advance()
            yield model(**arguments).logits[0]


@contextlib.contextmanager
def _held(body: nn.Module, chunks: Sequence[Tensor]) -> Iterator[Callable[[], None]]:
    """Run ``body`` once, then let each forward of the model see the next chunk of its answer."""
    own = body.__dict__.get("forward")
    forward = body.forward
    waiting = iter(chunks)
    answer: Any = None
    hidden = chunk = torch.empty(0)

    def advance() -> None:
        nonlocal chunk
        chunk = next(waiting)

    def held(*args: Any, **kwargs: Any) -> Any:
        nonlocal answer, hidden
        if answer is None:
            answer = forward(*args, **kwargs)
            hidden = answer.last_hidden_state.flatten(0, 1)
        answer.last_hidden_state = hidden[chunk.to(hidden.device)][None]
        return answer

    body.forward = held
    try:
        yield advance
    finally:
        if own is None:
            del body.forward
        else:
            body.forward = own


def route_of(model: nn.Module) -> Route:
    """The fastest route whose answer equals plain forwards of this model; probed once."""
    implementation = varlen.implementation_of(model)
    routes = _ROUTES.setdefault(model, {})
    if implementation not in routes:
        fitting = (c for c in _CANDIDATES if not c.packed or _may_pack(model))
        routes[implementation] = next((c for c in fitting if _is_right(model, c)), _PLAIN)
    return routes[implementation]


def _may_pack(model: nn.Module) -> bool:
    # On a GPU, one kernel for each document and layer costs more than the padding of sorted rows.
    on_cpu = device_of(model).type == "cpu"
    return _is_flash(model) or (on_cpu and varlen.implementation_of(model) in varlen.SUPPORTED)


def _is_right(model: nn.Module, route: Route) -> bool:
    try:
        return _agrees(model, route)
    except Exception:
        return False  # whatever a foreign model trips over, the plain route is left


@torch.no_grad()
def _agrees(model: nn.Module, route: Route) -> bool:
    """Whether the route gives what plain forwards give, and no document sees another."""
    vocabulary = vocabulary_of(model)
    long, other, short = (
        torch.arange(length) * step % vocabulary for length, step in ((13, 7), (13, 11), (9, 5))
    )
    answer = _answers(model, (long, short), route)
    moved = _answers(model, (other, short), route)
    device = device_of(model)
    plain = [model(input_ids=part[None].to(device)).logits[0] for part in (long, short)]
    expected = torch.cat(plain).float()
    half = answer.dtype != torch.float32 or next(model.parameters()).dtype != torch.float32
    near, equal = (0.2, 2e-2) if half else (1e-3, 1e-5)
    scale = float(expected.std())
    leak = (answer[len(long) :] - moved[len(long) :]).float().abs().max()
    return bool((answer.float() - expected).abs().max() <= near * scale and leak <= equal * scale)


def _answers(model: nn.Module, documents: Sequence[Tensor], route: Route) -> Tensor:
    batch = make_batch(model, documents, packed=route.packed)
    spans = [
        torch.arange(start, start + length)
        for start, length in zip(batch.starts, batch.lengths, strict=True)
    ]
    index = torch.cat(spans).to(device_of(model))
    return torch.cat(list(logits_of(model, batch, index, route=route, rows=8)))


def body_of(model: nn.Module) -> nn.Module:
    """The decoder without its head; the model itself where it names none."""
    find: Any = getattr(model, "get_decoder", None)
    body = find() if find is not None else None
    if body is None or body is model:
        body = getattr(model, getattr(model, "base_model_prefix", None) or "", model)
    return body if isinstance(body, nn.Module) else model


def device_of(model: nn.Module) -> torch.device:
    """Where the input ids belong: the device of the input embeddings."""
    return _embeddings(model).device


def vocabulary_of(model: nn.Module) -> int:
    """How many token ids the input embeddings know."""
    embeddings: Any = model.get_input_embeddings()  # type: ignore[operator]
    config: Any = model.config
    return int(getattr(embeddings, "num_embeddings", None) or config.vocab_size)


def _embeddings(model: nn.Module) -> Tensor:
    weight = getattr(model.get_input_embeddings(), "weight", None)  # type: ignore[operator]
    return weight if isinstance(weight, Tensor) else next(model.parameters())


def _is_flash(model: nn.Module) -> bool:
    return "flash" in varlen.implementation_of(model)
