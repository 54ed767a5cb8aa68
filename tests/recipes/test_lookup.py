"""Finding, reading and copying recipes."""

from __future__ import annotations

from pathlib import Path

import pytest

from ppx_ext import recipes

NAME = "stm/gemma-2-2b-it/mbpp.trl"


def write(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("name", "text", "host"),
    [
        ("a.trl.yaml", "base_model: x", "trl"),
        ("a.axolotl.yaml", "model_name_or_path: x", "axolotl"),
        ("a.axolotl.yml", "{}", "axolotl"),
        ("a.yaml", "base_model: x", "axolotl"),
        ("a.yaml", "model_name_or_path: x", "trl"),
    ],
)
def test_host_is_told_by_name_and_else_by_keys(
    tmp_path: Path, name: str, text: str, host: str
) -> None:
    assert recipes.load(write(tmp_path, name, text)).host == host


@pytest.mark.parametrize("text", ["lr: 1", "{base_model: x, model_name_or_path: x}"])
def test_host_that_cannot_be_told_is_an_error(tmp_path: Path, text: str) -> None:
    path = write(tmp_path, "a.yaml", text)
    with pytest.raises(recipes.RecipeError, match=r"NAME\.trl\.yaml"):
        recipes.load(path)


@pytest.mark.parametrize("text", ["a: [", "- a", "", "\ttab: 1"])
def test_a_file_that_is_no_mapping_is_named(tmp_path: Path, text: str) -> None:
    path = write(tmp_path, "a.trl.yaml", text)
    with pytest.raises(recipes.RecipeError, match=r"a\.trl\.yaml"):
        recipes.load(path)


def test_block_is_given_as_it_stands(tmp_path: Path) -> None:
    assert recipes.load(write(tmp_path, "a.trl.yaml", "ppx: [1]")).block == [1]
    assert recipes.load(write(tmp_path, "b.trl.yaml", "a: 1")).block is None


def test_shipped_recipe_is_found_by_name() -> None:
    assert recipes.find(NAME) == recipes.find(NAME + ".yaml")
    assert recipes.load(NAME).host == "trl"


def test_unknown_name_suggests_the_nearest() -> None:
    with pytest.raises(recipes.RecipeError, match=f"Did you mean '{NAME}'"):
        recipes.find("stm/gemma-2-2b/mbpp.trl")


def test_a_method_brings_recipes_of_its_own(tmp_path: Path) -> None:
    path = write(tmp_path, "mine/tiny/task.axolotl.yaml", "# What it is\n{}")
    assert recipes.find("mine/tiny/task.axolotl", folders=[tmp_path]) == path
    assert (tmp_path, path) in recipes.shipped([tmp_path])
    assert recipes.summary(path) == "What it is"


def test_copy_writes_the_same_text_and_never_over_a_file(tmp_path: Path) -> None:
    copied = recipes.copy(NAME, tmp_path)
    assert copied == tmp_path / "mbpp.trl.yaml"
    assert copied.read_text() == recipes.find(NAME).read_text()
    with pytest.raises(recipes.RecipeError, match="is there already"):
        recipes.copy(NAME, tmp_path)


def test_a_copy_under_another_name_writes_to_folders_of_its_own(tmp_path: Path) -> None:
    name = "stm/gemma-2-2b-it/mbpp.axolotl"
    mine = recipes.copy(name, tmp_path / "mine.axolotl.yaml")
    settings, old = recipes.load(mine).settings, recipes.load(name).settings
    assert settings["output_dir"] == "out/mine.axolotl"
    assert settings["dataset_prepared_path"] == "prepared/mine.axolotl"
    assert {key for key in old if old[key] != settings[key]} == {
        "output_dir",
        "dataset_prepared_path",
    }
    assert "axolotl train mine.axolotl.yaml" in mine.read_text(encoding="utf-8")
    assert "mbpp.axolotl.yaml" not in mine.read_text(encoding="utf-8")


def test_the_head_tells_paper_and_memory(tmp_path: Path) -> None:
    text = "# T\n#\n# Paper:    arXiv 1, Table 2: x\n# Hardware: one card of 24 GB (e)\n\na: 1"
    path = write(tmp_path, "a.trl.yaml", text)
    assert recipes.head(path) == {"paper": "arXiv 1, Table 2", "memory": "one card of 24 GB"}
    assert recipes.head(write(tmp_path, "b.trl.yaml", "a: 1")) == {"paper": "", "memory": ""}


def test_copy_makes_the_folders_of_a_new_name(tmp_path: Path) -> None:
    assert recipes.copy(NAME, tmp_path / "new" / "my.trl.yaml").is_file()


def test_files_beside_the_recipes_are_copied_too(tmp_path: Path) -> None:
    assert recipes.copy("data/mbpp.py", tmp_path).read_text().startswith('"""MBPP as chats')
