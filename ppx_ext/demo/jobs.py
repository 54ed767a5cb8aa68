"""One job of the demo: train and measure one model, in a process and on a thread of its own.

A job holds plain values only and runs on one thread, so that its result does not hang on how many
run side by side.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ppx_ext.contracts import Example
from ppx_ext.evaluation import Item, each, score_items
from ppx_ext.records import dump_score
from ppx_ext.suites import Subject, TaskScore

MARK = "####"
"""What stands before the answer in other people's data."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How every arm is trained and measured. The `ppx:` block is all that differs between arms.

    No masked run on this base and these golds was looked at before the settings were fixed (masked
    runs on an earlier base and wording had been seen), and none on rows that were built.

    * LoRA on all linear layers, rank 16 and alpha 32, as is usual; no dropout; cosine, short
      warm-up. Learning rate 2e-3: of 1e-3, 2e-3 and 4e-3, *plain* SFT answers the target best at
      the latter two (27, 31.5 and 31.5 right of 100, two seeds that the demo does not use), and
      forgets less at the smaller of them.
    * Three epochs over 400 rows in batches of 16 (75 steps), as the paper trains three epochs over
      374 rows (MBPP, arXiv 2501.14315, appendix F).
    * The paper's threshold, 2.5, in all its experiments on Llama and Gemma.
    * 100 held-out items a task: an accuracy of one half is known to within 10 points, the mean
      of nine tasks to within 3.
    """

    train_rows: int = 400
    epochs: float = 3.0
    batch_size: int = 16
    learning_rate: float = 2e-3
    warmup_steps: int = 5
    lora_rank: int = 16
    lora_alpha: int = 32
    max_length: int = 512
    ppl_threshold: float = 2.5
    test_items: int = 100
    test_batch: int = 100


@dataclass(frozen=True, kw_only=True)
class Task:
    """Held-out questions of one task, and how their responses are graded.

    ``own`` tasks are the demo's (see `tasks.final_answer`); on others, what follows the last
    ``####`` counts, or the whole text.
    """

    name: str
    target: bool
    prompts: tuple[str | Sequence[Mapping[str, Any]], ...]
    golds: tuple[str, ...]
    own: bool = True
    max_new_tokens: int = 64


@dataclass(frozen=True, kw_only=True)
class Job:
    """What one process needs to know.

    Attributes:
        arm: ``base`` (build and measure only) or the arm's name.
        stages: the `ppx:` block; empty is plain fine-tuning. The base builds what it says.
        store: folder of scores and built rows.
        held_out: chats of the target whose responses' perplexity is measured.
    """

    arm: str
    seed: int
    base: Path
    out: Path
    store: Path
    settings: Settings
    stages: Mapping[str, Any]
    train: Sequence[Mapping[str, Any]]
    held_out: Sequence[Mapping[str, Any]]
    tasks: tuple[Task, ...]


def quiet_worker(log: Path) -> None:
    """Set up a worker: one thread, and all that libraries say goes to a file."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    handle = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    for stream in (1, 2):
        os.dup2(handle, stream)
    import torch

    torch.set_num_threads(1)


def perform(job: Job) -> dict[str, Any]:
    """Train (unless it is the base) and measure; plain JSON values.

    Keys: ``arm``, ``seed``, ``scores``, ``numbers``, ``stages`` (records of builder and mask),
    ``answers`` (the first response to each task).
    """
    from transformers import AutoModelForCausalLM, AutoTokenizer, set_seed

    # The trainer seeds itself, but the adapter may be made before that.
    set_seed(job.seed)
    tokenizer = AutoTokenizer.from_pretrained(job.base)
    model = AutoModelForCausalLM.from_pretrained(job.base)
    model.eval()
    numbers: dict[str, Any] = {}
    stages: list[Any] = []
    began = time.perf_counter()
    if job.arm == "base":
        _build(job, model, tokenizer)
        numbers["seconds"] = time.perf_counter() - began
    else:
        model = _train(job, model, tokenizer)
        numbers["seconds"] = time.perf_counter() - began
        stages = _stages(job)
        numbers |= _stage_numbers(stages)
        numbers["update_norm"] = update_norm(model)
    numbers["perplexity"] = held_out_perplexity(model, tokenizer, job.held_out)
    measured = [measure(model, tokenizer, task, job.settings) for task in job.tasks]
    return {
        "arm": job.arm,
        "seed": None if job.arm == "base" else job.seed,
        "scores": [dump_score(found) for found in measured],
        "numbers": numbers,
        "stages": stages,
        "answers": {found.task: found.items["response"][0] for found in measured},
    }


def _rows(job: Job) -> Any:
    from datasets import Dataset

    return Dataset.from_list([{"messages": row["messages"]} for row in job.train])


