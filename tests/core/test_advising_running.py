"""Pilots by real TRL, each in a process of its own: values, resumption, failures, a kill."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from ppx_ext import catalog, recipes
from ppx_ext.advising import grid, running
from ppx_ext.advising.grid import Grid, Job
from ppx_ext.advising.outcome import Outcome
from ppx_ext.advising.running import Wanted
from ppx_ext.cli import main
from ppx_ext.plan import PlanError
from tests.models import tiny_model, tiny_tokenizer

GRID = Grid(budgets=(6,), bands=2, seeds=1)
NAMES = [job.name for job in GRID.jobs()]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("base")
    tiny_model("llama").save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)
    return folder


def rows(count: int, *, even: bool = False) -> list[dict[str, str]]:
    """Responses of one to nine words, or all of three."""
    return [
        {"prompt": f"Add {at}.", "completion": " ".join(["value"] * (3 if even else 1 + at % 9))}
        for at in range(count)
    ]


def lines(path: Path, found: list[dict[str, str]]) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in found))


def recipe_in(folder: Path, model: Path, *, even: bool = False, **changes: Any) -> recipes.Recipe:
    lines(folder / "data" / "train.jsonl", rows(24, even=even))
    lines(folder / "data" / "test.jsonl", rows(6))
    settings = {
        "model_name_or_path": str(model),
        "dtype": "float32",
        "ppx": {"seed": 7},
        "dataset_name": str(folder / "data"),
        "output_dir": str(folder / "never"),
        "use_cpu": True,
        "bf16": False,
        "report_to": "none",
        "num_train_epochs": 1,
        "per_device_train_batch_size": 3,
        "disable_tqdm": True,
        "gradient_checkpointing": False,
        "push_to_hub": True,
        **changes,
    }
    path = folder / "recipe.trl.yaml"
    path.write_text(yaml.safe_dump(settings))
    return recipes.load(path)


# ------------------------------------------------------------------------ the recipe of a pilot


def test_only_choice_and_seed_differ(model: Path, tmp_path: Path) -> None:
    recipe = recipe_in(tmp_path, model)
    job = Job(examples=6, low=0.5, high=1.0, seed=3)
    found = grid.settings_of(recipe, job, "nll", metric="accuracy", out=tmp_path / "out")
    block = found["ppx"]
    assert block["choose"] == {
        "use": "budget", "by": "nll", "window": [0.5, 1.0], "max_examples": 6
    }  # fmt: skip
    assert (found["seed"], block["seed"]) == (3, 3)
    assert found["push_to_hub"] is False
    changed = {"ppx", "seed", "push_to_hub"}
    assert {key: found[key] for key in found if key not in changed} == {
        key: value for key, value in recipe.settings.items() if key not in changed
    }
    assert recipe.block == {"seed": 7}  # the user's own is as it was


def test_the_grid() -> None:
    jobs = list(Grid(budgets=(20, 10), bands=4, seeds=2, everything=True).jobs())
    assert len({job.name for job in jobs}) == len(jobs) == 2 * (2 * 5 + 1)
    assert [job.seed for job in jobs] == [0] * 11 + [1] * 11
    assert {(job.low, job.high) for job in jobs if job.examples == 10} == {
        (0.0, 0.25), (0.25, 0.5), (0.5, 0.75), (0.75, 1.0), (0.0, 1.0)
    }  # fmt: skip
    assert "max_examples" not in jobs[10].choose("nll")


def test_the_fingerprint_sees_the_data(model: Path, tmp_path: Path) -> None:
    settings = dict(recipe_in(tmp_path, model).settings)
    one = grid.fingerprint_of(settings)
    assert grid.fingerprint_of(settings) == one
    assert grid.fingerprint_of({**settings, "output_dir": "elsewhere"}) != one
    lines(tmp_path / "data" / "train.jsonl", rows(25))
    assert grid.fingerprint_of(settings) != one


@pytest.mark.parametrize(
    ("block", "metric", "said"),
    [
        (None, None, "no `ppx:` block that is a mapping"),
        ({"mask": {"use": "smt"}}, None, "Did you mean 'stm'"),
        ({}, "accuracy", "ppx.eval: is not there"),
    ],
)
def test_mistakes_are_told_before_any_training(
    block: Any, metric: Any, said: str, model: Path, tmp_path: Path
) -> None:
    recipe = dataclasses.replace(recipe_in(tmp_path, model), block=block)
    wanted = Wanted(recipe=recipe, grid=GRID, out=tmp_path / "out", metric=metric)
    with pytest.raises(PlanError, match=said):
        running.run(wanted, catalog.load())
    assert not (tmp_path / "out").exists()


def test_what_a_band_falls_short_of_is_one_run() -> None:
    """Budgets of 24 and 30 from a band of 20 rows train on the same 20; so does all of 60."""
    shared = {"low": 0.0, "seed": 0, "base": 0.25, "rows": 60}
    made = [
        Outcome(examples=examples, high=high, value=value, **shared)
        for examples, high, value in 2 * [(20, 0.5, 0.5)] + 2 * [(60, 1.0, 0.75)]
    ]  # fmt: skip
    found = running._results(made, "accuracy")
    assert [(one.examples, one.value, one.kind) for one in found.pilots] == [
        (20, 0.5, "band"), (60, 0.75, "all"), (0, 0.25, "base")
    ]  # fmt: skip


def test_fixed_steps_are_told(model: Path, tmp_path: Path) -> None:
    for steps, told in ((0, 0), (-1, 0), (5, 1)):
        recipe = recipe_in(tmp_path, model, max_steps=steps)
        wanted = Wanted(recipe=recipe, grid=GRID, out=tmp_path)
        assert len(running._steps_note(wanted)) == told


# --------------------------------------------------------------------------------- real pilots

SCRIPT = """
import sys
from pathlib import Path
from ppx_ext import catalog, recipes
from ppx_ext.advising.grid import Grid
from ppx_ext.advising.running import Wanted, run
recipe, out = recipes.load(sys.argv[1]), Path(sys.argv[2])
run(Wanted(recipe=recipe, grid=Grid(budgets=(6,), bands=2, seeds=1), out=out), catalog.load())
"""


def alive(name: str) -> list[str]:
    """Command lines of processes that hold ``name``."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                line = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            except OSError:
                continue
            found += [line] if name in line else []
    return found


