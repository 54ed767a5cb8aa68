"""With which weights a run ends: gates, the best ones, and the host's own choice."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from ppx_ext.suites import Score, Subject
from tests.core.test_callbacks import Script, a_score, evaluation, read, run, times


def breach(on_breach: str, *lines: tuple[float, float], keep: Any = "last") -> Any:
    script = Script((0.5, 0.9), *lines)
    gate = {"max_drop": 15, "on_breach": on_breach}
    return script, evaluation(script, every=1, gate=gate, keep=keep)


def test_a_breach_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    script, asked = breach("warn", (0.6, 0.7), (0.7, 0.8))
    run(tmp_path, asked, max_steps=2)
    assert not script.lines
    assert "step 1: The gate is breached" in caplog.text
    gated = [one.get("gate", {}).get("ok") for one in read(tmp_path)["evaluations"]]
    assert gated == [None, False, True]


def test_a_breach_stops(tmp_path: Path) -> None:
    _, asked = breach("stop", (0.6, 0.9), (0.7, 0.7))
    trainer = run(tmp_path, asked)
    assert trainer.state.global_step == 2
    assert times(tmp_path) == [("before", 0), ("during", 1), ("after", 2)]


@pytest.mark.parametrize("lora", [False, True], ids=["full", "lora"])
def test_a_breach_restores_the_best(lora: bool, tmp_path: Path) -> None:
    script, asked = breach("restore_best", (0.6, 0.9), (0.8, 0.8), (0.7, 0.9), (0.9, 0.1))
    trainer = run(tmp_path, asked, lora=lora)
    assert trainer.state.global_step == 4
    weight = next(each for each in trainer.model.parameters() if each.requires_grad)
    assert torch.equal(weight, script.seen[2])
    assert not torch.equal(weight, script.seen[4])
    assert times(tmp_path)[-2:] == [("during", 4), ("after", 2)]
    content = read(tmp_path)
    assert content["evaluations"][-1]["restored"] is True
    assert content["kept"]["step"] == 2
    logged = [row for row in trainer.state.log_history if "eval_own_accuracy" in row]
    assert [row["eval_own_accuracy"] for row in logged] == [0.5, 0.6, 0.8, 0.7, 0.9, 0.8]
    trainer.save_model()
    (saved,) = tmp_path.glob("*.safetensors")
    kept = load_file(tmp_path / "_ppx_best" / "weights.safetensors")
    named = {name.replace(".default", ""): value for name, value in kept.items()}
    shared = named.keys() & load_file(saved).keys()
    assert len(shared) == len(named)
    assert all(torch.equal(load_file(saved)[name], named[name]) for name in shared)


def test_the_best_is_kept_under_the_limit(tmp_path: Path) -> None:
    lines = [(0.6, 0.9), (0.9, 0.5), (0.7, 0.8), (0.7, 0.9), (0.6, 0.9)]
    script, asked = breach("warn", *lines, keep="best")
    said: list[str] = []
    trainer = run(tmp_path, asked, said=said)
    assert torch.equal(next(iter(trainer.model.parameters())), script.seen[3])
    assert times(tmp_path)[-1] == ("after", 3)
    assert any("ends with the weights of step 3" in line for line in said)


def test_the_last_may_be_the_best(tmp_path: Path) -> None:
    script, asked = breach("warn", (0.6, 0.9), (0.7, 0.9), keep="best")
    trainer = run(tmp_path, asked, max_steps=2)
    assert torch.equal(next(iter(trainer.model.parameters())), script.seen[-1])
    assert times(tmp_path) == [("before", 0), ("during", 1), ("after", 2)]
    assert read(tmp_path)["kept"]["restored"] is False


def test_nothing_within_the_limits_is_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    script, asked = breach("restore_best", (0.6, 0.1))
    trainer = run(tmp_path, asked)
    assert torch.equal(next(iter(trainer.model.parameters())), script.seen[-1])
    assert times(tmp_path) == [("before", 0), ("after", 1)]
    assert "ends with the weights of its last step" in caplog.text


def test_a_resumed_run_ends_with_the_best_of_its_beginning(tmp_path: Path) -> None:
    saving = {"save_strategy": "steps", "save_steps": 2}
    script, asked = breach("warn", (0.9, 0.9), (0.6, 0.9), keep="best")
    run(tmp_path, asked, max_steps=2, **saving)
    _, asked = breach("warn", keep="best")
    asked.suites[0].stage.component.evaluate.lines[:] = [(0.7, 0.9), (0.8, 0.9)]
    trainer = run(tmp_path, asked, max_steps=4, resume=True, **saving)
    assert torch.equal(next(iter(trainer.model.parameters())), script.seen[1])
    assert times(tmp_path)[-1] == ("after", 1)


def test_without_a_target_the_latest_within_the_limits_is_kept(tmp_path: Path) -> None:
    shares = [0.9, 0.8, 0.9, 0.1]
    seen = []

    def untargeted(settings: Any, subject: Subject) -> list[Score]:
        seen.append(next(iter(subject.model.parameters())).detach().clone())
        return [a_score("law", shares.pop(0))]

    gate = {"max_drop": 15, "on_breach": "restore_best"}
    trainer = run(tmp_path, evaluation(untargeted, every=1, gate=gate))
    assert torch.equal(next(iter(trainer.model.parameters())), seen[2])


def test_wishes_that_cannot_be_are_told_before_the_first_step(tmp_path: Path) -> None:
    def one_task(settings: Any, subject: Subject) -> list[Score]:
        return [a_score("law", 0.5)]

    for keys, message in (
        ({"keep": "best"}, "target: true"),
        ({"gate": {"tasks": {"lax": 1.0}}}, "did you mean 'law'"),
    ):
        with pytest.raises(ValueError, match=message):
            run(tmp_path, evaluation(one_task, every=1, **keys))


def test_metric_for_best_model_may_be_one_of_ours(tmp_path: Path) -> None:
    script = Script((0.5, 0.5), (0.6, 0.5), (0.9, 0.5), (0.7, 0.5), (0.9, 0.5))
    trainer = run(
        tmp_path, evaluation(script, every=3), max_steps=3, eval_strategy="steps", eval_steps=1,
        save_strategy="steps", save_steps=1, metric_for_best_model="own_accuracy",
        load_best_model_at_end=True,
    )  # fmt: skip
    assert trainer.state.best_global_step == 2
    assert trainer.state.best_metric == 0.9
    assert torch.equal(next(iter(trainer.model.parameters())), script.seen[2])
    assert torch.equal(script.seen[-1], script.seen[2])
    assert times(tmp_path) == [("before", 0), ("during", 1), ("during", 2), ("after", 3)]
    assert read(tmp_path)["evaluations"][-1]["scores"][0]["correct"].count(1) == 9
