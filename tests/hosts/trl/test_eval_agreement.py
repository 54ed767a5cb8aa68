"""`ppx eval` on what a training run saved gives, item by item, what the run measured itself."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from peft import get_peft_model

from ppx_ext.cli import main
from ppx_ext.hosts import trl
from tests.hosts import measured
from tests.hosts.agreement import agree, evaluations
from tests.hosts.trl.lab import Lab, lora
from tests.hosts.trl.test_recipe import PEFT, write
from tests.models import tiny_model


@pytest.mark.parametrize("adapter", [True, False], ids=["LoRA", "full"])
def test_item_by_item(adapter: bool, tmp_path: Path) -> None:
    lab, out = Lab(), tmp_path / "out"
    lab.saved(tmp_path / "base")
    stage = measured.block(tmp_path / "tasks", harness=adapter, every=2, gate={"max_drop": 100})
    texts = "".join(
        json.dumps({"text": row["completion"][0]["content"]}) + "\n" for row in lab.rows
    )
    (tmp_path / "wiki.jsonl").write_text(texts)
    held_out = {"use": "perplexity", "tasks": {"wiki": {"path": str(tmp_path / "wiki.jsonl")}}}
    stage["suites"].append(held_out)
    recipe = write(
        tmp_path, lab, tmp_path / "base", ppx={**lab.block(tmp_path), "eval": stage}, max_steps=4,
        save_strategy="steps", save_steps=2, learning_rate=1e-2, **(PEFT if adapter else {}),
    )  # fmt: skip
    trl.train(recipe)
    assert measured.times(out) == [("before", 0), ("during", 2), ("after", 4)]
    found = agree(out, [out / "checkpoint-2", out], recipe, tmp_path / "again")
    assert [one["name"] for one in found["models"]] == ["checkpoint-2", "out"]
    assert found["comparisons"][1]["texts"][0]["task"] == "wiki"
    if not adapter:
        # The run's own beginning stands for the base; its suites for those that are not given.
        result = CliRunner().invoke(main, ["eval", str(out), "--against", str(out), "--json"])
        assert result.exit_code == 0, result.output
        stored = json.loads(result.stdout)
        assert stored["base"]["name"] == "out:before@0"
        assert stored["comparisons"][0]["drop"] == found["comparisons"][1]["drop"]
        assert evaluations(out)[0]["when"] == "before"


FOUR_BITS = {"load_in_4bit": True, "bnb_4bit_quant_type": "nf4"}


@pytest.mark.parametrize(
    ("where", "changes"),
    [("here", FOUR_BITS), ("apart", FOUR_BITS), ("here", {"bf16": True})],
    ids=["4 bits", "4 bits, apart", "mixed precision"],
)
def test_weights_are_read_as_in_training(
    where: str, changes: dict[str, Any], tmp_path: Path
) -> None:
    if "load_in_4bit" in changes:
        pytest.importorskip("bitsandbytes", reason="4-bit weights need bitsandbytes")
    lab, out = Lab(), tmp_path / "out"
    tiny_model("llama", hidden_size=64, intermediate_size=128).save_pretrained(tmp_path / "base")
    lab.tokenizer.save_pretrained(tmp_path / "base")
    stage = measured.block(tmp_path / "tasks", harness=False, gate={"max_drop": 100}, where=where)
    (tmp_path / "wiki.jsonl").write_text(json.dumps({"text": "the cat sat on the mat"}))
    held_out = {"use": "perplexity", "tasks": {"wiki": {"path": str(tmp_path / "wiki.jsonl")}}}
    stage["suites"].append(held_out)
    recipe = write(
        tmp_path, lab, tmp_path / "base", ppx={"eval": stage}, max_steps=4, learning_rate=0.1,
        dtype=None, **PEFT, **changes,
    )  # fmt: skip
    trl.train(recipe)
    found = agree(out, [out], recipe, tmp_path / "again")
    args = ["eval", str(out), "--recipe", str(recipe), "--json", "--as-saved"]
    result = CliRunner().invoke(main, args)
    assert result.exit_code == 0, result.output
    whole = json.loads(result.stdout)["base"]["texts"]["wiki"]["perplexity"]
    assert whole != pytest.approx(found["base"]["texts"]["wiki"]["perplexity"], rel=1e-5)


def test_a_model_that_is_not_quantised_as_the_recipe_is_named(tmp_path: Path) -> None:
    pytest.importorskip("bitsandbytes", reason="4-bit weights need bitsandbytes")
    lab = Lab()
    model = tiny_model("llama", hidden_size=64, intermediate_size=128)
    for name in ("base", "whole"):
        model.save_pretrained(tmp_path / name)
        lab.tokenizer.save_pretrained(tmp_path / name)
    adapted = get_peft_model(model, lora())
    adapted.peft_config["default"].base_model_name_or_path = str(tmp_path / "base")
    adapted.save_pretrained(tmp_path / "adapter")
    stage = measured.block(tmp_path / "tasks", harness=False)
    recipe = write(tmp_path, lab, tmp_path / "base", ppx={"eval": stage}, **PEFT, **FOUR_BITS)

    def said(*names: str) -> str:
        folders = [str(tmp_path / name) for name in names]
        result = CliRunner().invoke(main, ["eval", *folders, "--recipe", str(recipe)])
        assert result.exit_code == 0, result.output
        return result.stderr

    both, as_saved = said("whole", "adapter"), "measured as saved, not quantised as the recipe"
    assert as_saved in both
    assert (
        f"the base is quantised, as its adapters were trained, and these are not: {tmp_path}"
        in both
    )
    alone = said("whole")
    assert as_saved in alone
    assert "the base is quantised" not in alone
    assert as_saved not in said("adapter")
