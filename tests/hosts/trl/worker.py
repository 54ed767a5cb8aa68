"""One of several processes that train together; writes what it saw to FOLDER/<way>-<rank>.json."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

from ppx_ext import scoring
from tests.hosts.trl.lab import Lab, documents, lora, shape_of, trainer
from tests.processes import leave

_SCORED: list[int] = []
_token_scores = scoring.token_scores


def _counting(model: object, ids: list[object], *args: object, **kwargs: object) -> object:
    _SCORED.append(len(ids))
    return _token_scores(model, ids, *args, **kwargs)  # type: ignore[arg-type]


def main(folder: Path) -> None:
    """Train the lab's rows in each way."""
    scoring.token_scores = _counting  # type: ignore[assignment]
    lab = Lab()
    for way in ("baked", "collator", "online"):
        _SCORED.clear()
        block = {**lab.block(folder / way, way), "shard_rows": 4}
        run = trainer(lab, folder / way, ppx=block, peft=lora(), ddp_backend="gloo")
        run.train()
        weights = {name: p.double().sum().item() for name, p in run.model.named_parameters()}
        found = {
            "documents": [shape_of(*doc) for batch in run.caught for doc in documents(batch)],
            "counts": [batch.count for batch in run.caught],
            "losses": [entry["loss"] for entry in run.state.log_history if "loss" in entry],
            "weights": weights,
            "scored": sum(_SCORED),
        }
        rank = int(os.environ["RANK"])
        (folder / f"{way}-{rank}.json").write_text(json.dumps(found))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
    leave()
