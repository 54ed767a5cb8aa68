"""One of several processes that train in an order; writes what it saw to FOLDER/<rank>.json."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

from ppx_ext import scoring
from tests.hosts.trl.lab import Lab, documents, trainer
from tests.processes import leave

_SCORED: list[int] = []
_token_scores = scoring.token_scores


def _counting(model: object, ids: list[object], *args: object, **kwargs: object) -> object:
    _SCORED.append(len(ids))
    return _token_scores(model, ids, *args, **kwargs)  # type: ignore[arg-type]


def main(folder: Path) -> None:
    """Train the lab's rows, the easiest under the base first."""
    scoring.token_scores = _counting  # type: ignore[assignment]
    lab = Lab()
    block = {**lab.block(folder), "choose": {"use": "curriculum", "by": "nll"}, "shard_rows": 4}
    run = trainer(lab, folder, ppx=block, ddp_backend="gloo")
    run.train()
    batches = [[list(ids) for ids, _ in documents(batch)] for batch in run.caught]
    found = {"batches": batches, "scored": sum(_SCORED)}
    (folder / f"{os.environ['RANK']}.json").write_text(json.dumps(found))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
    leave()
