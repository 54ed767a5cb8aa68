"""A tiny study, end to end: real TRL, killed half-way, resumed; and what each arm's loss is."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner

from ppx_ext.cli import main
from ppx_ext.difficulty_study.jobs import training_rows
from ppx_ext.difficulty_study.model import new_model, train_tokenizer
from ppx_ext.difficulty_study.protocol import DFT, SFT, SIZES, STM
from ppx_ext.difficulty_study.training import setting_of, trainer_of

TINY = SIZES["tiny"]
KILL_AFTER = 4
ARGUMENTS = ("study", "difficulty", "--size", "tiny", "--seeds", "1", "--workers", "1")


def ppx(*arguments: object) -> tuple[int, str]:
    result = CliRunner().invoke(main, list(map(str, arguments)))
    return result.exit_code, result.output


def finished(out: Path) -> list[Path]:
    return sorted((out / "runs").glob("*.json"))


@pytest.fixture(scope="module")
def resumed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str], str]:
    """A study killed without warning and gone on with; names of what was done before; output."""
    out = tmp_path_factory.mktemp("study") / "out"
    process = subprocess.Popen(
        [sys.executable, "-m", "ppx_ext", *ARGUMENTS, str(out)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        env={**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"},
    )
    limit = time.monotonic() + 240
    while len(finished(out)) < KILL_AFTER and process.poll() is None:
        assert time.monotonic() < limit
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    before = [path.name for path in finished(out)]
    assert not (out / "results.json").exists()
    assert KILL_AFTER <= len(before) < 26
    code, output = ppx(*ARGUMENTS, out)
    assert code == 0, output
    return out, before, output


def test_a_killed_study_goes_on_to_the_same_bytes(
    resumed: tuple[Path, list[str], str], tmp_path: Path
) -> None:
    out, before, _ = resumed
    again = tmp_path / "again"
    shutil.copytree(out, again)
    for name in ("results.json", "report.json", "report.html"):
        (again / name).unlink()
    for name in before:  # done by the process that was killed; now by a third one, bases too
        (again / "runs" / name).unlink()
    code, output = ppx(*ARGUMENTS, again)
    assert code == 0, output
    for name in ("results.json", "report.json", "report.html"):
        assert (again / name).read_bytes() == (out / name).read_bytes()


def test_every_cell_is_measured(resumed: tuple[Path, list[str], str]) -> None:
    out, _, output = resumed
    found = json.loads((out / "results.json").read_text())
    assert set(found["bases"]) == {"weak", "strong"}
    assert len(found["runs"]) == len(list(TINY.cells(1))) == 24
    for run in found["runs"]:
        assert set(run["slices"]) == {"1", "2", "3"}
        losses = [nll for slice_ in run["slices"].values() for nll in slice_["nll"]]
        assert len(losses) == 3 * TINY.test_items
        assert run["losses"]["test"] == pytest.approx(sum(losses) / len(losses))
        assert run["update_norm"] > 0
    by_arm = {
        arm: [run["update_norm"] for run in found["runs"] if run["arm"] == arm]
        for arm in (SFT, DFT, STM)
    }
    assert not set(by_arm[SFT]) & set(by_arm[DFT])
    assert not set(by_arm[SFT]) & set(by_arm[STM])
    report = json.loads((out / "report.json").read_text())
    assert [one["number"] for one in report["observations"]] == list(range(1, 12))
    assert report["seeds"] == 1
    assert "not significant" in output
    assert not (out / "scratch").exists()


def test_another_protocol_in_the_folder_is_refused(resumed: tuple[Path, list[str], str]) -> None:
    out, _, _ = resumed
    code, output = ppx("study", "difficulty", "--size", "small", out)
    assert code != 0
    assert "another protocol" in output


@pytest.mark.parametrize(
    ("arguments", "told"),
    [(("--size", "huge"), "tiny, small, large"), (("--seeds", 0), "at least 1, not 0")],
)
def test_the_command_says_what_is_wrong(
    tmp_path: Path, arguments: tuple[object, ...], told: str
) -> None:
    code, output = ppx("study", "difficulty", *arguments, tmp_path / "out")
    assert code != 0
    assert told in output
    assert not (tmp_path / "out").exists()


def gradient(model: Any) -> torch.Tensor:
    return torch.cat([weight.grad.flatten() for weight in model.parameters()])


def by_hand(model: Any, batch: dict[str, Any], arm: str) -> tuple[float, torch.Tensor]:
    """Loss and gradient: mean over targets of -log p, or of -sg(p) log p (arXiv 2508.05629)."""
    model.zero_grad()
    logits = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits
    labels = batch["labels"][:, 1:]
    wanted = labels != -100
    chosen = logits[:, :-1].log_softmax(-1).gather(-1, labels.clamp(min=0)[..., None])[..., 0]
    weight = chosen.exp().detach() if arm == DFT else torch.ones_like(chosen)
    loss = -(weight * chosen)[wanted].mean()
    loss.backward()
    return loss.item(), gradient(model)


@pytest.mark.parametrize("arm", [SFT, DFT])
def test_the_loss_of_an_arm_is_its_equation(arm: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    tokenizer = train_tokenizer(TINY)
    rows = training_rows(TINY, "hard", 4, 0)
    setting = setting_of(TINY, arm, 0, tmp_path)
    trainer = trainer_of(new_model(TINY, tokenizer), tokenizer, rows, setting, tmp_path)
    batch = next(iter(trainer.get_train_dataloader()))
    batch = {name: value.cpu() for name, value in batch.items()}
    trainer.model.cpu().train()
    count = (batch["labels"][:, 1:] != -100).sum()
    loss = trainer.compute_loss(trainer.model, dict(batch), num_items_in_batch=count)
    loss.backward()
    found = gradient(trainer.model).clone()
    expected, slope = by_hand(trainer.model, batch, arm)
    assert loss.item() == pytest.approx(expected, rel=1e-5)
    torch.testing.assert_close(found, slope, rtol=1e-4, atol=1e-7)
