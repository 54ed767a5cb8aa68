"""The recipes on the embedded model, as their head says to run them: data, prepare, train."""

from __future__ import annotations

import functools
import json
import os
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ppx_ext import recipes
from ppx_ext.prepared import load_prepared

PPX = Path(sysconfig.get_path("scripts")) / "ppx"
HOSTS = ["trl", pytest.param("axolotl", marks=pytest.mark.axolotl)]
ROWS = 24

pytestmark = pytest.mark.slow


def run(folder: Path, *command: object) -> str:
    done = subprocess.run(
        [str(part) for part in command],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=400,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The recipes with their data, cut to a few rows, and their model."""
    made = tmp_path_factory.mktemp("embedded")
    shutil.copy(recipes.find("data/story.py"), made)
    run(made, sys.executable, "story.py", "data/story")
    for split in ("train", "validation", "others"):
        path = made / "data" / "story" / f"{split}.jsonl"
        lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
        path.write_text("".join(lines[:ROWS]), encoding="utf-8")
    for host in recipes.HOSTS:
        recipes.copy(f"stm/embedded/story.{host}", made)
        recipes.copy(f"s3ft/embedded/story.{host}", made / f"s3ft.{host}.yaml")
        path = recipes.copy(f"difficulty/embedded/story.{host}", made / f"budget.{host}.yaml")
        fewer = path.read_text(encoding="utf-8").replace("max_examples: 150", "max_examples: 8")
        path.write_text(fewer, encoding="utf-8")
    return made


@pytest.mark.parametrize("host", HOSTS)
def test_doctor_finds_everything(folder: Path, host: str) -> None:
    found = json.loads(run(folder, PPX, "doctor", f"story.{host}.yaml", "--json"))
    levels = {finding["where"]: finding["level"] for finding in found["findings"]}
    assert found["active"]
    assert {where for where, level in levels.items() if level != "ok"} <= {"device"}


@pytest.mark.parametrize("host", HOSTS)
def test_it_is_trained_with_its_mask(folder: Path, host: str) -> None:
    out = folder / f"trained-{host}"
    run(folder, PPX, "train", f"story.{host}.yaml", "--out", out)
    assert (out / "adapter_model.safetensors").is_file()
    state = json.loads((out / "ppx_state.json").read_text(encoding="utf-8"))
    assert state["plan"]["mask"]["use"] == "stm"
    assert state["versions"][host]
    measured = json.loads((out / "ppx_eval.json").read_text(encoding="utf-8"))["evaluations"]
    assert [one["when"] for one in measured] == ["before", "after"]
    for one in measured:
        assert [(s["task"], s["target"]) for s in one["scores"]] == [
            ("story", True),
            ("others", False),
        ]


@pytest.mark.axolotl
def test_both_hosts_mask_the_same_tokens(folder: Path) -> None:
    labels = {}
    for host in recipes.HOSTS:
        run(folder, PPX, "prepare", f"story.{host}.yaml", "--out", f"prepared-{host}")
        prepared = load_prepared(folder / f"prepared-{host}").dataset
        rows = zip(prepared["input_ids"], prepared["labels"], strict=True)
        labels[host] = sorted(rows)
    assert len(labels["trl"]) == ROWS
    assert labels["trl"] == labels["axolotl"]
    assert any(label != -100 for _, row in labels["trl"] for label in row)


@pytest.mark.parametrize("host", HOSTS)
def test_own_answers_are_built_and_trained_on_whole(folder: Path, host: str) -> None:
    out = folder / f"s3ft-{host}"
    run(folder, PPX, "train", f"s3ft.{host}.yaml", "--out", out)
    state = json.loads((out / "ppx_state.json").read_text(encoding="utf-8"))
    records = {record["stage"]: record["numbers"] for record in state["records"]}
    whose = records["build"]["composition"]
    assert sum(whose.values()) == ROWS
    assert whose["own"] > 0
    assert whose["gold"] > 0
    assert records["mask"]["rows_left_alone"] == ROWS - whose["gold"]
    assert 0 < records["mask"]["masked"] < records["mask"]["targets"]


@pytest.fixture(scope="module")
def chosen(folder: Path) -> Callable[[str], dict[str, Any]]:
    """What a host chose, trained and reported: the numbers of the record."""

    @functools.cache
    def numbers(host: str) -> dict[str, Any]:
        out = folder / f"budget-{host}"
        run(folder, PPX, "train", f"budget.{host}.yaml", "--out", out)
        run(folder, PPX, "report", out)
        report = json.loads((out / "report.json").read_text(encoding="utf-8"))
        (stage,) = report["choosing"]
        found: dict[str, Any] = stage["numbers"]
        return found

    return numbers


@pytest.mark.parametrize("host", HOSTS)
def test_a_budget_is_met(chosen: Callable[[str], dict[str, Any]], host: str) -> None:
    found = chosen(host)
    assert (found["rows"], found["rows_chosen"]) == (ROWS, 8)
    assert found["prior"]
    low, high = found["window"]["scores"]
    assert low <= found["score"]["chosen"]["0"] <= found["score"]["chosen"]["100"] <= high


@pytest.mark.axolotl
def test_both_hosts_choose_alike(chosen: Callable[[str], dict[str, Any]]) -> None:
    assert chosen("trl") == chosen("axolotl")


def test_a_build_alone_is_the_one_that_is_trained_on(folder: Path) -> None:
    said = run(folder, PPX, "build", "s3ft.trl.yaml", "--out", "built")
    (card,) = (folder / "built").rglob("README.md")
    assert "own" in said
    assert "arXiv 2502.08130" in card.read_text(encoding="utf-8")
