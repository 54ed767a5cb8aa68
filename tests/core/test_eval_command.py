"""`ppx eval` on tiny real models: full ones and adapters, measured, compared, gated and chosen."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from ppx_ext.cli import main
from ppx_ext.evaluating.store import read_evaluations, read_items
from tests.models import tiny_model, tiny_tokenizer

QUESTIONS = {"law": 12, "sums": 16}


@dataclass(frozen=True)
class Models:
    """A folder with ``base``, ``run/checkpoint-9``, ``run/checkpoint-10``, ``adapter`` and tasks.

    The base answers two thirds of the items as their golds say, checkpoint-10 the rest.
    """

    folder: Path

    def run(self, *args: str, code: int = 0) -> Result:
        """The command in this folder; its exit code is checked. Nothing is measured twice."""
        shared = ("--out", "measured") if "block.yaml" in args and "--out" not in args else ()
        result = CliRunner().invoke(main, ["eval", *args, *shared])
        assert result.exit_code == code, result.output
        return result

    def json(self, *args: str, code: int = 0) -> Any:
        """What ``--json`` prints, alone, on stdout."""
        return json.loads(self.run(*args, "--json", code=code).stdout)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from peft import LoraConfig, get_peft_model

    from ppx_ext.evaluation import generate_greedy, render_prompt

    place = tmp_path_factory.mktemp("models")
    tokenizer = tiny_tokenizer()
    models = {"base": 0, "run/checkpoint-9": 3, "run/checkpoint-10": 1}
    for name, seed in models.items():
        tiny_model("llama", seed=seed).save_pretrained(place / name)
        tokenizer.save_pretrained(place / name)
    lora = LoraConfig(r=4, target_modules=["q_proj", "v_proj"], init_lora_weights=False)
    adapted = get_peft_model(tiny_model("llama"), lora)
    adapted.peft_config["default"].base_model_name_or_path = str(place / "base")
    adapted.save_pretrained(place / "adapter")
    for task, number in QUESTIONS.items():
        asked = [f"{task}: what is {i} and {i * 7 % 11}?" for i in range(number)]
        prompts = [render_prompt(tokenizer, question) for question in asked]
        golds = [
            generate_greedy(tiny_model("llama", seed=seed), tokenizer, prompts, max_new_tokens=8)
            for seed in (0, 1)
        ]
        lines = [
            json.dumps({"prompt": question, "answer": golds[i % 3 == 0][i]})
            for i, question in enumerate(asked)
        ]
        (place / f"{task}.jsonl").write_text("\n".join(lines))
    (place / "block.yaml").write_text(BLOCK)
    return place


BLOCK = """
suites:
  - use: tasks
    max_new_tokens: 8
    tasks:
      law: {path: law.jsonl}
      sums: {path: sums.jsonl, target: true}
gate: {max_drop: 40}
"""


@pytest.fixture
def models(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Models:
    monkeypatch.chdir(folder)
    monkeypatch.setenv("COLUMNS", "200")
    return Models(folder)


def right(task: str, name: str) -> float:
    """Percent of the golds that are a model's own words, by construction."""
    number = QUESTIONS[task]
    own = len([i for i in range(number) if (i % 3 == 0) == (name == "checkpoint-10")])
    return 100 * own / number


def test_models_are_measured_and_compared(models: Models) -> None:
    found = models.json("run/checkpoint-10", "--base", "base", "--suite", "block.yaml")
    assert found["schema"] == 1
    assert found["base"]["name"] == "base"
    (one,) = found["models"]
    assert (one["name"], one["step"]) == ("checkpoint-10", 10)
    for side in (found["base"], one):
        for task in QUESTIONS:
            assert side["tasks"][task]["accuracy"] == pytest.approx(right(task, side["name"]))
    (compared,) = found["comparisons"]
    assert (compared["against"], compared["model"]) == ("base", "checkpoint-10")
    # law: 4 of 12 instead of the other 8, so 33.3 points are lost: 8 only before, 4 only after.
    law = compared["tasks"][0]
    assert (law["task"], law["change"]["points"]) == ("law", pytest.approx(-100 / 3))
    assert law["change"]["p"] == pytest.approx(0.387695, abs=1e-5)  # 2 P(X <= 4), X ~ B(12, 1/2)
    assert law["change"]["words"].startswith("not significant")
    assert compared["drop"]["value"] == pytest.approx(100 / 3)
    assert compared["bwt"]["value"] == pytest.approx(-50)
    assert compared["ti"]["value"] == pytest.approx(100 * (6 - 10) / 10)
    assert compared["ti"]["low"] < compared["ti"]["value"] < compared["ti"]["high"]
    assert (found["gate"], found["chosen"], found["ok"]) == (None, None, True)


