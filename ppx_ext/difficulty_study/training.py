"""Training of a base and of a run: TRL's trainer, with a `ppx` block for the arm that masks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ppx_ext.difficulty_study.protocol import DFT, STM, Protocol


@dataclass(frozen=True, kw_only=True)
class Setting:
    """How long, how fast and with which loss.

    Attributes:
        loss: TRL's ``loss_type``: ``nll``, or ``dft`` (arXiv 2508.05629).
        ppx: the `ppx` block; empty is plain fine-tuning.
    """

    steps: int
    batch: int
    rate: float
    seed: int
    loss: str = "nll"
    ppx: Mapping[str, Any] = field(default_factory=dict)


def setting_of(protocol: Protocol, arm: str, seed: int, store: Path) -> Setting:
    """Fine-tuning of one arm; arms differ in nothing but the loss or the mask."""
    mask = {"use": "stm", "ppl_threshold": protocol.ppl_threshold}
    return Setting(
        steps=protocol.steps,
        batch=protocol.batch,
        rate=protocol.rate,
        seed=seed,
        loss="dft" if arm == DFT else "nll",
        ppx={"mask": mask, "cache_dir": str(store)} if arm == STM else {},
    )


def train(
    model: Any, tokenizer: Any, rows: Sequence[Mapping[str, Any]], setting: Setting, out: Path
) -> Any:
    """Train all weights of ``model`` on the responses of ``rows``; returns the trained model."""
    trainer = trainer_of(model, tokenizer, rows, setting, out)
    trainer.train()
    return trainer.model


def trainer_of(
    model: Any, tokenizer: Any, rows: Sequence[Mapping[str, Any]], setting: Setting, out: Path
) -> Any:
    """The trainer that `train` runs."""
    from datasets import Dataset
    from transformers import set_seed

    from ppx_ext.hosts.trl import PpxSFTTrainer

    set_seed(setting.seed)
    return PpxSFTTrainer(
        model=model,
        args=_arguments(setting, tokenizer.model_max_length, out),
        train_dataset=Dataset.from_list([pair(row) for row in rows]),
        processing_class=tokenizer,
    )


def pair(row: Mapping[str, Any]) -> dict[str, str]:
    """A row of `problems` as the trainer and the scorer read it."""
    return {"prompt": row["prompt"], "completion": f" {row['response']}"}


def _arguments(setting: Setting, max_length: int, out: Path) -> Any:
    from ppx_ext.hosts.trl import PpxSFTConfig

    return PpxSFTConfig(
        ppx=dict(setting.ppx) or None,
        output_dir=str(out),
        seed=setting.seed,
        data_seed=setting.seed,
        loss_type=setting.loss,
        max_steps=setting.steps,
        per_device_train_batch_size=setting.batch,
        learning_rate=setting.rate,
        lr_scheduler_type="cosine",
        warmup_steps=max(1, setting.steps // 20),
        weight_decay=0.05,
        max_length=max_length,
        gradient_checkpointing=False,
        bf16=False,
        dataloader_pin_memory=False,
        save_strategy="no",
        logging_steps=max(1, setting.steps // 10),
        report_to="none",
        disable_tqdm=True,
    )
