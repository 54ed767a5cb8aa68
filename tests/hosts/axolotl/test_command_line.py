"""The user's own commands: `axolotl preprocess`, `axolotl train`, two processes, `axolotl ppx`."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from ppx_ext import catalog
from ppx_ext.evaluating import measure
from ppx_ext.plan import parse
from ppx_ext.records import load_scores
from ppx_ext.suites import Subject
from tests.conftest import ROOT
from tests.hosts import measured
from tests.hosts.axolotl.conftest import Oracle, command_line, documents

pytestmark = [pytest.mark.axolotl, pytest.mark.slow]

Config = Callable[..., Path]
Oracles = Callable[[str], Oracle]


def files_of(folder: Path) -> dict[str, int]:
    return {str(path): path.stat().st_mtime_ns for path in folder.rglob("*.arrow")}


def check(oracle: Oracle, line: float, entries: list[dict[str, Any]]) -> int:
    found = [pair for entry in entries for pair in documents(entry)]
    assert all(labels == oracle.labels(ids, line) for ids, labels in found)
    return len(found)


def test_preprocess_then_train_scores_once(
    config: Config, oracles: Oracles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    oracle = oracles("llama")
    line = oracle.threshold()
    prepared = tmp_path / "prepared"
    path = config(
        ppx={"mask": {"use": "stm", "ppl_threshold": line}},
        dataset_prepared_path=str(prepared),
        max_steps=2,
    )
    first = command_line("axolotl", "preprocess", str(path), "--debug", cwd=tmp_path)
    assert first.returncode == 0, first.stdout + first.stderr
    assert "target tokens masked" in first.stdout + first.stderr
    scores = files_of(prepared / "ppx" / "scores")
    assert scores
    from ppx_ext.hosts.axolotl import train

    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("PPX_SPY", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    train(path, out=tmp_path / "there")
    assert files_of(prepared / "ppx" / "scores") == scores
    seen = json.loads((tmp_path / "spy-0.json").read_text())
    assert check(oracle, line, seen) == 8
    state = json.loads((tmp_path / "there" / "ppx_state.json").read_text())
    assert state["plan"]["mask"]["ppl_threshold"] == line
    assert (tmp_path / "there" / "recipe.axolotl.yaml").is_file()
    assert (tmp_path / "there" / "adapter_model.safetensors").is_file()


def test_two_processes_share_the_scoring_and_both_are_masked(
    config: Config, oracles: Oracles, world: SimpleNamespace, tmp_path: Path
) -> None:
    oracle = oracles("llama")
    line = oracle.threshold()
    path = config(
        ppx={
            "mask": {"use": "stm", "ppl_threshold": line},
            "shard_rows": 4,
            "eval": measured.block(tmp_path / "tasks", harness=False, every=1),
        },
        dataset_prepared_path=str(tmp_path / "prepared"),
        sample_packing=True,
        gradient_accumulation_steps=1,
        max_steps=2,
        ddp_backend="gloo",
    )
    launch = ["--launcher", "torchrun", "--", "--nproc_per_node=2", "--standalone"]
    found = command_line(
        "axolotl", "train", str(path), *launch,
        cwd=tmp_path, ACCELERATE_USE_CPU="true", PPX_SPY=str(tmp_path),
    )  # fmt: skip
    assert found.returncode == 0, (found.stdout + found.stderr)[-6000:]
    ranks = [json.loads((tmp_path / f"spy-{rank}.json").read_text()) for rank in (0, 1)]
    assert all(check(oracle, line, seen) for seen in ranks)
    assert ranks[0][0]["input_ids"] != ranks[1][0]["input_ids"]
    check_evaluation(world, tmp_path)


def check_evaluation(world: SimpleNamespace, folder: Path) -> None:
    """What two processes measured together before training is what one measures."""
    from transformers import AutoModelForCausalLM

    plan = parse({"eval": measured.block(folder / "tasks", harness=False)}, catalog.load()).eval
    assert plan is not None
    base = AutoModelForCausalLM.from_pretrained(world.root / "llama", attn_implementation="eager")
    alone = measure(plan, Subject(model=base.eval(), tokenizer=world.tokenizer))
    assert measured.times(folder / "out") == [("before", 0), ("during", 1), ("after", 2)]
    assert load_scores(measured.read(folder / "out")["evaluations"][0]) == alone
    said = [str(text) for score in alone for text in score.items["response"]]
    assert measured.responses(folder / "out")[0] == said


def test_our_commands_under_axolotl(tmp_path: Path) -> None:
    found = command_line("axolotl", "ppx", "methods", cwd=tmp_path)
    assert found.returncode == 0, found.stderr
    assert "stm" in found.stdout


def test_json_is_alone_on_stdout(config: Config, tmp_path: Path) -> None:
    path = config(
        ppx={"choose": {"use": "budget", "max_examples": 4}},
        dataset_prepared_path=str(tmp_path / "prepared"),
    )
    found = command_line("ppx", "measure", str(path), "--json", cwd=tmp_path)
    assert found.returncode == 0, found.stderr[-6000:]
    assert json.loads(found.stdout)["measures"][0]["measure"] == "response_length"
