"""`ppx build`: a recipe's data in the words of a real (small) model, and what it shows."""

from __future__ import annotations

import json
from importlib.resources import files
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import yaml
from click.testing import CliRunner, Result

from ppx_ext.building import card
from ppx_ext.cli import main

ROWS = [{"question": f"What is {at} plus 1?", "answer": f"{at} + 1 = {at + 1}"} for at in range(5)]


def ppx(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A recipe that builds, its data, and the model that ships with us."""
    made = tmp_path_factory.mktemp("build")
    (made / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    build = {"use": "s3ft", "judge": "exact", "max_new_tokens": 12, "keep_cut_off": True}
    recipe = {
        "model_name_or_path": str(files("ppx_ext") / "demo" / "base"),
        "dtype": "float32",
        "dataset_name": str(made / "rows.jsonl"),
        "output_dir": str(made / "run"),
        "max_length": 256,
        "num_train_epochs": 1,
        "report_to": "none",
        "bf16": False,
        "ppx": {"build": build, "mask": {"use": "stm"}, "cache_dir": str(made / "cache")},
    }
    (made / "my.trl.yaml").write_text(yaml.safe_dump(recipe))
    return made


def numbers_of(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_text())["record"]["numbers"]
    return found


@pytest.mark.slow
def test_it_builds_shows_and_says_what_is_next(folder: Path) -> None:
    recipe, out = folder / "my.trl.yaml", folder / "built"
    shown = ppx("build", recipe, "--out", out, "--rows", 3)
    assert shown.exit_code == 0, shown.output
    (path,) = out.rglob("train.parquet")
    rows = pq.read_table(path).to_pylist()
    assert [row["ppx_row"] for row in rows] == [0, 1, 2]
    assert [row["question"] for row in rows] == [row["question"] for row in ROWS[:3]]
    numbers = numbers_of(path.parent / "build.json")
    assert sum(numbers["composition"].values()) == 3
    assert numbers["requests"] == 6 - numbers["composition"]["own"]
    for word in ("GSM8K", "49.5%", "own answer", f"Wrote {path}", f"--data {path}"):
        assert word in shown.stdout
    command = f"ppx build {recipe} --out {out} --rows 3"
    assert command in (path.parent / card.CARD).read_text()
    again = ppx("build", recipe, "--out", out, "--rows", 3)
    assert again.exit_code == 0
    assert shown.stdout.endswith(again.stdout)


@pytest.mark.slow
def test_what_it_builds_is_what_training_finds(folder: Path) -> None:
    recipe = folder / "my.trl.yaml"
    shown = ppx("build", recipe)
    assert shown.exit_code == 0, shown.output
    assert shown.stdout.splitlines()[-1] == f"Train on it: ppx train {recipe}"
    (built,) = (folder / "cache").rglob("train.parquet")
    before = built.stat().st_mtime_ns
    from ppx_ext.hosts import trl

    assert len(trl.tokenized(recipe).dataset) == len(ROWS)
    assert len(trl.tokenized(recipe, data=str(built)).dataset) == len(ROWS)
    assert [path.stat().st_mtime_ns for path in (folder / "cache").rglob("*.parquet")] == [before]


def test_what_cannot_be_is_said(folder: Path, tmp_path: Path) -> None:
    recipe = folder / "my.trl.yaml"
    shown = ppx("build", recipe, "--private")
    assert (shown.exit_code, "give --push-to-hub too" in shown.output) == (2, True)
    plain = yaml.safe_load(recipe.read_text())
    del plain["ppx"]["build"]
    (tmp_path / "plain.trl.yaml").write_text(yaml.safe_dump(plain))
    shown = ppx("build", tmp_path / "plain.trl.yaml")
    assert shown.exit_code == 1
    assert "ppx.build: is not there" in shown.output
