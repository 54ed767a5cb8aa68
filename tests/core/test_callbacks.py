"""Evaluation before, while and after training leaves the training as if it had not been."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pydantic
import pytest
import torch
from datasets import Dataset
from peft import LoraConfig, get_peft_model
from transformers import Trainer, TrainerCallback, TrainingArguments

from ppx_ext.callbacks import SuiteCallback
from ppx_ext.eval_plan import Evaluation, Every, Gate, SuiteStage
from ppx_ext.evaluating.due import Due
from ppx_ext.evaluating.undisturbed import undisturbed
from ppx_ext.records import load_scores
from ppx_ext.stages import Stage
from ppx_ext.suites import EvalSuite, Score, Subject, TaskScore, TextScore
from tests.models import tiny_model, tiny_tokenizer

ROWS = 20
"""Rows that are trained on: at the default batch size of 8, three steps make an epoch."""


class Nothing(pydantic.BaseModel):
    pass


def evaluation(evaluate: Callable[[Any, Subject], Sequence[Score]], **keys: Any) -> Evaluation:
    suite = EvalSuite(name="scripted", paper="none", settings=Nothing, evaluate=evaluate)
    stage = SuiteStage(stage=Stage(component=suite, settings=Nothing()))
    if "every" in keys:
        keys["every"] = Every.model_validate(keys["every"])
    if "gate" in keys:
        keys["gate"] = Gate.model_validate(keys["gate"])
    return Evaluation(suites=(stage,), **keys)


def rude(settings: Any, subject: Subject) -> list[Score]:
    """Draws from every generator, and leaves all switches the other way."""
    model, tokenizer = subject.model, subject.tokenizer
    assert not any(module.training for module in model.modules())
    assert not torch.is_grad_enabled()
    weight = next(each for each in model.parameters() if each.requires_grad)
    found = tuple(float(value > 0) for value in weight.flatten()[:4])
    random.random(), np.random.rand(), torch.rand(3)
    torch.manual_seed(random.randrange(9)), np.random.seed(1)
    tokenizer.padding_side, tokenizer.truncation_side = "left", "left"
    tokenizer.pad_token, tokenizer.chat_template = tokenizer.eos_token, "{{ 1 }}"
    model.config.use_cache = not model.config.use_cache
    model.generation_config.max_new_tokens = 3
    model.gradient_checkpointing_enable()
    model.train()
    if hasattr(model, "disable_adapter_layers"):
        model.disable_adapter_layers()
    for parameter in model.parameters():
        parameter.requires_grad_(not parameter.requires_grad)
    torch.set_default_dtype(torch.float64)
    return [
        TaskScore(task="signs", correct=found, readings={"strict": (0.0, 0.0, 0.0, 1.0)}),
        TaskScore(task="t", correct=(1.0, 0.0), target=True),
        TextScore(task="prose", nll=(2.0, 4.0), tokens=(1, 2)),
    ]


class Script:
    """A suite that gives the scores it was told to, one line after the other."""

    def __init__(self, *lines: tuple[float, float] | Exception) -> None:
        self.lines = list(lines)
        self.seen: list[torch.Tensor] = []

    def __call__(self, settings: Any, subject: Subject) -> list[Score]:
        line = self.lines.pop(0)
        if isinstance(line, Exception):
            raise line
        weight = next(each for each in subject.model.parameters() if each.requires_grad)
        self.seen.append(weight.detach().clone())
        return [a_score("own", line[0], target=True), a_score("law", line[1])]


def a_score(task: str, share: float, **keys: Any) -> TaskScore:
    right = round(10 * share)
    return TaskScore(task=task, correct=(1.0,) * right + (0.0,) * (10 - right), **keys)


def run(
    folder: Path,
    asked: Evaluation | None = None,
    *,
    lora: bool = False,
    resume: bool = False,
    callbacks: Sequence[TrainerCallback] = (),
    said: list[str] | None = None,
    **changes: Any,
) -> Trainer:
    rows = [{"input_ids": [5, 6, 7, i], "labels": [5, 6, 7, i]} for i in range(10, 10 + ROWS)]
    model: Any = tiny_model("llama", attention_dropout=0.2)
    if lora:
        torch.manual_seed(0)
        model = get_peft_model(model, LoraConfig(r=2, lora_dropout=0.3, target_modules=["q_proj"]))
    settings: dict[str, Any] = {
        "max_steps": 5, "use_cpu": True, "report_to": "none", "logging_steps": 2,
        "learning_rate": 1e-2, "disable_tqdm": True, "save_strategy": "no",
    }  # fmt: skip
    data = Dataset.from_list(rows)
    trainer = Trainer(
        model=model,
        args=TrainingArguments(output_dir=str(folder), **{**settings, **changes}),
        train_dataset=data,
        eval_dataset=data.select(range(2)),
        processing_class=tiny_tokenizer(),
        callbacks=list(callbacks),
    )
    if asked is not None:
        say = said.append if said is not None else lambda line: None
        trainer.add_callback(SuiteCallback(asked, trainer, say=say))
    trainer.train(resume_from_checkpoint=resume or None)
    return trainer


def read(folder: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((folder / "ppx_eval.json").read_text())
    return content


def times(folder: Path) -> list[tuple[str, int]]:
    return [(one["when"], one["step"]) for one in read(folder)["evaluations"]]


# ------------------------------------------------------------------------------------- undisturbed


def state_of(model: Any, tokenizer: Any) -> list[Any]:
    modules = [(each.training, getattr(each, "gradient_checkpointing", None),
                getattr(each, "_disable_adapters", None)) for each in model.modules()]  # fmt: skip
    names = ("padding_side", "truncation_side", "pad_token", "chat_template")
    draws = (random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist())
    configs = (model.config.use_cache, model.generation_config.max_new_tokens)
    grads = [parameter.requires_grad for parameter in model.parameters()]
    own = [getattr(tokenizer, name) for name in names]
    return [modules, own, *draws, *configs, grads, torch.get_default_dtype()]


def test_undisturbed_puts_everything_back() -> None:
    model: Any = get_peft_model(tiny_model("llama"), LoraConfig(r=2, target_modules=["q_proj"]))
    tokenizer = tiny_tokenizer()
    model.train()
    model.base_model.model.model.layers[1].eval()
    before = state_of(model, tokenizer)
    with undisturbed(model, tokenizer):
        model.eval()
        rude(None, Subject(model=model, tokenizer=tokenizer))
        changed = state_of(model, tokenizer)
        assert not any(one == other for one, other in zip(changed, before, strict=True))
    assert state_of(model, tokenizer) == before
    with pytest.raises(AttributeError), undisturbed(model, tokenizer):
        rude(None, Subject(model=model.eval(), tokenizer=None))
    assert state_of(model, tokenizer) == before


@pytest.mark.parametrize("lora", [False, True], ids=["full", "lora"])
def test_the_trajectory_is_the_same_with_and_without(lora: bool, tmp_path: Path) -> None:
    changes = {"lora": lora, "gradient_checkpointing": lora}
    plain = run(tmp_path / "a", **changes)
    measured = run(tmp_path / "b", evaluation(rude, every=1), **changes)
    assert times(tmp_path / "b") == [
        ("before", 0), *(("during", step) for step in (1, 2, 3, 4)), ("after", 5)
    ]  # fmt: skip
    rows = [
        [{k: v for k, v in row.items() if k in ("loss", "grad_norm", "learning_rate", "step")}
         for row in one.state.log_history if "loss" in row]
        for one in (plain, measured)
    ]  # fmt: skip
    assert len(rows[0]) == 2
    assert rows[0] == rows[1]
    for (name, one), other in zip(
        plain.model.named_parameters(), measured.model.parameters(), strict=True
    ):
        assert torch.equal(one, other), name


# --------------------------------------------------------------------------------- when, and what


def test_numbers_are_logged_and_written(tmp_path: Path) -> None:
    said: list[str] = []
    trainer = run(tmp_path, evaluation(rude, every=2), said=said, max_steps=4)
    logged = [row for row in trainer.state.log_history if "eval_signs_accuracy" in row]
    assert [row["step"] for row in logged] == [0, 2, 4]
    assert {row["eval_signs_strict"] for row in logged} == {0.25}
    assert {row["eval_t_accuracy"] for row in logged} == {0.5}
    assert [row["eval_prose_perplexity"] for row in logged] == pytest.approx([np.exp(2)] * 3)
    changes = [{k for k in row if k.startswith("eval_ppx")} for row in logged]
    assert changes[0] == {"eval_ppx_seconds"}
    assert {"eval_ppx_ti", "eval_ppx_average_drop", "eval_ppx_seconds"} <= changes[-1]
    assert logged[-1]["eval_ppx_ti"] == 0
    content = read(tmp_path)
    found = [load_scores(record) for record in content["evaluations"]]
    assert [len(scores) for scores in found] == [3, 3, 3]
    assert all((tmp_path / record["items"]).is_file() for record in content["evaluations"])
    cost = content["cost"]
    assert cost["share"] == pytest.approx(cost["seconds"] / cost["training_seconds"])
    assert "% of the" in said[-1]
    assert "signs" in said[0]


def test_an_undefined_number_is_left_out(tmp_path: Path) -> None:
    trainer = run(tmp_path, evaluation(Script((0.0, 0.5), (0.5, 0.4))), max_steps=1)
    last = [row for row in trainer.state.log_history if "eval_own_accuracy" in row][-1]
    assert "eval_ppx_ti" not in last
    assert last["eval_ppx_bwt"] == pytest.approx(-20)
    assert last["eval_ppx_average_drop"] == pytest.approx(10)


@pytest.mark.parametrize(
    ("every", "steps"),
    [(4, [4, 8]), ({"epochs": 1}, [3, 6, 9]), ({"epochs": 0.5}, [2, 3, 5, 6, 8, 9]),
     ({"epochs": 2}, [6]), ({"epochs": 0.1}, list(range(1, 11)))],
)  # fmt: skip
def test_due(every: Any, steps: list[int]) -> None:
    due = Due(Every.model_validate(every), 0.0)
    assert [step for step in range(1, 11) if due.now(step=step, epoch=step / 3)] == steps
    later = Due(Every.model_validate(every), 4 / 3)
    found = [step for step in range(5, 11) if later.now(step=step, epoch=step / 3)]
    assert found == [step for step in steps if step > 4]


def test_the_last_one_is_measured_once(tmp_path: Path) -> None:
    script = Script((0.5, 0.5), (0.6, 0.5), (0.7, 0.5))
    run(tmp_path, evaluation(script, every="epoch"), max_steps=6)
    assert times(tmp_path) == [("before", 0), ("during", 3), ("after", 6)]


def test_another_callback_that_stops_is_followed(tmp_path: Path) -> None:
    class Stop(TrainerCallback):
        def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            control.should_training_stop = state.global_step == 2

    script = Script((0.5, 0.5), (0.6, 0.5))
    run(tmp_path, evaluation(script, every=4), callbacks=[Stop()])
    assert times(tmp_path) == [("before", 0), ("after", 2)]


# ----------------------------------------------------------------------------------------- resumed


def test_a_resumed_run_keeps_what_was_measured_before(tmp_path: Path) -> None:
    first = Script((0.5, 0.5), (0.6, 0.5), (0.7, 0.5))
    saving = {"save_strategy": "steps", "save_steps": 3}
    run(tmp_path, evaluation(first, every=2), max_steps=3, **saving)
    assert times(tmp_path) == [("before", 0), ("during", 2), ("after", 3)]
    before = read(tmp_path)
    second = Script((0.8, 0.5), (0.9, 0.5))
    run(tmp_path, evaluation(second, every=2), resume=True, **saving)
    assert times(tmp_path) == [
        ("before", 0), ("during", 2), ("during", 3), ("during", 4), ("after", 5)
    ]  # fmt: skip
    content = read(tmp_path)
    assert content["evaluations"][0] == before["evaluations"][0]
    assert content["cost"]["training_seconds"] > before["cost"]["training_seconds"]
    (tmp_path / "ppx_eval.json").unlink()
    with pytest.raises(ValueError, match=r"no evaluation of the untouched model.*start afresh"):
        run(tmp_path, evaluation(Script(), every=2), max_steps=7, resume=True, **saving)


# ---------------------------------------------------------------------------------------- failures


def test_a_failure_before_the_first_step_stops(tmp_path: Path) -> None:
    with pytest.raises(KeyError, match="broken"):
        run(tmp_path, evaluation(Script(KeyError("broken"))))


def test_a_later_failure_costs_no_training(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    plain = run(tmp_path / "a")
    script = Script((0.5, 0.5), KeyError("broken"), (0.6, 0.5), KeyError("again"))
    said: list[str] = []
    trainer = run(tmp_path / "b", evaluation(script, every=2), said=said)
    assert trainer.state.global_step == 5
    assert all(map(torch.equal, plain.model.parameters(), trainer.model.parameters()))
    assert times(tmp_path / "b") == [("before", 0), ("during", 4)]
    failures = read(tmp_path / "b")["failures"]
    assert [(one["step"], "broken" in one["error"]) for one in failures] == [(2, True), (5, False)]
    assert "evaluation at step 2 FAILED" in caplog.text
    assert "2 evaluation(s) FAILED" in said[-1]
