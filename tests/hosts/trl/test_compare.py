"""`ppx compare` in TRL: real trainings, one of which is killed, and what differs between arms."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from ppx_ext import recipes
from ppx_ext.cli import main
from ppx_ext.comparing import run
from ppx_ext.comparing.norms import update_norm
from tests.hosts import measured
from tests.hosts.trl.lab import Lab

ARMS = {
    "sft": "sft",
    "stm": "stm",
    "nothing": "stm@ppx.mask.ppl_threshold=.inf",
    "matched": "sft_matched",
    "broken": {"from": "sft", "optim": "no_such_optimizer"},
}
SEEDS = (0, 1)
KILLED = "stm-1"


def write(folder: Path, **changes: Any) -> Path:
    lab = Lab()
    for save in (lab.model(), lab.tokenizer):
        save.save_pretrained(folder / "base")
    rows = [
        {
            "prompt": row["prompt"][0]["content"],
            "response": row["completion"][0]["content"],
        }
        for row in lab.rows
    ]
    (folder / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    settings = {
        "model_name_or_path": str(folder / "base"),
        "dtype": "float32",
        "dataset_name": str(folder / "train.jsonl"),
        "use_peft": True,
        "lora_r": 4,
        "lora_target_modules": "all-linear",
        "use_cpu": True,
        "bf16": False,
        "report_to": "none",
        "num_train_epochs": 2,
        "per_device_train_batch_size": 3,
        "learning_rate": 1e-2,
        "logging_steps": 1,
        "save_strategy": "no",
        "disable_tqdm": True,
        "gradient_checkpointing": False,
        "dataloader_pin_memory": False,
        "ppx": {
            "mask": {"use": "stm", "ppl_threshold": lab.threshold},
            "eval": measured.block(folder / "tasks", harness=False),
        },
        **changes,
    }
    path = folder / "my.trl.yaml"
    path.write_text(yaml.safe_dump(settings, sort_keys=False))
    return path


def wanted(path: Path, out: Path, **changes: Any) -> run.Wanted:
    given: dict[str, Any] = {"arms": tuple(ARMS), "given": ARMS, "seeds": SEEDS, "sweep": False}
    return run.Wanted(recipe=recipes.load(path), out=out, **{**given, **changes})


def kill(out: Path, name: str, over: threading.Event) -> None:
    """Kill the process that is at a run, as soon as it is."""
    started = out / "runs" / name / "started.json"
    while not over.wait(0.02):
        if started.is_file():
            who = json.loads(started.read_text())["who"]
            os.kill(int(re.findall(r"\d+", who)[0]), signal.SIGKILL)
            return


@pytest.fixture(scope="module")
def compared(tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    folder = tmp_path_factory.mktemp("compared")
    path, out = write(folder), folder / "out"
    over = threading.Event()
    killer = threading.Thread(target=kill, args=(out, KILLED, over))
    killer.start()
    try:
        first = run.compare(wanted(path, out))
    finally:
        over.set()
        killer.join()
    stamps = {file: file.stat().st_mtime_ns for file in out.glob("runs/*/result.json")}
    second = run.compare(wanted(path, out, keep_weights=True))
    return SimpleNamespace(path=path, out=out, first=first, second=second, stamps=stamps)


def log_of(compared: SimpleNamespace, name: str) -> list[Any]:
    """Losses and gradients, step by step."""
    state = json.loads((compared.out / "runs" / name / "trainer_state.json").read_text())
    found = [(row["loss"], row["grad_norm"]) for row in state["log_history"] if "grad_norm" in row]
    assert len(found) == state["global_step"] == 12
    return found


def test_a_killed_run_and_a_broken_arm_cost_themselves_alone(compared: SimpleNamespace) -> None:
    lacking = {
        (one["arm"], one["seed"]): one["why"] for one in compared.first["comparison"]["lacking"]
    }
    assert set(lacking) == {("stm", 1), ("matched", 1), ("broken", 0), ("broken", 1)}
    assert "its process was killed" in lacking["stm", 1]
    assert "it goes by stm-1, which failed" in lacking["matched", 1]
    assert "no_such_optimizer" in lacking["broken", 0]
    assert "broken-0/log.txt" in lacking["broken", 0]
    assert any("stm, seed 1, is missing" in warning for warning in compared.first["warnings"])
    arms = {arm["name"]: arm["n"] for arm in compared.first["study"]["arms"]}
    assert arms == {"sft": 2, "stm": 1, "nothing": 2, "matched": 1}


def test_a_reference_without_a_run_is_told(compared: SimpleNamespace, tmp_path: Path) -> None:
    out = shutil.copytree(compared.out, tmp_path / "out")
    found = run.compare(wanted(compared.path, out, arms=("broken", "stm", "sft"), seeds=(0,)))
    said = "broken, which all other arms were to be held against, has no run; they are held against"
    assert any(f"{said} stm" in warning for warning in found["warnings"])
    assert not any(said in warning for warning in compared.second["warnings"])


def test_started_again_only_what_lacks_is_run(compared: SimpleNamespace) -> None:
    lacking = {(one["arm"], one["seed"]) for one in compared.second["comparison"]["lacking"]}
    assert lacking == {("broken", 0), ("broken", 1)}
    now = {file: file.stat().st_mtime_ns for file in compared.out.glob("runs/*/result.json")}
    assert {file.parent.name for file in now.keys() - compared.stamps.keys()} == {
        "stm-1", "matched-1"
    }  # fmt: skip
    assert {file: now[file] for file in compared.stamps} == compared.stamps
    assert not list(compared.out.glob("runs/*/training-*"))
    assert not list(compared.out.glob("runs/*/started.json"))


def test_equal_but_for_the_arm(compared: SimpleNamespace) -> None:
    """A mask that masks nothing trains exactly as plain SFT: rows, order, weights at the start."""
    for seed in SEEDS:
        assert log_of(compared, f"nothing-{seed}") == log_of(compared, f"sft-{seed}")
        assert log_of(compared, f"stm-{seed}") != log_of(compared, f"sft-{seed}")
    assert log_of(compared, "sft-0") != log_of(compared, "sft-1")
    said = [
        measured.responses(compared.out / "runs" / name) for name in ("sft-0", "nothing-0", "stm-0")
    ]
    assert said[0] == said[1] != said[2]
    of = {
        name: yaml.safe_load((compared.out / "runs" / name / "recipe.trl.yaml").read_text())
        for name in ("sft-1", "stm-1")
    }
    mask = of["stm-1"]["ppx"].pop("mask")
    assert mask["use"] == "stm"
    for one in of.values():
        del one["output_dir"]  # named by process
    assert of["sft-1"] == of["stm-1"]


def test_the_base_is_measured_once_and_items_are_kept(compared: SimpleNamespace) -> None:
    base = compared.out / "runs" / "base"
    assert measured.times(base) == [("before", 0)]
    assert measured.times(compared.out / "runs" / "sft-0") == [("after", 12)]
    assert measured.responses(base) != measured.responses(compared.out / "runs" / "sft-0")
    (example, *_) = compared.second["examples"]
    assert example["task"] == "own"
    assert set(example["answers"]) == {"base", "sft", "stm", "nothing", "matched"}


def test_the_matched_arm_moved_as_far_as_stm(compared: SimpleNamespace) -> None:
    arms = {
        arm["name"]: {one["seed"]: one for one in arm["runs"]}
        for arm in compared.second["study"]["arms"]
    }
    for seed in SEEDS:
        sft, stm, matched = (arms[name][seed] for name in ("sft", "stm", "matched"))
        assert matched["update_norm"] == pytest.approx(stm["update_norm"], rel=1e-5)
        assert matched["scaled_by"] == pytest.approx(stm["update_norm"] / sft["update_norm"])
        assert sft["tokens_masked"] == 0 < stm["tokens_masked"]
        assert sft["loss_kept"] == 1 > stm["loss_kept"]


def test_weights_are_kept_where_asked_for(compared: SimpleNamespace) -> None:
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    runs = compared.out / "runs"
    assert not (runs / "sft-0" / "weights").exists()
    base = AutoModelForCausalLM.from_pretrained(compared.path.parent / "base")
    kept = PeftModel.from_pretrained(base, runs / "matched-1" / "weights")
    result = json.loads((runs / "stm-1" / "result.json").read_text())
    assert update_norm(kept) == pytest.approx(result["numbers"]["update_norm"], rel=1e-5)


def test_what_was_compared_is_told(compared: SimpleNamespace) -> None:
    told = compared.second["comparison"]
    assert told["arms"]["sft"]["edit"] == []
    assert told["arms"]["broken"]["edit"] == ["optim: 'no_such_optimizer'"]
    assert any("smaller learning rates" in warning for warning in compared.second["warnings"])
    tests = {(test["arm"], test["against"]) for test in compared.second["study"]["tests"]}
    assert ("matched", "nothing") in tests
    assert len(tests) == 4 + 6
    assert (compared.out / "report.html").is_file()


def command(*given: object) -> Any:
    return CliRunner().invoke(main, ["compare", *map(str, given)])


def test_a_dry_run_shows_runs_and_differences(tmp_path: Path) -> None:
    path = write(tmp_path)
    shown = command(
        path, "--arms", "stm,kl", "--seeds", "3,5", "--dry-run", "--out", tmp_path / "o"
    )
    assert shown.exit_code == 0, shown.output
    assert "sft@lr=x0.1: plain fine-tuning on the golds, with lr=x0.1\n" in shown.output
    assert "    learning_rate: 0.01 -> 0.001\n" in shown.output
    assert "11 runs: the base once, 5 arms with seeds 3, 5." in shown.output
    assert not (tmp_path / "o").exists()


@pytest.mark.parametrize(
    ("arms", "changes", "words"),
    [
        ("stmm", {}, "Did you mean 'stm'"),
        ("eaft", {}, "EAFT is not in the host trl"),
        ("sft_matched", {}, "goes by 'stm': add that to --arms"),
        ("stm@ppx.mask.ppl_threshold=0.5", {}, "must be above 1"),
        ("sft@lerning_rate=1", {}, "lerning_rate: TRL does not know this key"),
        ("sft", {"ppx": {"seed": 1}}, "no `eval:` stage"),
        ("sft", {"ppx": None}, "no `ppx:` block"),
    ],
)
def test_what_is_wrong_is_told_first(
    tmp_path: Path, arms: str, changes: dict[str, Any], words: str
) -> None:
    shown = command(write(tmp_path, **changes), "--arms", arms, "--out", tmp_path / "o")
    assert shown.exit_code == 1
    assert words in shown.output
    assert not (tmp_path / "o").exists()


def test_a_target_is_needed(tmp_path: Path) -> None:
    path = write(tmp_path)
    text = path.read_text().replace("target: true", "target: false")
    path.write_text(text)
    shown = command(path, "--arms", "sft")
    assert shown.exit_code == 1
    assert "no task of the recipe's `eval:` is marked as the target" in shown.output


def test_it_is_not_started_by_a_launcher(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    shown = command(write(tmp_path), "--arms", "sft", "--out", tmp_path / "o")
    assert shown.exit_code == 1
    assert "Start `ppx compare` itself" in shown.output


def test_arms_come_from_a_file_too(tmp_path: Path) -> None:
    arms = tmp_path / "arms.yaml"
    arms.write_text("sft: sft\nmild: {from: stm, says: mild, ppx: {mask: {ppl_threshold: 9}}}\n")
    given = ("--arms", f"{arms},random", "--seeds", "2", "--without-rate-sweep", "--dry-run")
    shown = command(write(tmp_path), *given)
    assert "mild: mild\n    ppx.mask.use: 'stm'\n    ppx.mask.ppl_threshold: 9" in shown.output
    assert "7 runs: the base once, 3 arms with seeds 0, 1." in shown.output
    arms.write_text("[1]")
    assert "must map names of arms" in command(write(tmp_path), "--arms", arms).output


def test_one_that_stops_it_is_told_what_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopped(wanted: run.Wanted) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr(run, "compare", stopped)
    result = command(write(tmp_path), "--arms", "sft,stm", "--out", tmp_path / "out")
    assert result.exit_code == 1
    assert f"Runs that are done are kept in {tmp_path / 'out'}" in result.output
