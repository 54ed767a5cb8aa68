"""One run of a comparison: trained through its host's own door, then measured, in this process."""

from __future__ import annotations

import importlib
import json
import os
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ppx_ext.comparing import norms
from ppx_ext.comparing.jobs import BASE, RESULT, RUNS, SCHEMA, Job
from ppx_ext.records import write_json, write_text
from ppx_ext.suites import Subject, TextScore

if TYPE_CHECKING:
    from types import ModuleType

    from ppx_ext.eval_plan import Evaluation
    from ppx_ext.suites import Score

STATE_FILE = "ppx_state.json"
LOG_FILE = "trainer_state.json"
WEIGHTS = "weights"
Json = dict[str, Any]


@dataclass(kw_only=True)
class Made:
    """A model to measure, and what is known of its training."""

    model: Any
    tokenizer: Any
    numbers: Json = field(default_factory=dict)


def perform(job: Job) -> None:
    """Do the run and write its result, whole or not at all.

    Raises:
        Exception: whatever its host, a suite or a judge raises.
    """
    for old in job.folder.glob("training-*"):
        shutil.rmtree(old, ignore_errors=True)
    # A host that outlived a killed process may still write to that one's folder.
    folder = job.folder / f"training-{os.getpid()}"
    recipe = _written(job, folder)
    host = importlib.import_module(f"ppx_ext.comparing.in_{job.host}")
    host.ready()  # loading libraries is no part of what an arm costs
    began = time.perf_counter()
    try:
        made = _made(job, host, recipe, folder)
        seconds = time.perf_counter() - began
        _measure(job, made)
        if job.keep_weights and job.arm != BASE:
            shutil.rmtree(job.folder / WEIGHTS, ignore_errors=True)
            folder.rename(job.folder / WEIGHTS)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    numbers = {"seconds": seconds, **made.numbers}
    write_json(
        job.folder / RESULT,
        {"schema": SCHEMA, "fingerprint": job.fingerprint, "numbers": numbers},
    )


def _written(job: Job, folder: Path) -> Path:
    """The recipe of this run, in its folder."""
    import yaml

    path = job.folder / f"recipe.{job.host}.yaml"
    write_text(path, str(yaml.safe_dump(job.recipe(folder), sort_keys=False)))
    return path


def _made(job: Job, host: ModuleType, recipe: Path, folder: Path) -> Made:
    if job.arm == BASE:
        found: Made = host.base(recipe)
        return found
    made: Made = host.trained(recipe, folder)
    _take(job, folder)
    made.numbers |= {**_steps(job), **stage_numbers(_stages(job))}
    if job.matched:
        _match(job, made)
        if job.keep_weights:
            made.model.save_pretrained(folder)
    made.numbers["update_norm"] = norms.update_norm(made.model)
    return made


def _match(job: Job, made: Made) -> None:
    """Scale the change of weights to the size of another run's."""
    other = json.loads((job.out / RUNS / str(job.matched) / RESULT).read_text(encoding="utf-8"))
    wanted, own = other["numbers"]["update_norm"], norms.update_norm(made.model)
    if not wanted or not own:
        raise ValueError(
            f"the sizes of the changes of weights are not known, or zero ({own} here, {wanted} of "
            f"{job.matched}): they are measured for plain LoRA. Leave the arm out"
        )
    norms.scale_update(made.model, wanted / own)
    made.numbers["scaled_by"] = wanted / own


def _take(job: Job, folder: Path) -> None:
    """Keep what the host left of its run but for weights."""
    if not (folder / STATE_FILE).is_file():
        raise ValueError(f"{folder} has no {STATE_FILE}: the host trained without our part of it")
    for name in (STATE_FILE, LOG_FILE):
        if (folder / name).is_file():
            shutil.copy(folder / name, job.folder / name)


def _stages(job: Job) -> list[Json]:
    """The records of builder, sampler and mask."""
    found = json.loads((job.folder / STATE_FILE).read_text(encoding="utf-8"))
    return list(found.get("records", []))


def _steps(job: Job) -> Json:
    """How many steps it trained, where the host tells."""
    path = job.folder / LOG_FILE
    if not path.is_file():
        return {}
    return {"steps": json.loads(path.read_text(encoding="utf-8"))["global_step"]}


def stage_numbers(stages: Sequence[Mapping[str, Any]]) -> Json:
    """Shares of targets masked, of loss kept, and of rows by whose words their targets are."""
    of = {stage["stage"]: stage["numbers"] for stage in stages}
    mask = of.get("mask", {"masked_share": 0.0, "loss_kept": 1.0})
    shares = of.get("build", {}).get("shares", {"own": 0.0, "paraphrase": 0.0, "gold": 1.0})
    return {"tokens_masked": mask["masked_share"], "loss_kept": mask["loss_kept"], **shares}


def _measure(job: Job, made: Made) -> None:
    import torch

    from ppx_ext.evaluating import measure
    from ppx_ext.evaluating.store import Evaluations

    evaluation = evaluation_of(job.settings)
    made.model.eval()
    began = time.perf_counter()
    with torch.no_grad():
        scores = measure(evaluation, Subject(model=made.model, tokenizer=made.tokenizer))
    seconds = time.perf_counter() - began
    kept = Evaluations(job.folder)
    kept.start(evaluation)
    when = "before" if job.arm == BASE else "after"
    kept.add(when=when, step=made.numbers.get("steps") or 0, scores=scores, seconds=seconds)
    made.numbers |= {"evaluation_seconds": seconds, **_perplexities(scores)}


def _perplexities(scores: Sequence[Score]) -> Json:
    """``perplexity`` of the held-out texts; with several, of each by its name."""
    texts = [score for score in scores if isinstance(score, TextScore)]
    if len(texts) == 1:
        return {"perplexity": texts[0].perplexity}
    return {f"perplexity of {text.task}": text.perplexity for text in texts}


def evaluation_of(settings: Mapping[str, Any]) -> Evaluation:
    """The `eval:` stage of a recipe.

    Raises:
        ValueError: there is none, or the block is wrong.
    """
    from ppx_ext import catalog, plan

    found = plan.parse(settings.get("ppx"), catalog.load()).eval
    if found is None:
        raise ValueError(
            "the recipe has no `eval:` stage, so that nothing can be compared: add one to its "
            "`ppx:` block, with the target (`target: true`) and tasks that must not be forgotten"
        )
    return found
