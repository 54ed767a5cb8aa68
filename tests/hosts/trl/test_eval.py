"""The `eval:` stage in TRL: measured on the live model, of which the training learns nothing."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from datasets import IterableDataset
from safetensors.torch import load_file

from ppx_ext import catalog, doctor
from ppx_ext.callbacks import SuiteCallback
from ppx_ext.evaluating import apart
from ppx_ext.hosts import evaluated, trl
from ppx_ext.hosts.trl_trainer import PpxSFTTrainer
from ppx_ext.plan import PlanError, parse
from ppx_ext.records import load_scores
from tests.core.test_callbacks import evaluation, rude
from tests.hosts import measured
from tests.hosts.trl.lab import Lab, arguments, lora, trainer
from tests.hosts.trl.test_recipe import PEFT, write

TRAIN = ("loss", "grad_norm", "learning_rate", "entropy", "mean_token_accuracy", "num_tokens")


@pytest.fixture(scope="module")
def lab() -> Lab:
    return Lab()


@pytest.fixture(scope="module")
def base(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return lab.saved(tmp_path_factory.mktemp("base"))


def training(run: Any) -> list[dict[str, float]]:
    """The rows of the log that tell of training."""
    rows = [row for row in run.state.log_history if "loss" in row]
    return [{key: row[key] for key in TRAIN if key in row} for row in rows]


class Rude(SuiteCallback):
    """A second callback, whose suite leaves all switches the other way, with a file of its own."""

    def __init__(self, asked: Any, trainer: Any, args: Any) -> None:
        super().__init__(asked, trainer)
        self.args = args

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        super().on_train_begin(self.args, state, control, **kwargs)


MODES: dict[str, dict[str, Any]] = {
    "padded, dropout": {"peft": lora(lora_dropout=0.3), "gradient_checkpointing": True},
    "packed": {"packing": True, "max_length": 128, "peft": lora(lora_dropout=0.3)},
    "padding-free, full": {"padding_free": True, "max_length": None},
}


@pytest.mark.parametrize("mode", MODES)
def test_the_trajectory_is_the_same(mode: str, lab: Lab, tmp_path: Path) -> None:
    changes = {"logging_steps": 2, "num_train_epochs": 2, "per_device_train_batch_size": 2,
               "gradient_accumulation_steps": 1, **MODES[mode]}  # fmt: skip
    stage = measured.block(tmp_path / "tasks", harness=mode == "packed", every=1)
    block = lab.block(tmp_path)
    plain = trainer(lab, tmp_path / "a", ppx=block, **changes)
    plain.train()
    run = trainer(lab, tmp_path / "b", ppx={**block, "eval": stage}, **changes)
    if mode == "packed":
        elsewhere = SimpleNamespace(output_dir=tmp_path / "rude")
        run.add_callback(Rude(evaluation(rude, every=1), run, elsewhere))
    run.train()
    assert training(plain) == training(run)
    assert [one.inputs["input_ids"].tolist() for one in plain.caught] == [
        one.inputs["input_ids"].tolist() for one in run.caught
    ]
    for (name, one), other in zip(
        plain.model.named_parameters(), run.model.parameters(), strict=True
    ):
        assert torch.equal(one, other), name
    steps = run.state.global_step
    assert steps > 2
    during = [("during", step) for step in range(1, steps)]
    assert measured.times(tmp_path / "b" / "out") == [("before", 0), *during, ("after", steps)]
    said = measured.responses(tmp_path / "b" / "out")
    assert said[0] != said[-1]


def test_a_recipe_with_both_suites(
    lab: Lab, base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stage = measured.block(tmp_path / "tasks", every={"epochs": 0.5}, gate={"max_drop": 100})
    block = {**lab.block(tmp_path), "eval": stage}
    run = trl.train(write(tmp_path, lab, base, ppx=block, max_steps=6, **PEFT))
    out = tmp_path / "out"
    assert measured.times(out) == [("before", 0), ("during", 3), ("after", 6)]
    content = measured.read(out)
    names = [score["task"] for score in content["evaluations"][-1]["scores"]]
    assert sorted(names) == ["local_arc", "local_gsm8k", "other", "own"]
    assert content["evaluations"][-1]["gate"]["ok"] is True
    logged = [row for row in run.state.log_history if "eval_own_accuracy" in row]
    assert [row["step"] for row in logged] == [0, 3, 6]
    assert "eval_local_gsm8k_flexible" in logged[0]
    said = capsys.readouterr().out
    assert "measured by tasks, lm_eval: before the first step, every 0.5 epochs, at the end" in said
    assert "evaluation took" in said


@pytest.mark.slow
def test_apart_gives_the_same_scores(lab: Lab, base: Path, tmp_path: Path) -> None:
    found = []
    for where in ("here", "apart"):
        folder = tmp_path / where
        folder.mkdir()
        stage = measured.block(folder / "tasks", harness=False, where=where)
        block = {**lab.block(folder), "eval": stage}
        trl.train(write(folder, lab, base, ppx=block, max_steps=3, learning_rate=0.05, **PEFT))
        out = folder / "out"
        found.append((measured.times(out), measured.scores(out), measured.responses(out)))
        assert not (out / "ppx_apart").exists()
    assert found[0] == found[1]
    assert found[0][2][0] != found[0][2][1]


def test_a_full_checkpoint_is_measured_as_the_live_model(lab: Lab, tmp_path: Path) -> None:
    """What the other process does, in this one."""
    stage = measured.block(tmp_path / "tasks")
    run = trainer(lab, tmp_path, ppx={"eval": stage}, max_steps=3)
    run.train()
    plan = parse({"eval": stage}, catalog.load()).eval
    assert plan is not None
    place = tmp_path / "apart"
    run.save_model(str(place / "model"))
    (place / "job.json").write_text(
        json.dumps({**apart._job(run, plan), "trust_remote_code": False})
    )
    apart.main(place)
    scores = apart._load(json.loads((place / "scores.json").read_text()))
    record = measured.read(tmp_path / "out")["evaluations"][-1]
    assert scores == load_scores(record)
    said = [str(text) for score in scores for text in score.items["response"]]
    assert said == measured.responses(tmp_path / "out")[-1]


def test_a_process_that_fails_is_quoted(lab: Lab, tmp_path: Path) -> None:
    stage = measured.block(tmp_path / "tasks", harness=False, where="apart")
    run = trainer(lab, tmp_path, ppx={"eval": stage}, max_steps=1, peft=lora())
    run.model.peft_config["default"].base_model_name_or_path = None
    with pytest.raises(RuntimeError, match="does not say on which base"):
        run.train()


def test_the_saved_adapter_is_the_best(
    lab: Lab, base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The target's score is made up: the second evaluation is best, and must be what is saved."""
    from ppx_ext import gates

    def second(before: Any, found: Any, gate: Any, names: Any = ()) -> gates.Best:
        told = [str(name) for name in names]
        at = told.index("step 2") if "step 2" in told else len(told) - 1
        return gates.Best(at=at, target=(0.0,) * len(told), checked=(None,) * len(told), words="")

    monkeypatch.setattr(gates, "best", second)
    stage = measured.block(tmp_path / "tasks", harness=False, every=1, keep="best")
    block = {**lab.block(tmp_path), "eval": stage}
    changes = {**PEFT, "save_strategy": "steps", "save_steps": 1, "max_steps": 4}
    trl.train(write(tmp_path, lab, base, ppx=block, **changes))
    out = tmp_path / "out"
    saved = load_file(out / "adapter_model.safetensors")
    second_step = load_file(out / "checkpoint-2" / "adapter_model.safetensors")
    last_step = load_file(out / "checkpoint-4" / "adapter_model.safetensors")
    assert saved.keys() == second_step.keys()
    assert all(torch.equal(saved[name], value) for name, value in second_step.items())
    assert not all(torch.equal(saved[name], value) for name, value in last_step.items())
    assert measured.times(out)[-2:] == [("during", 4), ("after", 2)]


