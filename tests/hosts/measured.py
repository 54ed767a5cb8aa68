"""An `eval:` block that both hosts are tested with: tasks of lm-eval, and the user's own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.plugins.ood.local_tasks import write_tasks


def block(folder: Path, *, harness: bool = True, **keys: Any) -> dict[str, Any]:
    """Tasks of either suite, written below ``folder``; ``own`` is the target.

    A random model is right now and then at most: compare `responses` too.
    """
    folder.mkdir(parents=True, exist_ok=True)
    paths = {}
    for name in ("own", "other"):
        rows = [{"prompt": f"{name} {at}: say it", "answer": str(at % 3)} for at in range(5)]
        paths[name] = folder / f"{name}.jsonl"
        paths[name].write_text("".join(json.dumps(row) + "\n" for row in rows))
    tasks = {
        "own": {"path": str(paths["own"]), "target": True},
        "other": {"path": str(paths["other"]), "judge": "exact"},
    }
    suites: list[dict[str, Any]] = [{"use": "tasks", "tasks": tasks, "max_new_tokens": 4}]
    if harness:
        where = write_tasks(folder / "harness")
        names = ["local_arc", "local_gsm8k"]
        suites.append({"use": "lm_eval", "tasks": names, "include_path": str(where), "limit": 5})
    return {"suites": suites, **keys}


def read(folder: Path) -> dict[str, Any]:
    """The run's ``ppx_eval.json``."""
    content: dict[str, Any] = json.loads((folder / "ppx_eval.json").read_text())
    return content


def times(folder: Path) -> list[tuple[str, int]]:
    """When each evaluation was, in the order of the file."""
    return [(one["when"], one["step"]) for one in read(folder)["evaluations"]]


def scores(folder: Path) -> list[Any]:
    """What each evaluation found, in the order of the file."""
    return [(one["scores"], one["texts"]) for one in read(folder)["evaluations"]]


def responses(folder: Path) -> list[list[str]]:
    """What the model said in each evaluation, item by item: it tells models apart where scores
    of a few items do not.
    """
    from ppx_ext.evaluating.store import read_items

    return [
        [str(row["response"]) for row in read_items(folder / one["items"])]
        for one in read(folder)["evaluations"]
    ]