@pytest.mark.slow
def test_killed_and_resumed(model: Path, tmp_path: Path) -> None:
    """The loss of an evaluation split; a kill costs the pilot that ran, and no other."""
    recipe, out = recipe_in(tmp_path, model), tmp_path / "out"
    first, second = (out / "pilots" / f"{name}.json" for name in NAMES[:2])
    process = subprocess.Popen([sys.executable, "-c", SCRIPT, str(recipe.path), str(out)])
    while not (first.is_file() and first.with_name(f"{NAMES[1]}.log").is_file()):
        assert process.poll() is None, "it ended by itself"
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 128 + signal.SIGTERM
    assert not second.is_file()
    assert alive(str(out)) == []
    before = first.stat().st_mtime_ns

    found = running.run(Wanted(recipe=recipe, grid=GRID, out=out), catalog.load())
    assert first.stat().st_mtime_ns == before
    assert found.rows == 24
    assert found.failed == ()
    assert (found.results.metric, found.results.lower_is_better) == ("eval loss", True)
    *pilots, base = found.results.pilots
    assert [one.kind for one in pilots] == ["band", "band", "random"]
    assert all(one.examples == 6 and one.value < base.value for one in pilots)
    assert len({one.value for one in pilots}) == 3
    assert base.kind == "base"
    # Weights are gone; one folder keeps the measures of all pilots.
    assert not list(out.glob("pilots/*.run-*"))
    assert not list(out.rglob("*.safetensors"))
    assert len(list((out / "scores").iterdir())) > 0
    # All are finished now, so that nothing runs.
    times = {path: path.stat().st_mtime_ns for path in out.glob("pilots/*.json")}
    again = running.run(Wanted(recipe=recipe, grid=GRID, out=out), catalog.load())
    assert again == found
    assert {path: path.stat().st_mtime_ns for path in out.glob("pilots/*.json")} == times


@pytest.mark.slow
def test_one_that_fails_is_told_and_the_others_go_on(model: Path, tmp_path: Path) -> None:
    """Rows that are all equally hard have no bands; drawn at random they can be trained on."""
    task = tmp_path / "task.jsonl"
    task.write_text("".join(json.dumps({"prompt": "Add 1.", "answer": "1"}) + "\n" for _ in "ab"))
    suite = {"use": "tasks", "max_new_tokens": 2}
    tasks = {"adding": {"path": str(task), "target": True}}
    recipe = recipe_in(
        tmp_path, model, even=True, ppx={"eval": {**suite, "tasks": tasks}}, save_strategy="no"
    )
    wanted = Wanted(recipe=recipe, grid=GRID, out=tmp_path / "out", max_failures=2)
    found = running.run(wanted, catalog.load())
    assert [name.split()[0] for name in found.failed] == NAMES[:2]
    assert all("has nothing to order by" in line for line in found.failed)
    assert [(one.kind, one.examples) for one in found.results.pilots] == [
        ("random", 6), ("base", 0)
    ]  # fmt: skip
    assert found.results.metric == "accuracy"
    command = ["budget", str(recipe.path), "--examples", "12", "--out", str(tmp_path / "two")]
    told = CliRunner().invoke(main, [*command, "--grid", "4,8", "--max-failures", "0"])
    assert told.exit_code == 1
    assert "1 pilots failed (--max-failures 0)" in told.output
    assert "see" in told.output


def test_a_signal_while_a_pilot_is_started_ends_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    children: list[subprocess.Popen[bytes]] = []

    class Interrupted(subprocess.Popen[bytes]):
        def __init__(self, *args: Any, **settings: Any) -> None:
            super().__init__(*args, **settings)
            children.append(self)
            signal.raise_signal(signal.SIGTERM)

    monkeypatch.setattr(subprocess, "Popen", Interrupted)
    with pytest.raises(SystemExit), running._ended_by_term():
        running._call([sys.executable, "-c", "import time; time.sleep(60)"], tmp_path / "log")
    assert [child.wait(10) for child in children] == [-signal.SIGTERM]
