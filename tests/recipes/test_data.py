"""The data scripts: rows of the published shape -> chats that recipes and their tests can read."""

from __future__ import annotations

import json
import runpy
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ppx_ext import catalog, plan, recipes
from ppx_ext.chats import Skip
from ppx_ext.rows import Fields, canonical_rows
from ppx_judges.final_answers import MARKERS, compile_markers, final_answer
from ppx_ood.tasks import TasksSettings
from tests.recipes.maker import facts

DATA = (
    facts.MBPP,
    facts.MATH,
    facts.GSM8K,
    facts.NQ,
    facts.OPENR1,
    facts.OPENMATH,
    facts.OPENSCIENCE,
)
COLUMNS = {
    "mbpp": "task_id text code test_list test_setup_code challenge_test_list",
    "math": "problem level type solution",
    "gsm8k": "question answer",
    "nq": "subset context qid question answers",
    "openr1-math": "messages original_solution domain source",
    "openmath": "problem generated_solution expected_answer problem_source",
    "openscience": "input output",
}
"""As the hub's pages publish them (of MRQA's, those that are read)."""


def script(data: facts.Data) -> dict[str, Any]:
    return runpy.run_path(str(recipes.find(f"data/{data.script}")))


def real(folder: Path, name: str) -> list[dict[str, Any]]:
    lines = (folder / f"{name}.jsonl").read_text(encoding="utf-8").split("\n")
    return [json.loads(line) for line in lines if line]


@pytest.fixture
def written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[facts.Data], Path]:
    """Runs a data script on its made-up rows, in the folder that recipes expect."""
    monkeypatch.chdir(tmp_path)

    def write(data: facts.Data) -> Path:
        folder = Path("data") / data.key
        monkeypatch.setattr(sys, "argv", [data.script, str(folder), "--examples", "3"])
        runpy.run_path(str(recipes.find(f"data/{data.script}")), run_name="__main__")
        return folder

    return write


@pytest.mark.parametrize("data", DATA, ids=lambda data: data.key)
def test_rows_of_the_published_shape_become_chats(
    data: facts.Data, written: Callable[[facts.Data], Path]
) -> None:
    made_up = script(data)["made_up"]
    assert sorted(made_up(0)) == sorted(COLUMNS[data.key].split())
    folder = written(data)
    for split in ("train", "validation"):
        # No names are given: as a recipe's rows are read.
        rows = [row for _, row in canonical_rows(folder, chat=True, fields=Fields(), split=split)]
        lengths = set()
        for row in rows:
            assert not isinstance(row, Skip)
            lengths.add(len(row["messages"][-1]["content"]))
            assert [turn["role"] for turn in row["messages"]][-2:] == ["user", "assistant"]
        assert (len(rows), len(lengths)) == (3, 3)  # none twice, and of several difficulties


@pytest.mark.parametrize(
    ("data", "recipe"),
    [
        (facts.MATH, "stm/gemma-2-2b-it/math.trl"),
        (facts.GSM8K, "s3ft/mistral-7b-instruct-v0.2/gsm8k.trl"),
        (facts.NQ, "s3ft/mistral-7b-instruct-v0.2/nq.trl"),
    ],
)
def test_the_target_is_measured_on_what_the_script_writes(
    data: facts.Data, recipe: str, written: Callable[[facts.Data], Path]
) -> None:
    written(data)
    found = plan.parse(recipes.load(recipe).block, catalog.load())
    assert found.eval is not None
    stage = found.eval.suites[0].stage
    assert isinstance(stage.settings, TasksSettings)
    assert [task.target for task in stage.settings.tasks] == [True]
    stage.component.check(stage.settings)


@pytest.mark.parametrize("split", ["train", "validation"])
def test_mbpp_chats_equal_the_authors_own(data_dir: Path, split: str) -> None:
    chat = script(facts.MBPP)["chat"]
    rows = real(data_dir, f"mbpp_{split}")
    assert len(rows) == {"train": 374, "validation": 90}[split]
    for row in rows:
        made = chat(row)
        user, assistant = made["messages"]
        assert made["test_list"] == row["test_list"]
        assert (user["role"], user["content"]) == ("user", row["prompt"])
        assert (assistant["role"], assistant["content"]) == ("assistant", row["response"])


def test_gsm8k_chats_end_in_their_answers(data_dir: Path) -> None:
    chat, markers = script(facts.GSM8K)["chat"], compile_markers(MARKERS)
    rows = real(data_dir, "gsm8k_train")
    assert len(rows) == 7473
    for row in rows:
        made = chat(row)
        user, assistant = made["messages"]
        answer = row["answer"].rpartition("####")[2].strip()
        assert user["content"].startswith(row["question"])
        assert user["content"].endswith("formatted as: The answer is {answer}.")
        assert assistant["content"].endswith(f"\nThe answer is {answer}.")
        assert "<<" not in assistant["content"]
        assert made["final_answer"] == answer
        assert (final_answer(assistant["content"], markers) or "").rstrip(".") == answer


def test_gsm8k_says_which_answer_it_cannot_read() -> None:
    with pytest.raises(ValueError, match="no ####: 'Twelve'"):
        script(facts.GSM8K)["chat"]({"question": "How many?", "answer": "Twelve"})


def test_openr1_says_which_row_is_not_of_its_shape() -> None:
    row = {"messages": [{"role": "user", "content": "Why?"}], "original_solution": "", "domain": ""}
    with pytest.raises(ValueError, match="not a system's turn, a question and an answer"):
        script(facts.OPENR1)["chat"](row)


def test_math_is_asked_for_in_the_authors_words() -> None:
    found = script(facts.MATH)
    row = {"problem": "What is $1 + 1$?", "solution": r"$\boxed{2}$", "level": "1", "type": "x"}
    user, gold = found["chat"](row)["messages"]
    assert user["content"] == (
        "Given a mathematics problem, determine the answer.\nProblem : What is $1 + 1$?\nAnswer: $"
    )
    assert gold["content"] == r"$\boxed{2}$"
    test, _ = found["chat"](row, found["TEST_PROMPT"])["messages"]
    assert test["content"].startswith("Solve the following math problem step by step. The last")
    assert test["content"].endswith("and you do not need to use a \\boxed command.")


def test_nq_asks_with_the_passage_and_keeps_all_answers() -> None:
    row = {
        "context": " Built in 1878 . ",
        "question": "when was it built ?",
        "answers": ["1878", "8"],
    }
    made = script(facts.NQ)["chat"](row)
    user, gold = made["messages"]
    assert user["content"].endswith("Passage: Built in 1878 .\n\nQuestion: when was it built?")
    assert (gold["content"], made["answers"]) == ("1878", ["1878", "8"])