def test_the_terminal_says_it_in_words(models: Models) -> None:
    said = models.run("run/checkpoint-10", "base", "--suite", "block.yaml", "--no-base").stdout
    for words in (
        "33.3 │  13.8 to 60.9",
        "sums (target)",
        "base against checkpoint-10",
        "not significant (p = 0.39, exact McNemar over 12 items)",
        "Average drop on the other tasks (above 0 is forgetting): -33.3 points (95 % CI -",
        "BWT (below 0 is forgetting): +100.0 %",
        "TI (target improvement): +66.7 %",
    ):
        assert words in said, said


def test_an_adapter_stands_on_its_base_and_is_compared_with_it(models: Models) -> None:
    found = models.json("adapter", "--suite", "block.yaml")
    assert found["base"]["path"] == str(models.folder / "base")
    assert found["base"]["tasks"]["law"]["accuracy"] == pytest.approx(right("law", "base"))
    assert (
        found["models"][0]["tasks"]["law"]["accuracy"] < found["base"]["tasks"]["law"]["accuracy"]
    )


def test_what_is_kept_is_not_measured_again(models: Models, tmp_path: Path) -> None:
    out = tmp_path / "measured"
    args = ("run/checkpoint-10", "--base", "base", "--suite", "block.yaml", "--out", str(out))
    first = models.json(*args)
    kept = models.json(*args, "--batch-size", "3")
    assert [one["kept"] for one in (kept["base"], *kept["models"])] == [True, True]
    assert kept["comparisons"] == first["comparisons"]
    records = read_evaluations(out)["evaluations"]
    assert [(one["when"], one["name"], one["step"]) for one in records] == [
        ("before", "base", 0), ("after", "checkpoint-10", 10),
    ]  # fmt: skip
    rows = read_items(out / records[1]["items"])
    assert [row["task"] for row in rows] == ["law"] * 12 + ["sums"] * 16
    assert [row["correct"] for row in rows[:4]] == [1.0, 0.0, 0.0, 1.0]
    assert rows[0]["response"] == rows[0]["gold"]
    assert "what is 0 and 0?" in rows[0]["prompt"]
    # Another model of the same name is another model.
    shutil.copytree(models.folder / "run" / "checkpoint-9", tmp_path / "checkpoint-10")
    other = models.json(str(tmp_path / "checkpoint-10"), *args[1:])
    assert [one["kept"] for one in (other["base"], *other["models"])] == [True, False]
    assert other["models"][0]["tasks"] != kept["models"][0]["tasks"]


def test_changed_tasks_are_measured_again(models: Models, tmp_path: Path) -> None:
    own = tmp_path / "law.jsonl"
    first = (models.folder / "law.jsonl").read_text().splitlines()[0]
    own.write_text(first)
    out = str(tmp_path / "measured")
    args = ("base", "--tasks", str(own), "--out", out)
    assert models.json(*args)["models"][0]["kept"] is False
    assert models.json(*args)["models"][0]["kept"] is True
    own.write_text(first.replace("0", "1"))
    found = models.json(*args)["models"][0]
    assert (found["kept"], found["tasks"]["law"]["items"]) == (False, 1)


