"""Per-token scores of ids under a causal language model: NLL, entropy and rank.

One forward pass over packed rows; the head sees response positions only (``packing`` says how).
The NLL of a token under the untouched base model is the difficulty that selective token masking
reads (arXiv 2501.14315, section 3). Scores are float32 whatever the dtype of the model.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import nn

from ppx_ext.scoring.models import quiet, unwrap
from ppx_ext.scoring.packing import (
    Batch,
    Route,
    bytes_of,
    device_of,
    logits_of,
    make_batch,
    plan,
    route_of,
    vocabulary_of,
)
from ppx_ext.scoring.passes import Passes

if TYPE_CHECKING:
    from ppx_ext.contracts import Bools, Floats, Ints

SCORES = ("nll", "entropy", "rank")
_BUDGET = {"cpu": 2048}
_GPU_BUDGET = 16384
# Logits of one head call in half precision (twice as many in float32, as each call reads all of the
# head, which has twice the bytes), and float32 values of one pass over them. The first is as small
# as keeps the head busy, and below the 32 MiB from which glibc maps memory anew for every tensor;
# the second stays in a core's cache.
_CELLS = {"cpu": (31 * 2**17, 2**18)}
_GPU_CELLS = (2**26, 2**26)
_FEWEST_ROWS = 64


class NotFiniteError(ValueError):
    """A score is NaN or infinite; ``row`` is the row's index in the call, ``score`` its name."""

    def __init__(self, row: int, name: str) -> None:
        self.row, self.score = row, name
        super().__init__(
            f"row {row}: {name} is NaN or infinite. Likely causes: activations overflow in float16 "
            "(load the model in bfloat16 or float32) or a broken checkpoint (check its files)."
        )


def token_scores(
    model: nn.Module,
    ids: Sequence[Ints],
    targets: Sequence[Bools],
    *,
    names: Sequence[str] = ("nll",),
    batch_tokens: int | None = None,
) -> list[dict[str, Floats]]:
    """Score the targets of each row under ``model`` (arXiv 2501.14315, section 3).

    The model runs in eval mode without gradients and is left as it was. PEFT adapters stay as
    they are; `base_of` switches them off.

    Args:
        ids: token ids of each row, int (T,).
        targets: bool (T,) for each row; entry 0 must be False, as token 0 has no context.
        names: which of `SCORES`: ``nll`` = -log p(ids[i] | ids[:i]) in nats, ``entropy`` of that
            distribution in nats, ``rank`` = how many tokens have a larger logit (0 = top).
        batch_tokens: tokens in one forward pass; None = 2048 on a CPU, 16384 on a GPU.

    Returns:
        For each row name -> float32 (R,), R = number of targets, in order.

    Raises:
        ValueError: malformed rows, unknown names, prompt-learning adapters.
        NotFiniteError: a score is NaN or infinite.
    """
    unknown = set(names) - set(SCORES)
    if unknown:
        raise ValueError(f"unknown scores {sorted(unknown)}; choose from {SCORES}")
    model = unwrap(model)
    _check_rows(model, ids, targets)
    copy_of = _first_copies(ids, targets)
    distinct = sorted(set(copy_of) - {-1})
    empty = {name: np.empty(0, np.float32) for name in names}
    scored: dict[int, dict[str, Floats]] = {}
    with quiet(model):
        for row, scores in _score_rows(model, ids, targets, distinct, names, batch_tokens):
            scored[row] = scores
    found = [scored[row] if row >= 0 else empty for row in copy_of]
    return [{name: scores[name].copy() for name in names} for scores in found]


def check_finite(scores: Sequence[Mapping[str, Floats]]) -> None:
    """Raise `NotFiniteError` for the first row with a NaN or an infinity in any of its scores."""
    for row, named in enumerate(scores):
        for name, values in named.items():
            if not np.isfinite(values).all():
                raise NotFiniteError(row, name)