def test_a_suite_that_cannot_be_stops_before_anything_is_loaded(
    lab: Lab, base: Path, tmp_path: Path
) -> None:
    stage = {"use": "lm_eval", "tasks": ["local_nothing"], "include_path": str(tmp_path)}
    block = {**lab.block(tmp_path), "eval": stage}
    with pytest.raises(PlanError, match="local_nothing"):
        trl.train(write(tmp_path, lab, Path("/nowhere"), ppx=block))
    with pytest.raises(PlanError, match="local_nothing"):
        trainer(lab, tmp_path, ppx=block)


def test_contradictions_are_refused(lab: Lab, tmp_path: Path) -> None:
    keep = measured.block(tmp_path / "tasks", harness=False, every="epoch", keep="best")
    saving = {"save_strategy": "steps", "eval_strategy": "steps", "eval_steps": 2,
              "save_steps": 2, "load_best_model_at_end": True}  # fmt: skip
    with pytest.raises(PlanError, match="both choose the weights"):
        trainer(lab, tmp_path, ppx={"eval": keep}, more={"eval_dataset": lab.dataset()}, **saving)
    with pytest.raises(PlanError, match="length is not known"):
        streamed(lab, tmp_path, "epoch")


def streamed(lab: Lab, folder: Path, every: Any) -> Any:
    stage = measured.block(folder / "tasks", harness=False, every=every)
    return PpxSFTTrainer(
        model=lab.model(),
        args=arguments(folder, ppx={"eval": stage}, max_steps=2),
        train_dataset=IterableDataset.from_generator(lambda: iter(lab.rows)),
        processing_class=lab.tokenizer,
    )


