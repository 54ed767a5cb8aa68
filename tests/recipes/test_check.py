"""`ppx recipes check`: what it finds, where, and that it finds nothing in what is right."""

from __future__ import annotations

import importlib.util
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from ppx_ext import recipes
from ppx_ext.cli import main
from ppx_ext.proving import check, published, stand_ins

FILES = [file for _, file in recipes.shipped()]
NAME = "stm/gemma-2-2b-it/mbpp"
Edit = Callable[[dict[str, Any]], Any]


def edited(folder: Path, host: str, edit: Edit) -> Path:
    settings = dict(recipes.load(f"{NAME}.{host}").settings)
    edit(settings)
    path = folder / f"mbpp.{host}.yaml"
    path.write_text(yaml.safe_dump(settings, sort_keys=False), encoding="utf-8")
    return path


def errors(*files: Path) -> list[tuple[str, str]]:
    found = check.check(files).findings
    return [(one.key, one.message) for one in found if one.level == "error"]


def test_all_shipped_recipes_for_trl_and_all_pairs_are_in_order() -> None:
    checked = check.check([file for file in FILES if ".trl." in file.name])
    assert [found for found in checked.findings if found.level != "ok"] == []
    told = {key: {f.file for f in checked.findings if f.key == key} for key in ("pair", "ppx")}
    assert len(told["pair"]) == len(told["ppx"]) == len(checked.files) >= 100
    ends = [found for found in checked.findings if found.key == "chat template"]
    assert len(ends) == len(checked.files), "no end of turn goes unseen"


@pytest.mark.slow
@pytest.mark.axolotl
def test_all_shipped_recipes_for_axolotl_are_in_order() -> None:
    checked = check.check([file for file in FILES if ".axolotl." in file.name])
    assert [found for found in checked.findings if found.level != "ok"] == []
    ends = [found for found in checked.findings if found.key.startswith("datasets[")]
    assert len(ends) >= len(checked.files), "no end of turn goes unseen"


TRL_FAULTS: dict[str, tuple[Edit, str, str]] = {
    "typo": (lambda s: s.update(learning_rat=1), "learning_rat", "Did you mean `learning_rate`"),
    "block": (
        lambda s: s["ppx"]["mask"].update(ppl_treshold=2),
        "ppx.mask.ppl_treshold",
        "Did you mean `ppl_threshold`",
    ),
    "typo below": (
        lambda s: s.update(fsdp="full_shard", fsdp_config={"state_dict_typ": "X"}),
        "fsdp_config.state_dict_typ",
        "Did you mean `state_dict_type`",
    ),
    "typo in data": (
        lambda s: s.update(dataset_name=None, datasets=[{"path": "a", "splitt": "train"}]),
        "recipe",
        "splitt",
    ),
    "no stage": (lambda s: s.update(ppx={"seed": 1}), "ppx", "names no stage"),
    "value": (lambda s: s.update(learning_rate="fast"), "recipe", "learning_rate"),
    "token": (lambda s: s.update(pad_token="<none>"), "recipe", "<none>"),
    "model": (lambda s: s.pop("model_name_or_path"), "model_name_or_path", "no base model"),
    "data": (lambda s: s.pop("dataset_name"), "recipe", "name the data"),
    "optimiser": (lambda s: s.update(optim="nosuch"), "optim", "nosuch is not a valid"),
    "number": (lambda s: s.update(learning_rate=-1), "learning_rate", "must be above 0"),
    "length": (lambda s: s.update(max_length=4), "chat template", "truncated away"),
}


@pytest.mark.parametrize("fault", TRL_FAULTS)
def test_a_fault_of_a_trl_recipe_is_told_with_its_key(fault: str, tmp_path: Path) -> None:
    edit, key, words = TRL_FAULTS[fault]
    found = errors(edited(tmp_path, "trl", edit))
    assert any(where.startswith(key) and words in message for where, message in found), found


AXOLOTL_FAULTS: dict[str, tuple[Edit, str, str]] = {
    "typo": (lambda s: s.update(learning_rat=1), "learning_rat", "drops it without a word"),
    "typo in data": (
        lambda s: s["datasets"][0].update(typ="chat_template"),
        "datasets[0].typ",
        "Did you mean `type`",
    ),
    "typo below": (
        lambda s: s.update(fsdp_version=2, fsdp_config={"state_dict_typ": "X"}),
        "fsdp_config.state_dict_typ",
        "Did you mean `state_dict_type`",
    ),
    "no plugin": (lambda s: s.update(plugins=[]), "plugins", "is not listed"),
    "Gemma's trap": (lambda s: s.pop("eot_tokens"), "datasets[0]", "eot_tokens"),
    "block": (
        lambda s: s["ppx"]["mask"].update(ppl_treshold=2),
        "ppx.mask.ppl_treshold",
        "Did you mean `ppl_threshold`",
    ),
    "schema": (lambda s: s.update(micro_batch_size="two"), "micro_batch_size", "integer"),
    "optimiser": (lambda s: s.update(optimizer="adamw_torc"), "optimizer", "mean `adamw_torch`"),
    "scheduler": (lambda s: s.update(lr_scheduler="cosin"), "lr_scheduler", "mean `cosine`"),
    "number": (lambda s: s.update(sequence_len=-5), "sequence_len", "must be above 0"),
    "contradiction": (lambda s: s.update(adapter="qlora"), "recipe", "load_in_4bit"),
}


