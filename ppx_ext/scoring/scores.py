"""Per-token scores of ids under a causal language model: NLL, entropy and rank.

One forward pass over packed rows; the head sees response positions only (``packing`` says how).
The NLL of a token under the untouched base model is the difficulty that selective token masking
reads (arXiv 2501.14315, section 3). Scores are float32 whatever the dtype of the model.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from ppx_ext.scoring.models import quiet, unwrap
from ppx_ext.scoring.packing import (
    Batch,
    Route,
    device_of,
    logits_of,
    make_batch,
    plan,
    route_of,
    vocabulary_of,
)

if TYPE_CHECKING:
    from ppx_ext.contracts import Bools, Floats, Ints

SCORES = ("nll", "entropy", "rank")
_BUDGET = {"cpu": 2048}
_GPU_BUDGET = 16384
# Logits of one head call, and float32 values of one pass over them: the first keeps the weights
# of the head busy and the memory small, the second stays in a core's cache.
_CELLS = {"cpu": (2**22, 2**18)}
_GPU_CELLS = (2**26, 2**26)
_FEWEST_ROWS = 64
_UNDERFLOW = 1e-30


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
    lengths = [int(where_R[-1]) for where_R in where]  # the last target itself is never an input
    for group in plan(lengths, budget=budget, packed=route.packed):
        documents = [
            torch.from_numpy(np.array(ids[rows[g]][: lengths[g]], np.int64)) for g in group
        ]
        batch = make_batch(model, documents, packed=route.packed)
        places = [where[g] - 1 + start for g, start in zip(group, batch.starts, strict=True)]
        labels = [np.asarray(ids[rows[g]])[where[g]] for g in group]
        scores = _score_batch(
            model, batch, _flat(places, model), _flat(labels, model), names, route
        )
        cuts = np.cumsum([len(where[g]) for g in group])[:-1]
        parts = [np.split(column, cuts) for column in scores]
        for position, g in enumerate(group):
            named = dict(zip(SCORES, (part[position] for part in parts), strict=False))
            for name, values in named.items():
                if not np.isfinite(values).all():
                    raise NotFiniteError(rows[g], name)
            yield rows[g], named


def _flat(parts: Sequence[np.ndarray[Any, Any]], model: nn.Module) -> Tensor:
    return torch.from_numpy(np.concatenate(parts).astype(np.int64)).to(device_of(model))


def _score_batch(
    model: nn.Module, batch: Batch, index: Tensor, label: Tensor, names: Sequence[str], route: Route
) -> np.ndarray[Any, Any]:
    """float32 (1 or 3, number of targets): NLL, and entropy and rank where asked for."""
    every = len(set(names) - {"nll"}) > 0
    cells, block = _CELLS.get(index.device.type, _GPU_CELLS)
    rows = max(_FEWEST_ROWS, cells // vocabulary_of(model))
    out = torch.empty(3 if every else 1, len(index), device=index.device)
    start = 0
    passes = _Passes(block)
    for logits in logits_of(model, batch, index, route=route, rows=rows):
        stop = start + len(logits)
        passes.read(logits, label[start:stop].to(logits.device), out[:, start:stop])
        start = stop
        del logits  # or two chunks would live at once
    return out.cpu().numpy()


class _Passes:
    """The passes over logits, in float32 buffers that are small enough to stay in the cache."""

    def __init__(self, cells: int) -> None:
        self.cells = cells
        self.buffers: tuple[Tensor, Tensor] | None = None

    def read(self, logits: Tensor, label: Tensor, out: Tensor) -> None:
        """Write the scores of (n, V) logits at (n,) labels to ``out`` (1 or 3, n)."""
        count, every = len(logits), len(out) > 1
        own = logits.gather(1, label[:, None]).float()
        picked, product, rank = torch.zeros(3, count, device=logits.device)
        rows = max(1, self.cells // logits.shape[1])
        for start in range(0, count, rows):
            part = slice(start, min(start + rows, count))
            x, p = self._softmax(logits[part], rows)
            picked[part] = p.gather(1, label[part, None])[:, 0]
            if every:
                product[part] = p.mul_(x).sum(-1)
                rank[part] = torch.gt(x, own[part], out=p).sum(-1)
        nll = _nll(logits, label, picked)
        out[0] = nll
        if every:
            # H = lse - sum(p x), and lse = nll + x[label]: one product instead of a pass of logs.
            out[1] = _entropy(logits, nll + own[:, 0] - product)
            out[2] = rank

    def _softmax(self, logits: Tensor, rows: int) -> tuple[Tensor, Tensor]:
        if self.buffers is None:
            x, p = torch.empty(2, rows, logits.shape[1], device=logits.device)
            self.buffers = x, p
        x, p = (buffer[: len(logits)] for buffer in self.buffers)
        x.copy_(logits)
        torch.softmax(x, -1, out=p)
        return x, p


def _nll(logits: Tensor, label: Tensor, picked: Tensor) -> Tensor:
    """-log p; by way of log-softmax where p itself is too small for float32."""
    nll = -picked.log()
    tiny = picked < _UNDERFLOW
    if bool(tiny.any()):
        log_p = torch.log_softmax(logits[tiny].float(), -1)
        nll[tiny] = -log_p.gather(1, label[tiny, None])[:, 0]
    return nll


def _entropy(logits: Tensor, entropy: Tensor) -> Tensor:
    """The entropies; from p alone where logits of -inf made 0 * inf of a term."""
    lost = ~entropy.isfinite()
    if bool(lost.any()):
        p = torch.softmax(logits[lost].float(), -1)
        entropy[lost] = torch.special.entr(p).sum(-1)
    return entropy.clamp_(min=0)
