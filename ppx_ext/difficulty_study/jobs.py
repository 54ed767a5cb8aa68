"""One base or one run, in a process and on a thread of its own; each leaves one file or folder."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ppx_ext import problems
from ppx_ext.difficulty_study.protocol import Cell, Protocol
from ppx_ext.files import write_json

BASES, RUNS = "bases", "runs"
BASE = "base"
_BASE_SEED, _TEST_SEED = 1, 2
Json = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Job:
    """Make (``cell`` None) or tune a base. Plain values only: it goes to another process."""

    protocol: Protocol
    out: Path
    base: str
    cell: Cell | None = None

    @property
    def name(self) -> str:
        """Of its result."""
        return self.cell.name if self.cell else f"{self.base}-{BASE}"

    @property
    def path(self) -> Path:
        """Its result; where this file is, the job is done."""
        return self.out / RUNS / f"{self.name}.json"


def perform(job: Job) -> None:
    """Do the job and write its result, whole or not at all."""
    from transformers.utils import logging

    logging.disable_progress_bar()
    made = _tune(job, job.cell) if job.cell else _make_base(job)
    job.path.parent.mkdir(parents=True, exist_ok=True)
    write_json(job.path, made)


def training_rows(protocol: Protocol, name: str, n: int, seed: int) -> list[Json]:
    """The ``n`` distinct problems of a range; all arms and bases get the same."""
    settings = problems.Settings(ops=protocol.ranges[name], modulus=protocol.modulus)
    return list(problems.rows(settings, count=n, seed=1000 + seed))


def test_rows(protocol: Protocol) -> dict[int, list[Json]]:
    """Held-out problems of each slice, the same for all models."""
    return {
        ops: list(
            problems.rows(
                problems.Settings(ops=(ops, ops), modulus=protocol.modulus, split="test"),
                count=protocol.test_items,
                seed=_TEST_SEED,
            )
        )
        for ops in protocol.slices
    }


def _make_base(job: Job) -> Json:
    import torch

    from ppx_ext.difficulty_study.model import new_model, train_tokenizer
    from ppx_ext.difficulty_study.training import Setting, train

    protocol, folder = job.protocol, job.out / BASES / job.base
    torch.manual_seed(_BASE_SEED)
    tokenizer = train_tokenizer(protocol)
    settings = problems.Settings(ops=protocol.bases[job.base], modulus=protocol.modulus)
    count = protocol.base_steps * protocol.base_batch
    rows = [problems.row_of(p) for p in problems.drawn(settings, count=count, seed=_BASE_SEED)]
    setting = Setting(
        steps=protocol.base_steps,
        batch=protocol.base_batch,
        rate=protocol.base_rate,
        seed=_BASE_SEED,
    )
    model = train(new_model(protocol, tokenizer), tokenizer, rows, setting, _scratch(job))
    _save(model, tokenizer, folder)
    return {"base": job.base, "arm": BASE, "slices": _slices(job, model, tokenizer)}


def _scratch(job: Job) -> Path:
    return job.out / "scratch" / job.name


def _save(model: Any, tokenizer: Any, folder: Path) -> None:
    half = folder.with_name(f"{folder.name}.tmp")
    shutil.rmtree(half, ignore_errors=True)
    model.save_pretrained(half)
    tokenizer.save_pretrained(half)
    shutil.rmtree(folder, ignore_errors=True)
    half.rename(folder)


def _slices(job: Job, model: Any, tokenizer: Any) -> Json:
    from ppx_ext.difficulty_study.measuring import measure_slices

    model.eval()
    bands = [job.protocol.slices_of(name) for name in job.protocol.ranges]
    return measure_slices(model, tokenizer, test_rows(job.protocol), bands)


def _tune(job: Job, cell: Cell) -> Json:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from ppx_ext.difficulty_study import measuring
    from ppx_ext.difficulty_study.training import setting_of, train

    protocol, folder = job.protocol, job.out / BASES / cell.base
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder)
    before = {name: weight.detach().clone() for name, weight in model.named_parameters()}
    rows = training_rows(protocol, cell.range, cell.n, cell.seed)
    setting = setting_of(protocol, cell.arm, cell.seed, job.out / "scores" / job.name)
    model = train(model, tokenizer, rows, setting, _scratch(job))
    moved = measuring.update_norm(before, dict(model.named_parameters()))
    slices = _slices(job, model, tokenizer)
    seen = measuring.losses(model, tokenizer, rows[: protocol.train_items])
    _clean(job)
    return {
        **dataclasses.asdict(cell),
        "slices": slices,
        "update_norm": moved,
        **distances(protocol, cell.range, slices, seen),
    }


def _clean(job: Job) -> None:
    for folder in (_scratch(job), job.out / "scores" / job.name):
        shutil.rmtree(folder, ignore_errors=True)


def distances(
    protocol: Protocol, name: str, slices: Mapping[str, Any], train_losses: Sequence[float]
) -> Json:
    """Losses on training rows, on new rows like them, and on the test set; gaps; TV of operations.

    Problems of the training distribution are those of its slices: both are uniform over them.
    """
    from ppx_ext.difficulty_study import measuring

    own_slices = protocol.slices_of(name)
    own = _mean([nll for ops in own_slices for nll in slices[str(ops)]["nll"]])
    test = _mean([nll for found in slices.values() for nll in found["nll"]])
    train = _mean(train_losses)
    histograms = (dict.fromkeys(own_slices, 1.0), dict.fromkeys(protocol.slices, 1.0))
    return {
        "losses": {"train": train, "own": own, "test": test},
        "gaps": dataclasses.asdict(measuring.gaps(train=train, own=own, test=test)),
        "total_variation": measuring.total_variation(*histograms),
    }


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
