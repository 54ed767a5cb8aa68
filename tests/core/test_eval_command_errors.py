"""`ppx eval` where something is wrong: one message that says what to do, and nothing on stdout."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.core.eval_models import Models, make
from tests.models import tiny_model, tiny_tokenizer


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make(tmp_path_factory.mktemp("models"))


@pytest.fixture
def models(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Models:
    monkeypatch.chdir(folder)
    monkeypatch.setenv("COLUMNS", "200")
    return Models(folder)


@pytest.mark.parametrize(
    ("args", "code", "words"),
    [
        (("base",), 2, "say what to measure: --recipe, --suite or --tasks"),
        (("base", "--suite", "block.yaml", "--tasks", "law.jsonl"), 2, "both say what to measure"),
        (("base", "--suite", "block.yaml", "--target", "law"), 2, "--target is about --tasks"),
        (("base", "--suite", "block.yaml", "--which", "x"), 2, "--which is about --against"),
        (("base", "--suite", "block.yaml", "--no-base", "--base", "b"), 2, "--no-base, and yet"),
        (("base", "--suite", "block.yaml", "--max-drop", "1"), 2, "--max-drop is about --gate"),
        (("/no/such/place", "--suite", "block.yaml"), 1, "there is no folder /no/such/place"),
        (("no-such/model", "--suite", "block.yaml"), 1, "'no-such/model' is neither a folder"),
        (("run/checkpoint-7*", "--suite", "block.yaml"), 1, "no folder like run/checkpoint-7*"),
        (("run", "--suite", "block.yaml"), 1, "its checkpoints are models: run/checkpoint-9"),
        (("bad", "--suite", "block.yaml"), 1, "is an adapter that does not say on which base"),
        (("lost", "--suite", "block.yaml"), 1, "the base of the adapter lost cannot be had"),
        (("odd", "--suite", "block.yaml"), 1, "the adapter odd does not fit the base"),
        (("base", "--suite", "law.jsonl"), 1, "cannot be read as YAML"),
        (("base", "--suite", "nothing.yaml"), 1, "nothing.yaml cannot be read"),
        (("base", "--suite", "block.yaml", "--gate"), 1, "a gate measures what was lost"),
        (("base", "--tasks", "law.jsonl", "--gate"), 1, "the block has no `gate:`"),
        (("base", "--tasks", "law.jsonl", "--target", "l"), 1, "there is no such task; there are"),
        (("base", "--tasks", "none.jsonl"), 1, "none.jsonl"),
        (("base", "--tasks", "law.jsonl", "--against", "run"), 1, "has no ppx_eval.json"),
    ],
)
def test_errors_say_what_to_do(
    models: Models, args: tuple[str, ...], code: int, words: str
) -> None:
    for name, base in (("bad", None), ("lost", "no-such/base"), ("odd", "small")):
        shutil.copytree(models.folder / "adapter", models.folder / name, dirs_exist_ok=True)
        path = models.folder / name / "adapter_config.json"
        config = {**json.loads(path.read_text()), "base_model_name_or_path": base}
        path.write_text(json.dumps(config))
    if "odd" in args:
        tiny_model("llama", hidden_size=16, head_dim=4).save_pretrained(models.folder / "small")
        tiny_tokenizer().save_pretrained(models.folder / "small")
    result = models.run(*args, code=code)
    assert words in result.output
    assert "Traceback" not in result.output
    if code == 1:
        assert result.stdout == ""


def test_models_asked_differently_are_not_compared(models: Models, tmp_path: Path) -> None:
    other = tmp_path / "other"
    shutil.copytree(models.folder / "base", other)
    tokenizer = tiny_tokenizer()
    tokenizer.chat_template = str(tokenizer.chat_template).replace("<|im_start|>user", "User:")
    tokenizer.chat_template = "{{ 'Hi ' }}" + tokenizer.chat_template
    tokenizer.save_pretrained(other)
    args = ("base", str(other), "--suite", "block.yaml", "--no-base")
    assert "Their chat templates differ" in models.run(*args, code=1).output
    found = models.json(*args, "--tokenizer", "base")
    assert found["comparisons"][0]["drop"]["value"] == 0


def test_new_tokens_of_an_adapter_come_with_it(models: Models, tmp_path: Path) -> None:
    import torch
    from peft import LoraConfig, get_peft_model

    from ppx_ext.evaluating import checkpoints

    model = tiny_model("llama")
    model.resize_token_embeddings(400, mean_resizing=False)
    lora = LoraConfig(r=4, target_modules=["q_proj"], init_lora_weights=False)
    adapted: Any = get_peft_model(model, lora).eval()
    adapted.peft_config["default"].base_model_name_or_path = str(models.folder / "base")
    adapted.save_pretrained(tmp_path / "wide")
    found = checkpoints.find(str(tmp_path / "wide"))
    loaded = checkpoints.load(found, dtype="auto", device="cpu")
    ids_BT = torch.tensor([[5, 390, 399, 7]])
    assert torch.equal(loaded(ids_BT).logits, adapted(ids_BT).logits)
    # The base has never seen those tokens: it is not asked with them.
    tokenizer = tiny_tokenizer()
    tokenizer.add_tokens([f"<new{i}>" for i in range(400 - len(tokenizer))])
    tokenizer.save_pretrained(tmp_path / "wide")
    result = models.run(str(tmp_path / "wide"), "--suite", "block.yaml", code=1)
    assert "knows 384 tokens, and its tokenizer 400" in result.output
    models.run(str(tmp_path / "wide"), "--suite", "block.yaml", "--no-base")


def test_a_package_that_quantised_weights_need_is_named(models: Models) -> None:
    from transformers import QuantoConfig
    from transformers.utils import is_optimum_quanto_available

    from ppx_ext.evaluating import checkpoints

    if is_optimum_quanto_available():
        pytest.skip("optimum-quanto is installed here, so that no error can name it")
    found = replace(checkpoints.find(str(models.folder / "base")), quantized=True)
    with pytest.raises(ValueError, match=r"base cannot be loaded here: .*optimum-quanto"):
        checkpoints.load(found, dtype="auto", device="cpu", quantization=QuantoConfig())
