"""What the runs of a comparison left -> a study, and the files that the report reads."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ppx_ext.comparing import queue
from ppx_ext.comparing.jobs import BASE, Job
from ppx_ext.comparing.perform import STATE_FILE
from ppx_ext.evaluating.store import read_evaluations, read_items
from ppx_ext.records import load_score
from ppx_ext.study import Arm, Run, Study

EXAMPLES = 3
Json = dict[str, Any]


def study_of(jobs: Sequence[Job]) -> Study:
    """All that is done; arms of which nothing is are left out.

    Raises:
        ValueError: the base was not measured, or no arm came through; with the reasons.
    """
    done = {job.name: run for job in jobs if (run := _run(job))}
    names = dict.fromkeys(job.arm for job in jobs if job.arm != BASE)
    arms = []
    for name in names:
        runs = tuple(done[job.name] for job in jobs if job.arm == name and job.name in done)
        if runs:
            arms.append(Arm(name=name, runs=runs))
    base = next(job for job in jobs if job.arm == BASE)
    if base.name not in done or not arms:
        lines = [f"  {one['arm']}, seed {one['seed']}: {one['why']}" for one in lacking(jobs)]
        what = "no arm came through" if base.name in done else "the base was not measured"
        raise ValueError("\n".join([f"{what}, so that there is nothing to compare:", *lines]))
    return Study(base=done[base.name], arms=tuple(arms))


def _run(job: Job) -> Run | None:
    found = queue.result_of(job)
    if found is None:
        return None
    (record,) = read_evaluations(job.folder)["evaluations"]
    scores = tuple(load_score(score) for score in record["scores"])
    return Run(scores=scores, seed=job.seed, numbers=found["numbers"])


def lacking(jobs: Sequence[Job]) -> list[Json]:
    """Runs that did not come through, each with why."""
    found = []
    for job in jobs:
        state = queue.state_of(job)
        if state != "done":
            why = queue.why_failed(job) or _WHY.get(state, "")
            found.append({"arm": job.arm, "seed": job.seed, "why": why})
    return found


_WHY = {
    "running": "another process is at it",
    "open": "it was not begun",
}


def stages_of(jobs: Sequence[Job]) -> Iterator[Json]:
    """Records of builders, samplers and masks, those of each arm's first run."""
    seen: set[str] = set()
    for job in jobs:
        path = job.folder / STATE_FILE
        if job.arm in seen or job.arm == BASE or not path.is_file():
            continue
        seen.add(job.arm)
        for record in json.loads(path.read_text(encoding="utf-8")).get("records", []):
            if record["stage"] in ("build", "choose", "mask"):
                yield {**record, "arm": job.arm}


def examples_of(jobs: Sequence[Job]) -> list[Json]:
    """The first question of the target and of some other tasks, with every model's answer."""
    base = next(job for job in jobs if job.arm == BASE)
    seed = next((job.seed for job in jobs if job.seed is not None), None)
    first = {
        job.arm: _first_items(job.folder)
        for job in jobs
        if job.seed in (None, seed) and queue.result_of(job)
    }
    asked = first.get(base.arm, {})
    order = sorted(asked.values(), key=lambda item: not item["target"])
    return [
        {
            "task": item["task"],
            "prompt": _shown(item["prompt"]),
            "right": _shown(item["gold"]),
            "answers": {
                arm: _shown(found[item["task"]]["response"])
                for arm, found in first.items()
                if item["task"] in found
            },
        }
        for item in order[:EXAMPLES]
    ]


def _first_items(folder: Path) -> dict[str, Mapping[str, Any]]:
    """The first item of each task that has responses."""
    (record,) = read_evaluations(folder)["evaluations"]
    found: dict[str, Mapping[str, Any]] = {}
    for item in read_items(folder / record["items"]):
        if item["response"] is not None and item["correct"] is not None:
            found.setdefault(item["task"], item)
    return found


def _shown(text: str | None) -> str:
    """A text for people; a chat is read out turn by turn."""
    try:
        turns = json.loads(text or "")
        return " / ".join(str(turn["content"]) for turn in turns)
    except (ValueError, TypeError, KeyError):
        return text or ""