def test_a_streamed_set_is_measured_every_so_many_steps(lab: Lab, tmp_path: Path) -> None:
    streamed(lab, tmp_path, 1).train()
    assert measured.times(tmp_path / "out") == [("before", 0), ("during", 1), ("after", 2)]


def test_an_examination_tells_of_it(lab: Lab, base: Path, tmp_path: Path) -> None:
    gate = {"max_drop": 2, "on_breach": "stop"}
    stage = measured.block(tmp_path / "tasks", harness=False, every=50, gate=gate)
    path = write(tmp_path, lab, base, ppx={"eval": stage})
    seen = [one for one in doctor.examine(str(path)).findings if one.where == "ppx.eval"]
    assert [one.level for one in seen] == ["ok"]
    assert "every 50 steps, at the end; gate: at most average drop 2 points" in seen[0].message
    (tmp_path / "tasks" / "own.jsonl").unlink()
    seen = [one for one in doctor.examine(str(path)).findings if one.where == "ppx.eval"]
    assert [one.level for one in seen] == ["ok", "error"]
    assert "own.jsonl" in seen[1].message


@pytest.mark.parametrize("how", ["FSDP", "ZeRO-3"])
def test_what_sharded_weights_cannot_do_is_refused(how: str, lab: Lab, tmp_path: Path) -> None:
    """The accelerator is described, as none of these runs on a CPU."""
    zero: dict[str, Any] = {"stage": 3}
    plugin = SimpleNamespace(zero_stage=3, deepspeed_config={"zero_optimization": zero})
    state = SimpleNamespace(deepspeed_plugin=plugin if how == "ZeRO-3" else None)
    accelerator = SimpleNamespace(
        state=state, distributed_type="FSDP" if how == "FSDP" else "DEEPSPEED"
    )
    run = SimpleNamespace(
        accelerator=accelerator, model=lab.model(), train_dataset=lab.rows,
        args=SimpleNamespace(load_best_model_at_end=False),
    )  # fmt: skip

    def refused(**keys: Any) -> list[str]:
        stage = measured.block(tmp_path / "tasks", harness=False, every=1, **keys)
        try:
            evaluated.callback(parse({"eval": stage}, catalog.load()), run, say=print)
        except PlanError as error:
            return error.problems
        return []

    assert apart.sharded(run) == how
    gathering = [] if how == "FSDP" else ["stage3_gather_16bit_weights_on_model_save"]
    for keys, wanted in (
        ({}, []),
        ({"where": "here"}, ["where: auto"]),
        ({"keep": "best"}, ["ppx eval"]),
        ({"gate": {"max_drop": 1, "on_breach": "restore_best"}}, ["on_breach: stop"]),
    ):
        problems = refused(**keys)
        assert len(problems) == len(wanted) + len(gathering)
        assert all(part in problem for part, problem in zip(wanted, problems, strict=False))
        assert all(part in problems[-1] for part in gathering)
    zero["stage3_gather_16bit_weights_on_model_save"] = True
    assert refused() == []
