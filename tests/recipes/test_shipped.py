"""Every shipped recipe, as its own host reads it. No model, no hub."""

from __future__ import annotations

import json
import runpy
from pathlib import Path
from typing import Any

import pytest

from ppx_ext import catalog, plan, recipes

PLUGIN = "ppx_ext.hosts.axolotl.PpxPlugin"
FILES = [file for _, file in recipes.shipped()]
TRL = [file for file in FILES if file.name.endswith(".trl.yaml")]
AXOLOTL = [file for file in FILES if file.name.endswith(".axolotl.yaml")]


def label(path: Path) -> str:
    return recipes.recipe_name(recipes.own_folder(), path)


def test_there_are_recipes_and_each_has_a_twin_in_the_other_host() -> None:
    assert len(FILES) >= 6
    assert {label(f).removesuffix(".trl") for f in TRL} == {
        label(f).removesuffix(".axolotl") for f in AXOLOTL
    }


@pytest.mark.parametrize("path", TRL, ids=label)
def test_both_hosts_hold_the_same_block(path: Path) -> None:
    twin = path.with_name(path.name.replace(".trl.", ".axolotl."))
    assert recipes.load(path).block == recipes.load(twin).block


@pytest.mark.parametrize("path", FILES, ids=label)
def test_block_is_right_and_the_head_says_what_to_do(path: Path) -> None:
    found = plan.parse(recipes.load(path).block, catalog.load())
    assert found.mask or found.build or found.choose
    head = path.read_text(encoding="utf-8").partition("\n\n")[0]
    for word in ("Paper:", "Install:", "Weights:", "Data:", "Check:", "Run:", "Deviations:"):
        assert word in head
    assert path.name in head


@pytest.mark.parametrize("path", TRL, ids=label)
def test_trl_takes_every_key(path: Path) -> None:
    from trl import DatasetMixtureConfig, ModelConfig, TrlParser

    from ppx_ext.hosts.trl_config import PpxScriptArguments, PpxSFTConfig

    parser = TrlParser((PpxScriptArguments, PpxSFTConfig, ModelConfig, DatasetMixtureConfig))
    _, config, model, _ = parser.parse_args_and_config(
        ["--config", str(path), "--use_cpu", "true"], fail_with_unknown_args=True
    )
    settings = recipes.load(path).settings
    assert config.learning_rate == settings["learning_rate"]
    assert model.model_name_or_path == settings["model_name_or_path"]
    block = config.ppx if isinstance(config.ppx, dict) else json.loads(config.ppx)
    assert block == settings["ppx"]


@pytest.mark.axolotl
@pytest.mark.parametrize("path", AXOLOTL, ids=label)
def test_axolotl_takes_every_key(path: Path) -> None:
    settings = dict(recipes.load(path).settings)
    validated, known = _validated(settings)
    assert set(settings) - known == set()
    assert set(settings) - set(validated) == set()
    assert validated["ppx"].to_dict() == settings["ppx"]
    assert settings["plugins"] == [PLUGIN]


def _validated(settings: dict[str, Any]) -> tuple[Any, set[str]]:
    """The recipe after Axolotl's own schema, checked as for an A100, and all keys it knows."""
    from axolotl.cli.config import prepare_plugins
    from axolotl.integrations.base import PluginManager
    from axolotl.integrations.config import merge_input_args
    from axolotl.utils.config import validate_config
    from axolotl.utils.dict import DictDefault

    device = {"bf16": True, "fp8": False, "tf32": True, "n_gpu": 1, "n_node": 1}
    cfg = DictDefault(settings)
    try:
        prepare_plugins(cfg)
        validated = validate_config(
            cfg,
            capabilities={**device, "compute_capability": "sm_80"},
            env_capabilities={"torch_version": "2.11.0"},
        )
        return validated, set(merge_input_args()[0].model_fields)
    finally:
        PluginManager.get_instance().plugins.clear()


@pytest.mark.parametrize("split", ["train", "validation"])
def test_mbpp_chats_equal_the_authors_own(data_dir: Path, split: str) -> None:
    chat = runpy.run_path(str(recipes.find("data/mbpp.py")))["chat"]
    lines = (data_dir / f"mbpp_{split}.jsonl").read_text(encoding="utf-8").split("\n")
    rows = [json.loads(line) for line in lines if line]
    assert len(rows) == {"train": 374, "validation": 90}[split]
    for row in rows:
        made = chat(row)
        user, assistant = made["messages"]
        assert made["test_list"] == row["test_list"]
        assert (user["role"], user["content"]) == ("user", row["prompt"])
        assert (assistant["role"], assistant["content"]) == ("assistant", row["response"])


def test_gsm8k_chats_end_in_their_answers(data_dir: Path) -> None:
    chat = runpy.run_path(str(recipes.find("data/gsm8k.py")))["chat"]
    lines = (data_dir / "gsm8k_train.jsonl").read_text(encoding="utf-8").split("\n")
    rows = [json.loads(line) for line in lines if line]
    assert len(rows) == 7473
    for row in rows:
        user, assistant = chat(row)["messages"]
        answer = row["answer"].rpartition("####")[2].strip()
        assert user["content"].startswith(row["question"])
        assert user["content"].endswith("formatted as: The answer is {answer}.")
        assert assistant["content"].endswith(f"\nThe answer is {answer}.")
        assert "<<" not in assistant["content"]


def test_gsm8k_says_which_answer_it_cannot_read() -> None:
    chat = runpy.run_path(str(recipes.find("data/gsm8k.py")))["chat"]
    with pytest.raises(ValueError, match="no ####: 'Twelve'"):
        chat({"question": "How many?", "answer": "Twelve"})