def test_a_gate_ends_with_its_own_exit_code(models: Models) -> None:
    args = ("run/checkpoint-10", "--base", "base", "--suite", "block.yaml", "--gate")
    held = models.json(*args)
    assert held["ok"] is True
    assert held["gate"][0]["words"].startswith("The gate holds: the other tasks lost on average 33")
    breached = models.json(*args, "--max-drop", "30", code=3)
    assert breached["ok"] is False
    assert breached["gate"][0]["drops"][0]["limit"] == 30
    said = models.run(*args, "--max-drop", "30", code=3).stdout
    assert "The gate is breached: the other tasks lost on average 33.3 points" in said


def test_a_stored_evaluation_stands_for_the_base(models: Models, tmp_path: Path) -> None:
    stored = str(tmp_path / "stored")
    models.run("base", "run/checkpoint-9", "--suite", "block.yaml", "--no-base", "--out", stored)
    many = models.run("run/checkpoint-10", "--against", stored, code=1)
    assert "which evaluation is meant? several fit; --which names one: base, checkpoint-9" in (
        many.output
    )
    found = models.json("run/checkpoint-10", "--against", stored, "--which", "base")
    assert found["base"]["name"] == "stored:base"
    assert found["base"]["kept"] is True
    assert found["comparisons"][0]["drop"]["value"] == pytest.approx(100 / 3)
    wrong = models.run("run/checkpoint-10", "--against", stored, "--which", "x", code=1)
    assert "none fits" in wrong.output


def test_the_checkpoint_is_chosen_by_target_under_the_limit(models: Models) -> None:
    args = ("--select", "run/checkpoint-*", "--base", "base", "--suite", "block.yaml")
    found = models.json(*args)
    assert [one["step"] for one in found["models"]] == [9, 10]  # and not as text: 10, 9
    assert found["chosen"]["model"] == "checkpoint-10"
    assert found["chosen"]["path"] == "run/checkpoint-10"
    assert "best target score, 37.5 %, of 1 of 2 within the limits" in found["chosen"]["words"]
    none = models.run(*args, "--max-drop", "5", code=3)
    assert "None of the 2 is within the limits of forgetting" in none.stdout


def test_a_recipe_names_block_and_base(models: Models, tmp_path: Path) -> None:
    for host, key in (("trl", "model_name_or_path"), ("axolotl", "base_model")):
        recipe = tmp_path / f"r.{host}.yaml"
        block = "\n".join(f"    {line}" for line in BLOCK.splitlines())
        recipe.write_text(f"{key}: base\nppx:\n  eval:{block}\n")
        found = models.json("run/checkpoint-10", "--recipe", str(recipe), "--out", "measured")
        assert found["base"]["path"] == "base"
        assert found["comparisons"][0]["drop"]["value"] == pytest.approx(100 / 3)
    bare = tmp_path / "bare.trl.yaml"
    bare.write_text("model_name_or_path: base\nppx: {}\n")
    assert "has no `eval:`" in models.run("base", "--recipe", str(bare), code=1).output


def test_tasks_alone_are_enough(models: Models, tmp_path: Path) -> None:
    for task in QUESTIONS:
        first = (models.folder / f"{task}.jsonl").read_text().splitlines()[0]
        (tmp_path / f"{task}.jsonl").write_text(first)
    files = [part for task in QUESTIONS for part in ("--tasks", str(tmp_path / f"{task}.jsonl"))]
    found = models.json("run/checkpoint-10", *files, "--target", "sums")
    assert found["base"] is None
    assert found["comparisons"] == []
    assert found["models"][0]["tasks"]["sums"]["target"] is True


@pytest.mark.parametrize(
    ("args", "code", "words"),
    [
        (("base",), 2, "say what to measure: --recipe, --suite or --tasks"),
        (("base", "--suite", "block.yaml", "--tasks", "law.jsonl"), 2, "both say what to measure"),
        (("base", "--suite", "block.yaml", "--target", "law"), 2, "--target is about --tasks"),
        (("base", "--suite", "block.yaml", "--which", "x"), 2, "--which is about --against"),
        (("base", "--suite", "block.yaml", "--no-base", "--base", "b"), 2, "--no-base, and yet"),
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