@pytest.mark.axolotl
@pytest.mark.parametrize("fault", AXOLOTL_FAULTS)
def test_a_fault_of_an_axolotl_recipe_is_told_with_its_key(fault: str, tmp_path: Path) -> None:
    edit, key, words = AXOLOTL_FAULTS[fault]
    found = errors(edited(tmp_path, "axolotl", edit))
    assert any(where.startswith(key) and words in message for where, message in found), found


def test_a_key_that_stands_twice_is_told(tmp_path: Path) -> None:
    path = edited(tmp_path, "trl", lambda s: None)
    text = path.read_text(encoding="utf-8")
    path.write_text(text + "env: {a: &x {b: 1}, c: {<<: *x, b: 2}}\n", encoding="utf-8")
    recipes.load(path)
    path.write_text(text + "learning_rate: 1.0e-3\n", encoding="utf-8")
    ((_, message),) = errors(path)
    assert "a key twice" in message
    assert "`learning_rate` in lines" in message


def test_a_pair_with_a_word_for_a_number_is_told_and_no_crash(tmp_path: Path) -> None:
    ours = edited(tmp_path, "trl", lambda s: s.update(per_device_train_batch_size="two"))
    theirs = edited(tmp_path, "axolotl", lambda s: None)
    found = errors(ours, theirs)
    assert any("per_device_train_batch_size" in key + message for key, message in found)


def test_an_end_of_turn_that_is_no_target_is_an_error(tmp_path: Path) -> None:
    about = published.of("google/gemma-2-2b-it")
    assert about is not None
    folder = stand_ins.write_described(about, tmp_path / "model")
    template = "{% for m in messages %}{{ m['role'] + ': ' + m['content'] }}{% endfor %}"
    prompt = "{% if add_generation_prompt %}{{ 'assistant: ' }}{% endif %}"
    (folder / "chat_template.jinja").write_text(template + prompt, encoding="utf-8")
    path = edited(tmp_path, "trl", lambda s: s.update(model_name_or_path=str(folder)))
    ((key, message),) = errors(path)
    assert key == "chat template"
    assert "may not learn to stop" in message


def test_an_unknown_model_is_unchecked_and_no_error(tmp_path: Path) -> None:
    path = edited(tmp_path, "trl", lambda s: s.update(model_name_or_path="nobody/nothing"))
    checked = check.check([path])
    assert checked.ok
    (found,) = [found for found in checked.findings if found.level == "unchecked"]
    assert found.key == "model_name_or_path"
    assert "nobody/nothing" in found.message


def test_without_axolotl_its_half_is_said_to_be_unchecked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found_spec = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "axolotl" else found_spec(name)
    )
    checked = check.check([recipes.find(f"{NAME}.axolotl")])
    assert checked.ok
    (found,) = [found for found in checked.findings if found.level == "unchecked"]
    assert "pip install 'ppx-ext[axolotl]'" in found.message
    assert {f.key for f in checked.findings if f.level == "ok"} == {"ppx", "pair"}


def test_the_command_prints_file_key_and_mend_and_fails(tmp_path: Path) -> None:
    path = edited(tmp_path, "trl", lambda s: s.update(learning_rat=1))
    done = CliRunner().invoke(main, ["recipes", "check", str(path)])
    assert done.exit_code == 1
    assert f"error {path}: learning_rat: TRL does not know this key" in done.stdout
    assert "1 recipe, not in order: 0 unchecked, 0 warning, 1 error" in done.stdout
    as_json = CliRunner().invoke(main, ["recipes", "check", str(path), "--json"])
    assert json.loads(as_json.stdout)["ok"] is False
    shutil.copy(recipes.find(f"{NAME}.trl"), path)
    assert CliRunner().invoke(main, ["recipes", "check", str(path)]).exit_code == 0


@pytest.mark.parametrize("words", [[], ["--all", NAME]])
def test_the_command_wants_names_or_all(words: list[str]) -> None:
    done = CliRunner().invoke(main, ["recipes", "check", *words])
    assert done.exit_code == 2
    assert "give --all" in done.stderr


def test_a_name_without_a_host_is_both_recipes_and_a_folder_all_of_its(tmp_path: Path) -> None:
    assert {file.name for file in check.files_of(NAME)} == {"mbpp.trl.yaml", "mbpp.axolotl.yaml"}
    assert check.files_of(f"{NAME}.trl") == [recipes.find(f"{NAME}.trl")]
    made = edited(tmp_path, "trl", lambda s: None)
    assert check.files_of(str(tmp_path)) == [made]
    with pytest.raises(recipes.RecipeError, match="no such file"):
        check.files_of("stm/nothing")


def test_a_list_of_nothing_says_so() -> None:
    done = CliRunner().invoke(main, ["recipes", "list", "--method", "stmm"])
    assert done.exit_code == 1
    assert "no recipe is of --method stmm. Methods: combined, difficulty" in done.stderr
