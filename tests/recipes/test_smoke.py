"""Smoke runs: what is swapped, what is told, and that none is left out of `test_smoke_*.py`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from ppx_ext import catalog, plan, recipes
from ppx_ext.cli import main
from ppx_ext.proving import items, published, smoke, stand_ins, swaps
from tests.recipes import smoking

FILES = [file for _, file in recipes.shipped()]
NAME = "stm/gemma-2-2b-it/mbpp"


def test_every_model_is_in_both_hosts() -> None:
    keys = {"trl": "model_name_or_path", "axolotl": "base_model"}
    named: dict[str, set[Any]] = {host: set() for host in keys}
    for file in FILES:
        loaded = recipes.load(file)
        named[loaded.host].add(loaded.settings[keys[loaded.host]])
    assert named["trl"] == named["axolotl"]
    assert len(smoking.one_of_each_model()) == len(named["axolotl"])
    assert named["trl"] - {"base"} <= set(published.models())


@pytest.mark.axolotl
def test_every_recipe_is_run_by_one_of_these_files() -> None:
    run = [
        file for method in smoking.METHODS for _, files in smoking.groups(method) for file in files
    ]
    assert sorted(run) == sorted(file for file in FILES if ".trl." in file.name)
    files = {path.stem.removeprefix("test_smoke_") for path in HERE.glob("test_smoke_*.py")}
    assert files == {*smoking.FILES_OF, "axolotl"}


def test_a_sample_has_every_method_and_every_model() -> None:
    sample = smoking.sample(TRL)
    for part in (-3, -2):
        assert {file.parts[part] for file in sample} == {file.parts[part] for file in TRL}
    assert len(sample) < 25


HERE = Path(__file__).parent


@pytest.fixture
def inside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_what_a_cpu_cannot_is_swapped_and_told(inside: Path) -> None:
    recipe = recipes.load(f"{NAME}.axolotl").settings
    multi = {"deepspeed": "zero3.json", "lora_mlp_kernel": True, "plugins": ["x.Y", *PLUGINS]}
    change = swaps.of_axolotl({**recipe, **multi}, "eager")
    assert change.settings["base_model"] == swaps.MODEL
    assert change.settings["plugins"] == PLUGINS
    assert change.settings["optimizer"] == "adamw_torch"
    assert change.settings["max_steps"] == swaps.STEPS
    assert "deepspeed" not in change.settings
    told = {line.partition(":")[0] for line in change.said}
    assert {"base_model", "bf16", "optimizer", "deepspeed", "plugins", "lora_mlp_kernel"} <= told
    kept = (
        "adapter",
        "lora_r",
        "peft_use_dora",
        "learning_rate",
        "lr_scheduler",
        "seed",
        "datasets",
    )
    assert {key: change.settings[key] for key in kept} == {key: recipe[key] for key in kept}
    assert recipe["base_model"] == "google/gemma-2-2b-it", "the recipe itself is left alone"


PLUGINS = ["ppx_ext.hosts.axolotl.PpxPlugin"]


TRL = [file for file in FILES if ".trl." in file.name]


@pytest.mark.parametrize("file", TRL, ids=lambda file: "/".join(file.parts[-3:]))
def test_a_swapped_block_is_right_and_has_the_same_stages(file: Path, inside: Path) -> None:
    loaded = recipes.load(file)
    before = plan.parse(loaded.block, catalog.load())
    change = swaps.of_trl(loaded.settings, "sdpa")
    after = plan.parse(change.settings["ppx"], catalog.load())
    for name in ("build", "choose", "mask"):
        ours, theirs = getattr(before, name), getattr(after, name)
        assert (ours and ours.component.name) == (theirs and theirs.component.name)
    if before.eval:
        assert after.eval is not None
        assert len(after.eval.suites) == len(before.eval.suites)
        assert after.eval.gate == before.eval.gate


def test_tasks_of_the_harness_keep_their_names(inside: Path) -> None:
    suite, said = items.stand_in({"use": "lm_eval", "sets": ["stm"], "tasks": ["winogrande"]})
    wanted = ["winogrande", *items.SETS["stm"]]
    assert [task["name"] for task in suite["tasks"]] == wanted
    assert all(name in said[0] for name in wanted)
    if suite["use"] == "lm_eval":
        for name in wanted:
            task = yaml.safe_load((inside / items.FOLDER / f"{name}.yaml").read_text())
            assert task["task"] == name
            assert Path(task["dataset_kwargs"]["data_files"]["test"]).is_file()


def test_ready_sets_are_those_of_the_suite() -> None:
    from ppx_ood import harness

    assert dict(items.SETS) == dict(harness.SETS)


@pytest.mark.parametrize("model", published.models())
def test_a_small_model_is_of_the_same_architecture(model: str) -> None:
    about = published.of(model)
    assert about is not None
    made = stand_ins.shape(about)["config"]
    assert made["model_type"] == about.architecture
    assert made["hidden_size"] < about.config["hidden_size"]
    kept = ("tie_word_embeddings", "attn_logit_softcapping", "rope_theta", "hidden_act")
    for key in kept:
        if key in about.config and key in made:
            assert made[key] == about.config[key]


def test_equal_runs_are_run_once_and_named(tmp_path: Path) -> None:
    name = "difficulty/embedded/story.trl"
    text = recipes.find(name).read_text(encoding="utf-8")
    for one in ("a", "b"):
        (tmp_path / f"{one}.trl.yaml").write_text(
            text.replace("max_examples: 150", "max_examples: 9")
        )
    files = [tmp_path / "a.trl.yaml", tmp_path / "b.trl.yaml"]
    first, second = smoke.smoke_all(files, tmp_path / "out", lambda one: None)
    assert first.ok
    assert (second.same_as, second.recipe) == (str(files[0]), str(files[1]))
    assert second.proved == first.proved


def test_a_recipe_that_fails_is_told_and_fails_the_command(tmp_path: Path) -> None:
    settings = dict(recipes.load("difficulty/embedded/story.trl").settings)
    path = tmp_path / "mine.trl.yaml"
    head = "# Mine\n# Data: python story.py data/story\n\n"
    path.write_text(head + yaml.safe_dump({**settings, "model_name_or_path": "nobody/x"}))
    out = tmp_path / "out"
    words = ["recipes", "smoke", str(path), "--out", str(out), "--json"]
    done = CliRunner().invoke(main, words)
    assert done.exit_code == 1
    (told,) = json.loads(done.stdout)
    assert told["ok"] is False
    assert "nobody/x: its configuration and chat template are not known here" in told["error"]
    again = CliRunner().invoke(main, words)
    assert "is there already" in again.output


def test_a_recipe_that_names_no_data_script_is_told(tmp_path: Path) -> None:
    settings = recipes.load(f"{NAME}.trl").settings
    path = tmp_path / "mine.trl.yaml"
    path.write_text(yaml.safe_dump(dict(settings)))
    assert "no rows can be made" in smoke.smoke(path, tmp_path / "out").error