def _build(job: Job, model: Any, tokenizer: Any) -> None:
    """Let the base answer the training questions, once, where each training run will look."""
    from ppx_ext import catalog, plan
    from ppx_ext.effects import base_from_model
    from ppx_ext.hosts.trl_data import built_rows
    from ppx_ext.rows import Fields

    installed = catalog.load()
    asked = plan.parse(_block(job), installed)
    fields, base = Fields(messages="messages"), base_from_model(model)
    built_rows(_rows(job), tokenizer, asked, installed, base, fields=fields, split="train")


def _block(job: Job) -> dict[str, Any]:
    return {**job.stages, "cache_dir": str(job.store)}


def _train(job: Job, model: Any, tokenizer: Any) -> Any:
    from peft import LoraConfig

    from ppx_ext.hosts.trl import PpxSFTTrainer

    settings = job.settings
    adapter = LoraConfig(
        r=settings.lora_rank,
        lora_alpha=settings.lora_alpha,
        target_modules="all-linear",
        task_type="CAUSAL_LM",
    )
    trainer = PpxSFTTrainer(
        model=model,
        args=_arguments(job),
        train_dataset=_rows(job),
        processing_class=tokenizer,
        peft_config=adapter,
    )
    trainer.train()
    return trainer.model


def _arguments(job: Job) -> Any:
    from ppx_ext.hosts.trl import PpxSFTConfig

    settings = job.settings
    return PpxSFTConfig(
        ppx=_block(job) if job.stages else None,
        output_dir=str(job.out),
        seed=job.seed,
        data_seed=job.seed,
        num_train_epochs=settings.epochs,
        per_device_train_batch_size=settings.batch_size,
        learning_rate=settings.learning_rate,
        lr_scheduler_type="cosine",
        warmup_steps=settings.warmup_steps,
        max_length=settings.max_length,
        assistant_only_loss=True,
        gradient_checkpointing=False,
        bf16=False,
        use_cpu=True,
        dataloader_pin_memory=False,
        save_strategy="no",
        logging_steps=25,
        report_to="none",
        disable_tqdm=True,
    )


def _stages(job: Job) -> list[Any]:
    path = job.out / "ppx_state.json"
    return list(json.loads(path.read_text(encoding="utf-8"))["records"]) if job.stages else []


def _stage_numbers(stages: list[Any]) -> dict[str, float]:
    """Shares of targets masked, of loss kept, and of rows by whose words their targets are."""
    of = {stage["stage"]: stage["numbers"] for stage in stages}
    mask = of.get("mask", {"masked_share": 0.0, "loss_kept": 1.0})
    shares = of.get("build", {}).get("shares", {"own": 0.0, "paraphrase": 0.0, "gold": 1.0})
    return {"tokens_masked": mask["masked_share"], "loss_kept": mask["loss_kept"], **shares}


def measure(model: Any, tokenizer: Any, task: Task, settings: Settings) -> TaskScore:
    """Greedy responses to a task's questions, graded."""
    items = [Item(prompt=p, gold=g) for p, g in zip(task.prompts, task.golds, strict=True)]
    return score_items(
        Subject(model=model, tokenizer=tokenizer),
        items,
        task=task.name,
        target=task.target,
        grade=each(_grade_own if task.own else _grade_any),
        max_new_tokens=task.max_new_tokens,
        batch_size=settings.test_batch,
    )


def _grade_own(text: str, gold: str) -> bool:
    from ppx_ext.demo.tasks import final_answer

    return final_answer(text) == gold


def _grade_any(text: str, gold: str) -> bool:
    return answer_of(text) == answer_of(gold)


def answer_of(text: str) -> str:
    """What follows the last `MARK` on its line, else the whole text."""
    _, marked, tail = text.rpartition(MARK)
    found = tail.strip().splitlines()[:1] if marked else []
    return found[0].strip() if found else text.strip()


def update_norm(model: Any) -> float:
    """L2 norm of all weight changes of a LoRA model: the root of the summed squares of s B A."""
    total = 0.0
    for module in model.modules():
        for name in getattr(module, "lora_A", {}):
            total += float(module.get_delta_weight(name).detach().double().square().sum())
    return float(total**0.5)


def held_out_perplexity(model: Any, tokenizer: Any, rows: Sequence[Mapping[str, Any]]) -> float:
    """exp of the mean nll of all response tokens of ``rows``, under the model as it is."""
    import math

    import numpy as np

    from ppx_ext.scoring import token_scores
    from ppx_ext.tokens import tokenize

    limit = model.config.max_position_embeddings
    found = tokenize(enumerate(rows), tokenizer, max_length=limit)
    examples = [example for example in found if isinstance(example, Example)]
    scores = token_scores(
        model,
        [example.ids_T for example in examples],
        [example.target_T for example in examples],
    )
    return math.exp(float(np.concatenate([score["nll"] for score in scores]).mean()))