def _check_rows(model: nn.Module, ids: Sequence[Ints], targets: Sequence[Bools]) -> None:
    if len(ids) != len(targets):
        raise ValueError(f"{len(ids)} rows of ids but {len(targets)} rows of targets")
    vocabulary = vocabulary_of(model)
    for row, (ids_T, target_T) in enumerate(zip(ids, targets, strict=True)):
        if np.shape(ids_T) != np.shape(target_T) or np.ndim(ids_T) != 1:
            raise ValueError(
                f"row {row}: ids of shape {np.shape(ids_T)}, targets of {np.shape(target_T)}; "
                "both must be flat and equally long"
            )
        if not len(ids_T):
            continue
        if target_T[0]:
            raise ValueError(f"row {row}: token 0 has no context, so it cannot be a target")
        if np.min(ids_T) < 0 or np.max(ids_T) >= vocabulary:
            raise ValueError(
                f"row {row}: token ids outside 0..{vocabulary - 1}, the model's vocabulary; do the "
                "tokenizer and the model belong together?"
            )


def _first_copies(ids: Sequence[Ints], targets: Sequence[Bools]) -> list[int]:
    """For each row the first row with equal ids and targets (-1 = no target): scored once."""
    seen: dict[bytes, int] = {}
    copies = []
    for row, (ids_T, target_T) in enumerate(zip(ids, targets, strict=True)):
        where = np.flatnonzero(target_T)
        if not len(where):
            copies.append(-1)
            continue
        content = np.ascontiguousarray(ids_T[: where[-1] + 1], dtype=np.int32)
        key = hashlib.blake2b(content.tobytes(), digest_size=16)
        key.update(where.tobytes())
        copies.append(seen.setdefault(key.digest(), row))
    return copies


def _score_rows(
    model: nn.Module,
    ids: Sequence[Ints],
    targets: Sequence[Bools],
    rows: Sequence[int],
    names: Sequence[str],
    batch_tokens: int | None,
) -> Iterator[tuple[int, dict[str, Floats]]]:
    if not rows:
        return
    route = route_of(model)
    budget = batch_tokens or _BUDGET.get(device_of(model).type, _GPU_BUDGET)
    where = [np.flatnonzero(targets[row]) for row in rows]
    # The last target itself is never an input.
    documents = [np.asarray(ids[r])[: where_R[-1]] for r, where_R in zip(rows, where, strict=True)]
    for group in plan(documents, budget=budget, route=route):
        batch = make_batch(model, [documents[g] for g in group], route)
        places = [batch.places(position)[where[g] - 1] for position, g in enumerate(group)]
        labels = [np.asarray(ids[rows[g]])[where[g]] for g in group]
        scores = _score_batch(
            model, batch, np.concatenate(places), np.concatenate(labels), names, route
        )
        cuts = np.cumsum([len(where[g]) for g in group])[:-1]
        parts = [np.split(column, cuts) for column in scores]
        for position, g in enumerate(group):
            named = dict(zip(SCORES, (part[position] for part in parts), strict=False))
            for name, values in named.items():
                if not np.isfinite(values).all():
                    raise NotFiniteError(rows[g], name)
            yield rows[g], named


def _score_batch(
    model: nn.Module, batch: Batch, places: Ints, labels: Ints, names: Sequence[str], route: Route
) -> Floats:
    """float32 (1 or 3, number of targets): NLL, and entropy and rank where asked for.

    Args:
        places: flat positions whose logits predict ``labels``; equal pairs are scored once.
    """
    device, vocabulary = device_of(model), vocabulary_of(model)
    pairs, pair_of = np.unique(places.astype(np.int64) * vocabulary + labels, return_inverse=True)
    index, label = (torch.from_numpy(part).to(device) for part in np.divmod(pairs, vocabulary))
    cells, block = _CELLS.get(device.type, _GPU_CELLS)
    rows = max(_FEWEST_ROWS, cells * bytes_of(model) // (2 * vocabulary))
    out = torch.empty(3 if set(names) - {"nll"} else 1, len(index), device=device)
    start = 0
    passes = Passes(block)
    for logits in logits_of(model, batch, index, route=route, rows=rows):
        stop = start + len(logits)
        passes.read(logits, label[start:stop].to(logits.device), out[:, start:stop])
        start = stop
        del logits  # or two chunks would live at once
    return out.cpu().numpy()[:, pair_of]
