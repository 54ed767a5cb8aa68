"""The passes over logits that turn them into scores, in float32 and without large copies."""

from __future__ import annotations

import torch
from torch import Tensor

_UNDERFLOW = 1e-30


class Passes:
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
