"""Measuring a checkpoint in a process of its own: ``python -m ppx_ext.evaluating.apart JOB``.

For weights that are sharded (FSDP, ZeRO-3), of which no process has the whole: they are gathered
and saved as the trainer saves them, the first process has them measured, and the others wait.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ppx_ext.evaluating import checkpoints
from ppx_ext.evaluating.processes import Team
from ppx_ext.suites import Score, TaskScore, TextScore

if TYPE_CHECKING:
    from ppx_ext.eval_plan import Evaluation

FOLDER = "ppx_apart"
_JOB, _SCORES, _LOG = "job.json", "scores.json", "log.txt"
_LAUNCHED = {"RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "GROUP_RANK", "MASTER_ADDR",
             "MASTER_PORT", "ROLE_RANK", "ROLE_WORLD_SIZE", "GROUP_WORLD_SIZE"}  # fmt: skip
_LAUNCHERS = ("TORCHELASTIC_", "ACCELERATE_", "FSDP_", "PMI_", "OMPI_", "PMIX_", "MV2_")


def sharded(trainer: Any) -> str | None:
    """What keeps the weights from being whole in each process, in words; or None."""
    accelerator = trainer.accelerator
    deepspeed = getattr(accelerator.state, "deepspeed_plugin", None)
    if deepspeed is not None and deepspeed.zero_stage == 3:
        return "ZeRO-3"
    if str(getattr(accelerator.distributed_type, "value", accelerator.distributed_type)) == "FSDP":
        return "FSDP"
    parallelism = getattr(accelerator, "parallelism_config", None)
    for name in ("tp", "cp", "sp"):
        if getattr(parallelism, f"{name}_enabled", False):
            return {"tp": "tensor", "cp": "context", "sp": "sequence"}[name] + " parallelism"
    if any(type(each).__name__ == "DTensor" for each in trainer.model.parameters()):
        return "a sharded model"
    return None


def scores_of(
    trainer: Any,
    tokenizer: Any,
    evaluation: Evaluation,
    team: Team,
    folder: Path,
    *,
    trust_remote_code: bool = False,
) -> list[Score]:
    """The scores of the trainer's model as it is now, from a checkpoint that is removed again.

    Every process calls it: saving sharded weights is their joint work.

    Args:
        trainer, tokenizer, evaluation: what is measured.
        team: all its processes.
        folder: of the run; the checkpoint is written below it.
        trust_remote_code: run code that comes with the checkpoint.

    Raises:
        RuntimeError: the process that measures failed; the end of its log is told.
    """
    place = folder / FOLDER
    try:
        with _whole(trainer):
            trainer.save_model(str(place / "model"), _internal_call=True)
        job = _job(trainer, evaluation) | {"trust_remote_code": trust_remote_code}
        return team.alone(lambda: _measured(job, tokenizer, place))
    finally:
        if team.first:
            shutil.rmtree(place, ignore_errors=True)


@contextlib.contextmanager
def _whole(trainer: Any) -> Iterator[None]:
    """Have FSDP save whole weights, whatever it saves at checkpoints."""
    plugin = getattr(trainer.accelerator.state, "fsdp_plugin", None)
    if plugin is None:
        yield
        return
    before = plugin.state_dict_type
    plugin.set_state_dict_type("FULL_STATE_DICT")
    try:
        yield
    finally:
        plugin.set_state_dict_type(before)


def _measured(job: Mapping[str, Any], tokenizer: Any, place: Path) -> list[Score]:
    import torch

    tokenizer.save_pretrained(str(place / "model"))
    (place / _JOB).write_text(json.dumps(job), encoding="utf-8")
    if torch.cuda.is_available():
        torch.cuda.empty_cache()  # the other process needs the room
    command = [sys.executable, "-m", "ppx_ext.evaluating.apart", str(place)]
    with (place / _LOG).open("w", encoding="utf-8") as log:
        done = subprocess.run(
            command, env=_environment(), stdout=log, stderr=subprocess.STDOUT, check=False
        )
    if done.returncode:
        said = (place / _LOG).read_text(encoding="utf-8", errors="replace")
        raise RuntimeError(
            f"the process that measures the checkpoint ended with {done.returncode}:\n"
            f"{said[-2000:].strip()}"
        )
    return _load(json.loads((place / _SCORES).read_text(encoding="utf-8")))


def _environment() -> dict[str, str]:
    """Ours, less what a launcher says: the process is none of its own."""
    return {
        name: value
        for name, value in os.environ.items()
        if name not in _LAUNCHED and not name.startswith(_LAUNCHERS)
    }


def _job(trainer: Any, evaluation: Evaluation) -> dict[str, Any]:
    config = trainer.model.config
    quantization = getattr(config, "quantization_config", None)
    if quantization is not None and not isinstance(quantization, dict):
        quantization = quantization.to_dict()
    return {
        "evaluation": evaluation.dump(),
        "dtype": str(_dtype(trainer.model)).removeprefix("torch."),
        "attention": getattr(config, "_attn_implementation", None),
        "vocabulary": config.get_text_config().vocab_size,
        "quantization": quantization,
        "device": trainer.args.device.type,
        "precision": trainer.accelerator.mixed_precision,
    }


def _dtype(model: Any) -> Any:
    """Of the weights that are not trained, else of all: adapters may have another."""
    found = [each for each in model.parameters() if each.is_floating_point()]
    frozen = [each for each in found if not each.requires_grad]
    return (frozen or found)[0].dtype


# --------------------------------------------------------------------------- the other process


def main(place: Path) -> None:
    """Measure the checkpoint in ``place`` as its job says, and write the scores beside it.

    Raises:
        ValueError: the job speaks of what is not installed, or the adapter of no base.
    """
    import torch

    from ppx_ext import catalog
    from ppx_ext.eval_plan import evaluation_of
    from ppx_ext.evaluating import measure
    from ppx_ext.scoring.models import mixed, unpacked
    from ppx_ext.suites import Subject

    found = checkpoints.find(str(place / "model"))
    job = json.loads((place / _JOB).read_text(encoding="utf-8"))
    problems: list[str] = []
    evaluation = evaluation_of(job["evaluation"], catalog.load(), problems)
    if evaluation is None:
        raise ValueError("\n".join(problems))
    model, tokenizer = _loaded(found, job)
    with torch.no_grad(), unpacked(model), mixed(job["precision"], job["device"]):
        scores = measure(evaluation, Subject(model=model, tokenizer=tokenizer))
    dumped = [{"kind": type(each).__name__, **dataclasses.asdict(each)} for each in scores]
    (place / _SCORES).write_text(json.dumps(dumped), encoding="utf-8")


def _loaded(found: checkpoints.Checkpoint, job: Mapping[str, Any]) -> tuple[Any, Any]:
    """The checkpoint as it was trained: same kernels, same dtype, same quantisation."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from ppx_ext.scoring.models import as_trained

    trust = job["trust_remote_code"]
    more: dict[str, Any] = {}
    if job["quantization"] is not None:
        more["quantization_config"] = job["quantization"]
    if job["device"] == "cuda":
        more["device_map"] = "auto"  # the training's own weights leave less room than one card has
    model: Any = AutoModelForCausalLM.from_pretrained(
        found.path,
        dtype=getattr(torch, job["dtype"]),
        attn_implementation=job["attention"],
        trust_remote_code=trust,
        **more,
    )
    if found.adapter is not None:
        from peft import PeftModel

        if model.get_input_embeddings().weight.shape[0] != job["vocabulary"]:
            model.resize_token_embeddings(job["vocabulary"])
        model = PeftModel.from_pretrained(model, found.adapter)
        if job["quantization"] is not None:
            as_trained(model, found.adapter)
    if not more and job["device"] != "cpu":
        model.to(job["device"])
    return model.eval(), AutoTokenizer.from_pretrained(found.given, trust_remote_code=trust)


def _load(found: list[dict[str, Any]]) -> list[Score]:
    return [_score(each) for each in found]


def _score(found: dict[str, Any]) -> Score:
    kind = found.pop("kind")
    if kind == "TextScore":
        return TextScore(nll=tuple(found.pop("nll")), tokens=tuple(found.pop("tokens")), **found)
    readings = {name: tuple(values) for name, values in found.pop("readings").items()}
    return TaskScore(correct=tuple(found.pop("correct")), readings=readings, **found)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
