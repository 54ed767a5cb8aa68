"""How rows become forward passes: sorted, packed without padding where that is proven right.

A pack is one row that holds many documents end to end, each attending to itself only; what they
begin with together is in it once (``tree``). A tiny probe compares the packed answer with plain
forwards before it is trusted; a model that fails it (state-space layers, attention code of its own)
is scored in length-sorted, right-padded batches, which need no mask under causal attention.

The head runs through the model's own forward too, with the body's answer held in place, on the
wanted positions only and a few rows at a time: no vocabulary-sized tensor outgrows its chunk, and
soft-caps and scalings stay the model's own business.
"""

from __future__ import annotations

import contextlib
import weakref
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from ppx_ext.scoring import tree, varlen
from ppx_ext.scoring.tree import Segment

if TYPE_CHECKING:
    from ppx_ext.contracts import Ints


@dataclass(frozen=True, slots=True)
class Route:
    """How a model is scored.

    Args:
        packed: documents end to end without padding; False = right-padded batches.
        held: the head runs apart from the body, on chunks; False = whole logits of a batch.
        shared: packed documents that begin alike share these tokens.
    """

    packed: bool
    held: bool
    shared: bool = False


@dataclass(frozen=True, slots=True)
class Batch:
    """Inputs of one forward pass, and where each document lies in its flattened hidden states.

    Args:
        inputs: keyword arguments of the model's forward.
        segments: where the documents lie, as spans of flat positions.
    """

    inputs: dict[str, Any]
    segments: Sequence[Segment]

    def places(self, document: int) -> np.ndarray[Any, Any]:
        """The flat position of each token of a document, int (T,)."""
        return np.concatenate([np.arange(*span) for span in self.segments[document].path])


_ROUTES: weakref.WeakKeyDictionary[nn.Module, dict[str, Route]] = weakref.WeakKeyDictionary()
_CANDIDATES = (Route(True, True, True), Route(True, True), Route(False, True))
_PLAIN = Route(False, False)


def plan(documents: Sequence[Ints], *, budget: int, route: Route) -> list[list[int]]:
    """Cut int (T,) documents into groups of at most ``budget`` tokens, padding counted.

    A document longer than the budget gets a group of its own. Groups begin with their longest
    document; all is a function of the documents alone, ties by index.
    """
    if route.shared:
        return tree.plan(documents, budget=budget)
    groups: list[list[int]] = []
    used = longest = 0
    for index in sorted(range(len(documents)), key=lambda i: (-len(documents[i]), i)):
        cost = len(documents[index]) if route.packed else longest
        if not groups or used + cost > budget:
            groups.append([])
            used, cost = 0, len(documents[index])
            longest = cost
        groups[-1].append(index)
        used += cost
    return groups


def make_batch(model: nn.Module, documents: Sequence[Ints], route: Route) -> Batch:
    """Join int (T,) documents, in the order of `plan`, into the inputs of one forward."""
    device = device_of(model)
    if not route.packed:
        width = max(map(len, documents))
        ids = np.zeros((len(documents), width), np.int64)
        for row, document in enumerate(documents):
            ids[row, : len(document)] = document
        starts = range(0, ids.size, width)
        segments = [Segment((), (s, s + len(d))) for s, d in zip(starts, documents, strict=True)]
        return Batch({"input_ids": torch.from_numpy(ids).to(device)}, segments)
    segments = tree.lay(documents, shared=route.shared)
    own = [slice(segment.seen, len(d)) for segment, d in zip(segments, documents, strict=True)]
    ids = np.concatenate([document[new] for document, new in zip(documents, own, strict=True)])
    positions = np.concatenate([np.arange(new.start, new.stop) for new in own])
    inputs: dict[str, Any] = {
        "input_ids": torch.from_numpy(ids.astype(np.int64))[None].to(device),
        "position_ids": torch.from_numpy(positions)[None].to(device),
    }
    if _is_flash(model):
        lengths = [len(document) for document in documents]
        bounds = torch.tensor((0, *lengths)).cumsum(0).to(device=device, dtype=torch.int32)
        inputs |= {"cu_seq_lens_q": bounds, "cu_seq_lens_k": bounds}
        inputs |= {"max_length_q": max(lengths), "max_length_k": max(lengths)}
    return Batch(inputs, segments)


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
            stack.enter_context(varlen.by_document(model, batch.segments))
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
        fitting = (c for c in _CANDIDATES if _may_be(c, model))
        routes[implementation] = next((c for c in fitting if _is_right(model, c)), _PLAIN)
    return routes[implementation]


def _may_be(route: Route, model: nn.Module) -> bool:
    # On a GPU, one kernel for each document and layer costs more than the padding of sorted rows.
    on_cpu = device_of(model).type == "cpu"
    by_document = on_cpu and varlen.implementation_of(model) in varlen.SUPPORTED
    return not route.packed or by_document or (_is_flash(model) and not route.shared)


def _is_right(model: nn.Module, route: Route) -> bool:
    try:
        return _agrees(model, route)
    except Exception:
        return False  # whatever a foreign model trips over, the plain route is left


@torch.no_grad()
def _agrees(model: nn.Module, route: Route) -> bool:
    """Whether the route gives what plain forwards give, and no document sees another."""
    vocabulary = vocabulary_of(model)
    start = np.zeros(0, int) if not route.shared else np.arange(tree.FEWEST_SHARED) * 3 % vocabulary
    long, other, short = (
        np.concatenate([start, np.arange(1, length) * step % vocabulary])
        for length, step in ((14, 7), (14, 11), (10, 5))
    )
    answer = _answers(model, (long, short), route)
    moved = _answers(model, (other, short), route)
    device = device_of(model)
    plain = [
        model(input_ids=torch.from_numpy(part)[None].to(device)).logits[0] for part in (long, short)
    ]
    expected = torch.cat(plain).float()
    half = answer.dtype != torch.float32 or next(model.parameters()).dtype != torch.float32
    near, equal = (0.2, 2e-2) if half else (1e-3, 1e-5)
    scale = float(expected.std())
    leak = (answer[len(long) :] - moved[len(long) :]).float().abs().max()
    return bool((answer.float() - expected).abs().max() <= near * scale and leak <= equal * scale)


def _answers(model: nn.Module, documents: Sequence[Ints], route: Route) -> Tensor:
    batch = make_batch(model, documents, route)
    flat = np.concatenate([batch.places(document) for document in range(len(documents))])
    index = torch.from_numpy(flat).to(device_of(model))
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


def bytes_of(model: nn.Module) -> int:
    """Bytes of one value in the dtype that the model computes in."""
    return _embeddings(model).dtype.itemsize


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
