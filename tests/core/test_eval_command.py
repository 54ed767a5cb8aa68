"""`ppx eval` on tiny real models: full ones and adapters, measured, compared, gated and chosen."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from ppx_ext.evaluating.store import read_evaluations, read_items
from tests.core.eval_models import BLOCK, QUESTIONS, Models, make, right


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make(tmp_path_factory.mktemp("models"))


@pytest.fixture
def models(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Models:
    monkeypatch.chdir(folder)
    monkeypatch.setenv("COLUMNS", "200")
    return Models(folder)


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
    # Another model of the same name is another model, and takes no one's place.
    shutil.copytree(models.folder / "run" / "checkpoint-9", tmp_path / "checkpoint-10")
    other = models.json(str(tmp_path / "checkpoint-10"), *args[1:])
    assert [one["kept"] for one in (other["base"], *other["models"])] == [True, False]
    assert other["models"][0]["tasks"] != kept["models"][0]["tasks"]
    names = [one["name"] for one in read_evaluations(out)["evaluations"]]
    assert names == ["base", "checkpoint-10", str(tmp_path / "checkpoint-10")]


def test_what_was_measured_for_itself_can_become_the_base(models: Models, tmp_path: Path) -> None:
    out = ("--suite", "block.yaml", "--out", str(tmp_path / "measured"))
    models.run("base", *out)
    found = models.json("run/checkpoint-10", "--base", "base", *out)
    assert found["base"]["kept"] is True
    records = read_evaluations(tmp_path / "measured")["evaluations"]
    assert [(one["when"], one["name"]) for one in records] == [
        ("before", "base"), ("after", "checkpoint-10"),
    ]  # fmt: skip
    assert read_items(tmp_path / "measured" / records[0]["items"])[0]["response"]


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
        recipe.write_text(f"{key}: base\nbf16: false\nppx:\n  eval:{block}\n")
        found = models.json("run/checkpoint-10", "--recipe", str(recipe), "--out", "measured")
        assert found["base"]["path"] == "base"
        assert found["comparisons"][0]["drop"]["value"] == pytest.approx(100 / 3)
    # Weights are read as the recipe's host reads them, unless the command says otherwise.
    recipe = tmp_path / "r.trl.yaml"
    recipe.write_text(f"dtype: bfloat16\n{recipe.read_text()}")
    for dtype, kept in (((), False), (("--dtype", "float32"), True)):
        args = ("base", "--recipe", str(recipe), "--no-base", "--out", "measured", *dtype)
        assert models.json(*args)["models"][0]["kept"] is kept
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
    ("settings", "dtype", "computed", "precision"),
    [
        ({"bf16": True, "load_in_4bit": True}, "bfloat16", "bfloat16", "bf16"),
        ({"bf16": "full"}, "bfloat16", None, None),
        ({"bf16": "auto", "fp16": True}, "float16", None, "fp16"),
        ({"load_in_8bit": True}, "float16", "eight bits", None),
        ({}, "float32", None, None),
    ],
)
def test_axolotl_recipes_are_read_without_axolotl(
    settings: dict[str, Any], dtype: str, computed: str | None, precision: str | None
) -> None:
    from ppx_ext.hosts.axolotl_base import loading

    found = loading(settings)
    quantization = found["quantization"]
    assert (found["dtype"], found["precision"]) == (dtype, precision)
    if computed == "eight bits":
        assert quantization.load_in_8bit
    elif computed is None:
        assert quantization is None
    else:
        assert quantization.bnb_4bit_quant_type == "nf4"
        assert quantization.bnb_4bit_use_double_quant
        assert str(quantization.bnb_4bit_compute_dtype) == f"torch.{computed}"


def test_checkpoints_are_taken_in_the_order_of_training_whatever_stands_beside_them() -> None:
    from ppx_ext.evaluating.checkpoints import in_order

    given = ["base", "run/checkpoint-10", "run/checkpoint-9", "run/", "run/checkpoint-9/"]
    assert in_order(given) == ["base", "run/checkpoint-9", "run/checkpoint-10", "run"]
