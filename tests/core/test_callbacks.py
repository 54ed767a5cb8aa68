"""Evaluation before and after training leaves the training as if it had not been."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pydantic
import pytest
import torch
from datasets import Dataset
from transformers import Trainer, TrainingArguments

from ppx_ext.callbacks import SuiteCallback, undisturbed
from ppx_ext.eval_plan import Evaluation, SuiteStage
from ppx_ext.records import load_score
from ppx_ext.stages import Stage
from ppx_ext.suites import EvalSuite, Subject, TaskScore
from tests.models import tiny_model, tiny_tokenizer


class Settings(pydantic.BaseModel):
    items: int = 4


def rude(settings: Settings, subject: Subject) -> Sequence[TaskScore]:
    """Draws from every generator, turns the tokenizer's side, and changes the modes."""
    model, tokenizer = subject.model, subject.tokenizer
    assert not model.training
    random.random(), np.random.rand(), torch.rand(3)
    tokenizer.padding_side = "left"
    model.config.use_cache = not model.config.use_cache
    model.train()
    weight = next(model.parameters())
    correct = tuple(bool(weight.flatten()[item] > 0) for item in range(settings.items))
    return [TaskScore(task="signs", correct=correct), TaskScore(task="t", correct=(True, False))]


RUDE = EvalSuite(name="rude", paper="none", settings=Settings, evaluate=rude)
SUITE = Evaluation(suites=(SuiteStage(stage=Stage(component=RUDE, settings=Settings())),))


def measured(model: Any, tokenizer: Any) -> list[TaskScore]:
    return list(rude(Settings(), Subject(model=model, tokenizer=tokenizer)))


def state_of(model: Any, tokenizer: Any) -> list[Any]:
    modes = [module.training for module in model.modules()]
    draws = (random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist())
    return [modes, tokenizer.padding_side, model.config.use_cache, *draws]


def test_undisturbed_puts_everything_back() -> None:
    model, tokenizer = tiny_model("llama"), tiny_tokenizer()
    model.train()
    model.model.layers[1].eval()
    before = state_of(model, tokenizer)
    with undisturbed(model, tokenizer):
        model.eval()
        measured(model, tokenizer)
        assert state_of(model, tokenizer) != before
    assert state_of(model, tokenizer) == before
    with pytest.raises(AttributeError), undisturbed(model, tokenizer):
        measured(model.eval(), None)
    assert state_of(model, tokenizer) == before


def run(folder: Path, callback: bool, steps: int = 3, **more: Any) -> Trainer:
    tokenizer = tiny_tokenizer()
    rows = [{"input_ids": [5, 6, 7, i], "labels": [5, 6, 7, i]} for i in range(10, 30)]
    trainer = Trainer(
        model=tiny_model("llama", attention_dropout=0.2),
        args=TrainingArguments(
            output_dir=str(folder), max_steps=steps, use_cpu=True, report_to="none",
            logging_steps=1, learning_rate=1e-2, disable_tqdm=True, save_steps=3,
        ),
        train_dataset=Dataset.from_list(rows),
        processing_class=tokenizer,
    )  # fmt: skip
    if callback:
        trainer.add_callback(SuiteCallback(SUITE, log=trainer.log))
    trainer.train(**more)
    return trainer


def losses(trainer: Trainer) -> list[float]:
    return [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]


def test_the_trajectory_is_the_same_with_and_without(tmp_path: Path) -> None:
    plain, measured = run(tmp_path / "a", False), run(tmp_path / "b", True)
    assert len(losses(plain)) == 3
    assert losses(plain) == losses(measured)


def test_both_evaluations_are_written_and_logged(tmp_path: Path) -> None:
    trainer = run(tmp_path, True)
    content = json.loads((tmp_path / "ppx_eval.json").read_text())
    assert content["evaluation"]["suites"] == [{"use": "rude", "items": 4}]
    assert [(e["when"], e["step"]) for e in content["evaluations"]] == [("before", 0), ("after", 3)]
    scores = [load_score(score) for score in content["evaluations"][0]["scores"]]
    assert scores == measured(tiny_model("llama").eval(), trainer.processing_class)
    logged = [e for e in trainer.state.log_history if "eval_t_accuracy" in e]
    assert [e["eval_t_accuracy"] for e in logged] == [0.5, 0.5]


def test_a_resumed_run_keeps_what_was_measured_before(tmp_path: Path) -> None:
    run(tmp_path, True)
    before = json.loads((tmp_path / "ppx_eval.json").read_text())["evaluations"][0]
    run(tmp_path, True, steps=5, resume_from_checkpoint=True)
    found = json.loads((tmp_path / "ppx_eval.json").read_text())["evaluations"]
    assert found[0] == before
    assert [e["step"] for e in found] == [0, 5]
