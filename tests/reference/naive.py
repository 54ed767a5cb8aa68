"""Scores by the definition: one forward for each prefix, one log-softmax in float64."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch


def naive_scores(
    model: Any, ids: Sequence[Any], targets: Sequence[Any]
) -> list[dict[str, np.ndarray[Any, Any]]]:
    """``nll``, ``entropy`` (nats) and ``rank`` of each target, float64 (R,) for each row."""
    return [_row(model, i, t) for i, t in zip(ids, targets, strict=True)]


@torch.no_grad()
def _row(model: Any, ids_T: Any, target_T: Any) -> dict[str, np.ndarray[Any, Any]]:
    found: dict[str, list[float]] = {"nll": [], "entropy": [], "rank": []}
    for i in np.flatnonzero(target_T):
        prefix = torch.from_numpy(np.asarray(ids_T[:i], np.int64))[None]
        logits_V = model(input_ids=prefix, use_cache=False).logits[0, -1].double()
        logp_V = torch.log_softmax(logits_V, -1)
        found["nll"].append(-float(logp_V[int(ids_T[i])]))
        found["entropy"].append(-float((logp_V.exp() * logp_V).sum()))
        found["rank"].append(int((logits_V > logits_V[int(ids_T[i])]).sum()))
    return {name: np.array(values, np.float64) for name, values in found.items()}
