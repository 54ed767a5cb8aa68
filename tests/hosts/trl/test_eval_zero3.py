"""ZeRO-3 for real: DeepSpeed itself trains over gloo, its weights are measured apart."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from ppx_ext.hosts import trl
from tests.conftest import ROOT
from tests.hosts import measured, zero3
from tests.hosts.trl.lab import Lab
from tests.hosts.trl.test_eval_processes import check
from tests.hosts.trl.test_recipe import PEFT, write

pytestmark = [pytest.mark.slow, zero3.needs_deepspeed]
WORKER = "tests.hosts.trl.zero3_worker"
STEPS: dict[str, Any] = {"max_steps": 2, "learning_rate": 0.05}


@pytest.fixture(scope="module")
def lab() -> Lab:
    return Lab()


@pytest.fixture(scope="module")
def base(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return lab.saved(tmp_path_factory.mktemp("base"))


def recipe(folder: Path, lab: Lab, base: Path, *, keys: dict[str, Any], **changes: Any) -> Path:
    """Masked by scores that the training itself must make; each process has two rows a step."""
    stage = measured.block(folder / "tasks", harness=False, **keys)
    settings: dict[str, Any] = {
        "ppx": {**lab.block(folder), "eval": stage},
        "deepspeed": zero3.settings(),
        "use_cpu": False,  # with it, `accelerate` starts no DeepSpeed
        "per_device_train_batch_size": 2,
        **STEPS,
    }
    return write(folder, lab, base, **{**settings, **changes})


def losses(folder: Path) -> list[float]:
    rows = json.loads((folder / "trainer_state.json").read_text())["log_history"]
    return [row["loss"] for row in rows if "loss" in row]


def test_all_weights(lab: Lab, base: Path, tmp_path: Path) -> None:
    """Scores are those of one process with the gathered weights, losses those without DeepSpeed."""
    said = zero3.launch(WORKER, "train", recipe(tmp_path, lab, base, keys={"every": 1}))
    out = tmp_path / "out"
    assert measured.times(out) == [("before", 0), ("during", 1), ("after", 2)]
    trained = AutoModelForCausalLM.from_pretrained(out)
    check(tmp_path / "tasks", out, lab, trained, harness=False)
    assert "% of the loss kept" in said
    assert not (out / "ppx_apart").exists()
    alone = tmp_path / "alone"
    alone.mkdir()
    trl.train(write(alone, lab, base, max_grad_norm=1.0, per_device_train_batch_size=4, **STEPS))
    assert losses(out) == pytest.approx(losses(alone / "out"), rel=1e-4)
    one, other = (load_file(folder / "model.safetensors") for folder in (out, alone / "out"))
    assert one.keys() == other.keys()
    for name, value in one.items():
        torch.testing.assert_close(value, other[name], rtol=1e-3, atol=1e-4, msg=name)


def test_an_adapter(lab: Lab, base: Path, tmp_path: Path) -> None:
    zero3.launch(WORKER, "train", recipe(tmp_path, lab, base, keys={}, **PEFT))
    out = tmp_path / "out"
    assert measured.times(out) == [("before", 0), ("after", 2)]
    trained = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), out)
    check(tmp_path / "tasks", out, lab, trained, harness=False)


def test_as_the_shipped_recipe_says(lab: Lab, base: Path, tmp_path: Path) -> None:
    """Scored beforehand by one process, then `accelerate launch` with our file; in bfloat16."""
    stage = measured.block(tmp_path / "tasks", harness=False)
    block = {**lab.block(tmp_path), "cache_dir": str(tmp_path / "scored" / "scores"), "eval": stage}
    half = {"dtype": "bfloat16", "bf16": True, "deepspeed": None}
    path = recipe(tmp_path, lab, base, keys={}, ppx=block, **half)
    out, scored = tmp_path / "out", tmp_path / "scored"
    zero3.run("ppx_ext", "prepare", str(path), "--out", str(scored))
    before = {file: file.stat().st_mtime_ns for file in scored.rglob("*") if file.is_file()}
    settings = ROOT / "recipes" / "accelerate" / "zero3.yaml"
    start = ["accelerate.commands.launch", "--config_file", str(settings), "--num_processes", "2"]
    zero3.run(*start, "-m", WORKER, "train", str(path))
    shards = [file for file in before if file.suffix != ".lock"]
    assert len(shards) > 3
    assert all(file.stat().st_mtime_ns == before[file] for file in shards), "scored again"
    assert measured.times(out) == [("before", 0), ("after", 2)]
    begun, trained = (
        AutoModelForCausalLM.from_pretrained(one, dtype="bfloat16").eval() for one in (base, out)
    )
    check(tmp_path / "tasks", out, lab, trained, base=begun, harness=False)


def test_what_cannot_be_is_refused(lab: Lab, base: Path, tmp_path: Path) -> None:
    keys = {"every": 1, "where": "here", "keep": "best",
            "gate": {"max_drop": 1, "on_breach": "restore_best"}}  # fmt: skip
    bare = zero3.settings(stage3_gather_16bit_weights_on_model_save=False)
    with pytest.raises(RuntimeError) as refused:
        zero3.launch(
            WORKER, "train", recipe(tmp_path, lab, base, keys=keys, deepspeed=bare), processes=1
        )
    said = str(refused.value)
    for problem in (
        "ppx.eval.where: here, but ZeRO-3 leaves no process the whole model",
        "ppx.eval.keep: best puts weights back",
        "ppx.eval.gate.on_breach: restore_best puts weights back",
        "Set `stage3_gather_16bit_weights_on_model_save: true`",
    ):
        assert problem in said
