"""The suite `exact_match` on real files and a real tiny model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import ppx_ood
from ppx_ext import Subject, TaskScore
from ppx_ext.catalog import load
from ppx_ext.evaluation import generate_greedy, render_prompt
from ppx_ext.plan import PlanError, parse
from ppx_ood.exact_match import Task, final_answer, grader, load_items
from tests.models import tiny_model, tiny_tokenizer

GSM8K = r"#### (.+)"


def write(path: Any, rows: Any) -> Any:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(path)


def stage_of(block: Any) -> Any:
    found = parse({"eval": {"use": "exact_match", **block}}, load([("ppx-ext", ppx_ood)])).eval
    assert found is not None
    return found.suites[0].stage


def run(stage: Any, model: Any, tokenizer: Any) -> Any:
    return stage.component.evaluate(stage.settings, Subject(model=model, tokenizer=tokenizer))


def test_a_recipes_block_measures_the_model(tmp_path: Path) -> None:
    model, tokenizer = tiny_model("llama"), tiny_tokenizer()
    prompts = ["What is 2 + 3?", "Hi", "a b"]
    texts = [render_prompt(tokenizer, prompt) for prompt in prompts]
    answers = generate_greedy(model, tokenizer, texts, max_new_tokens=5)
    good = [{"q": p, "a": " " + a} for p, a in zip(prompts, answers, strict=True)]
    mixed = [
        {"messages": [{"role": "user", "content": prompts[0]}], "answer": answers[0]},
        {"messages": [{"role": "user", "content": prompts[1]}], "answer": "never"},
    ]
    fields = {"prompt": "q", "answer": "a", "target": True}
    block = {
        "tasks": {
            "good": {"path": write(tmp_path / "good.jsonl", good), **fields},
            "mixed": {"path": write(tmp_path / "mixed.jsonl", mixed), "prompt": "messages"},
        },
        "max_new_tokens": 5,
        "batch_size": 2,
    }
    expected = [
        TaskScore(task="good", correct=(True, True, True), target=True),
        TaskScore(task="mixed", correct=(True, False)),
    ]
    assert run(stage_of(block), model, tokenizer) == expected
    block["tasks"] = [{"name": name, **rest} for name, rest in block["tasks"].items()]
    assert run(stage_of(block), model, tokenizer) == expected


@pytest.mark.parametrize(
    ("text", "pattern", "answer"),
    [
        ("so 3\n#### 7\nno, 8\n#### 8 ", GSM8K, "8"),
        (" whole \n", None, "whole"),
        ("no marker", GSM8K, None),
        ("Answer: B", r"[A-D]$", "B"),
    ],
)
def test_the_last_match_is_the_answer(text: str, pattern: str | None, answer: str | None) -> None:
    assert final_answer(text, pattern) == answer


def test_gold_is_read_by_the_same_pattern_or_taken_whole() -> None:
    grade = grader(GSM8K)
    assert grade("sum ... #### 72", "he sold 72\n#### 72")
    assert grade("#### 72", "72")
    assert not grade("#### 7", "#### 72")
    assert not grade("72", "72")
    assert not grade("no answer at all", "no marker")


def test_items_of_a_chat_leave_out_its_last_response(tmp_path: Path) -> None:
    chat = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]
    path = write(tmp_path / "t.jsonl", [{"messages": chat, "answer": 3}] * 3)
    items = load_items(Task(name="t", path=path, prompt="messages", limit=2))
    assert [item.prompt for item in items] == [chat[:1]] * 2
    assert items[0].gold == "3"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", r"line 2: not JSON"),
        ("[1]", r"line 2: a list, not an object"),
        ('{"prompt": "x"}', r"line 2: no field 'answer' \(it has: prompt\)"),
        ('{"prompt": "", "answer": "a"}', r"line 2: field 'prompt' is ''"),
        ('{"prompt": "x", "answer": true}', r"line 2: field 'answer' is True"),
        ('{"prompt": ["x"], "answer": "a"}', r"line 2: a chat is a list of messages"),
        (
            '{"prompt": [{"role": "assistant", "content": "a"}], "answer": "a"}',
            r"line 2: the chat has no turn before",
        ),
    ],
)
def test_a_bad_line_is_named(tmp_path: Path, line: str, message: str) -> None:
    path = tmp_path / "t.jsonl"
    path.write_text('{"prompt": "p", "answer": "a"}\n' + line + "\n", encoding="utf-8")
    with pytest.raises(ValueError, match=message) as error:
        load_items(Task(name="t", path=path))
    assert str(path) in str(error.value)


def test_a_missing_or_empty_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"cannot read .*gone\.jsonl"):
        load_items(Task(name="t", path=tmp_path / "gone.jsonl"))
    (tmp_path / "empty.jsonl").write_text("\n")
    with pytest.raises(ValueError, match="has no line"):
        load_items(Task(name="t", path=tmp_path / "empty.jsonl"))


def test_wrong_settings_are_told_with_their_key() -> None:
    tasks = [{"name": "a", "path": "x", "patern": "("}, {"name": "a", "path": "x", "pattern": "("}]
    with pytest.raises(PlanError) as error:
        stage_of({"tasks": tasks, "batch_size": 0})
    problems = "\n".join(error.value.problems)
    assert "ppx.eval.tasks.0.patern: unknown key" in problems
    assert "ppx.eval.tasks.1.pattern: not a regular expression" in problems
    assert "ppx.eval.batch_size" in problems
    with pytest.raises(PlanError, match="share the name 'a'"):
        stage_of({"tasks": [{"name": "a", "path": "x"}] * 2})
    with pytest.raises(PlanError, match=r"ppx\.eval\.tasks"):
        stage_of({"tasks": []})
