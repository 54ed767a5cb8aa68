"""The suite `tasks` on real files and a real tiny model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from datasets import Dataset

import ppx_judges
import ppx_ood
from ppx_ext import Item, Subject
from ppx_ext.catalog import load
from ppx_ext.evaluating import measure
from ppx_ext.evaluation import generate_greedy, render_prompt
from ppx_ext.plan import PlanError, parse
from ppx_ood.reading import by_pattern, final_answer
from ppx_ood.tasks import Task, load_items
from tests.models import tiny_model, tiny_tokenizer

GSM8K = r"#### (.+)"


def write(path: Any, rows: Any) -> Any:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(path)


def stage_of(block: Any) -> Any:
    found = parse({"eval": {"use": "tasks", **block}}, load([("ppx-ext", ppx_ood)])).eval
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
    first, second = run(stage_of(block), model, tokenizer)
    assert (first.task, first.correct, first.target) == ("good", (1.0, 1.0, 1.0), True)
    assert (second.task, second.correct, second.target) == ("mixed", (1.0, 0.0), False)
    assert first.items["response"] == answers
    assert first.items["prompt"] == texts
    assert second.items["gold"] == [answers[0], "never"]
    assert first.readings == {}
    block["tasks"] = [{"name": name, **rest} for name, rest in block["tasks"].items()]
    assert run(stage_of(block), model, tokenizer) == [first, second]


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


def read(pattern: str | None, text: str, gold: str) -> tuple[float, Any]:
    found = by_pattern(pattern, "strict")([Item(prompt="", gold=gold)], [text])[0]
    return found.correct, dict(found.readings)


@pytest.mark.parametrize(
    ("text", "gold", "strict", "flexible"),
    [
        ("sum ... #### 72", "he sold 72\n#### 72", 1, 1),
        ("#### 72", "72", 1, 1),
        ("#### 7", "#### 72", 0, 0),
        ("72", "72", 0, 1),  # right, in another format
        ("so he sold $1,072.00.", "#### 1072", 0, 1),
        ("first 72, then 73", "#### 72", 0, 0),
        ("no answer at all", "no marker", 0, 0),
        ("It is No Marker.", "no marker", 0, 1),
        ("a demarker", "marker", 0, 0),
        ("#### 72 apples", "#### 72", 0, 1),
    ],
)
def test_a_lost_format_is_no_lost_skill(
    text: str, gold: str, strict: float, flexible: float
) -> None:
    assert read(GSM8K, text, gold) == (strict, {"strict": strict, "flexible": flexible})


def test_without_a_pattern_the_whole_response_counts() -> None:
    assert read(None, " 72\n", "72") == (1.0, {})
    assert read(None, "it is 72", "72") == (0.0, {})


def test_judges_grade_and_tasks_share_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said = {"a": "So it is #### 1/2", "b": "The answer is 0.5", "c": "#### 3"}

    def generate(model: Any, tokenizer: Any, prompts: Any, **more: Any) -> list[str]:
        return [said[prompt[-len("a<|im_end|>\n<|im_start|>assistant\n")]] for prompt in prompts]

    monkeypatch.setattr("ppx_ext.evaluation.generate_greedy", generate)
    path = write(tmp_path / "t.jsonl", [{"prompt": p, "answer": 0.5} for p in said])
    tasks = {
        "judged": {"path": path, "judge": "math"},
        "both": {"path": path, "judge": "math", "pattern": GSM8K, "target": True},
        "flexible": {"path": path, "judge": "math", "pattern": GSM8K, "reading": "flexible"},
        "plain": {"path": path, "pattern": GSM8K},
    }
    catalog = load([("ppx-ext", ppx_ood), ("ppx-ext", ppx_judges)])
    evaluation = parse({"eval": {"use": "tasks", "tasks": tasks}}, catalog).eval
    assert evaluation is not None
    assert list(evaluation.suites[0].judges) == ["judged"]
    subject = Subject(model=tiny_model("llama"), tokenizer=tiny_tokenizer())
    judged, both, flexible, plain = measure(evaluation, subject)
    right, marked = (1.0, 1.0, 0.0), (1.0, 0.0, 0.0)
    assert (judged.correct, judged.readings) == (right, {})
    assert (both.correct, both.readings) == (marked, {"strict": marked, "flexible": right})
    assert flexible.correct == right
    assert plain.correct == (0.0, 0.0, 0.0)  # 1/2 is not 0.5 as text
    assert judged.items["why"][2].startswith("wrong: ")


def test_any_of_several_golds_is_right(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said = ["in 1878", "1879", "eight"]
    monkeypatch.setattr("ppx_ext.evaluation.generate_greedy", lambda *_, **__: said)
    golds = ["in 1878", ["8", "1879"], ["7"]]
    path = write(
        tmp_path / "t.jsonl", [{"prompt": f"q{i}", "answer": gold} for i, gold in enumerate(golds)]
    )
    task: dict[str, Any] = {"path": path, "judge": "qa"}
    catalog = load([("ppx-ext", ppx_ood), ("ppx-ext", ppx_judges)])
    evaluation = parse({"eval": {"use": "tasks", "tasks": {"t": task}}}, catalog).eval
    assert evaluation is not None
    subject = Subject(model=tiny_model("llama"), tokenizer=tiny_tokenizer())
    (score,) = measure(evaluation, subject)
    assert score.correct == (1.0, 1.0, 0.0)
    assert score.items["gold"] == ["in 1878", "8 | 1879", "7"]
    del task["judge"]
    evaluation = parse({"eval": {"use": "tasks", "tasks": {"t": task}}}, catalog).eval
    assert evaluation is not None
    with pytest.raises(ValueError, match=r"t\.jsonl:2\): field 'answer' is \['8', '1879'\]"):
        measure(evaluation, subject)


def test_a_judge_that_can_tell_nothing_gives_no_score(tmp_path: Path) -> None:
    path = write(tmp_path / "t.jsonl", [{"prompt": "p", "answer": "no mathematics, only words."}])
    block = {"tasks": {"t": {"path": path, "judge": "math"}}, "max_new_tokens": 2}
    catalog = load([("ppx-ext", ppx_ood), ("ppx-ext", ppx_judges)])
    evaluation = parse({"eval": {"use": "tasks", **block}}, catalog).eval
    assert evaluation is not None
    with pytest.raises(ValueError, match=r"'t': the judge cannot tell of any.*gold"):
        measure(evaluation, Subject(model=tiny_model("llama"), tokenizer=tiny_tokenizer()))


def test_other_formats_are_read(tmp_path: Path) -> None:
    rows = [{"prompt": f"p{at}", "answer": at} for at in range(3)]
    Dataset.from_list(rows).to_parquet(str(tmp_path / "t.parquet"))
    (tmp_path / "t.json").write_text(json.dumps(rows), encoding="utf-8")
    for name in ("t.parquet", "t.json"):
        items = load_items(Task(name="t", path=str(tmp_path / name)))
        assert [(item.prompt, item.gold) for item in items] == [
            ("p0", "0"),
            ("p1", "1"),
            ("p2", "2"),
        ]


def test_items_of_a_chat_leave_out_its_last_response(tmp_path: Path) -> None:
    chat = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]
    path = write(tmp_path / "t.jsonl", [{"messages": chat, "answer": 3}] * 3)
    items = load_items(Task(name="t", path=str(path), prompt="messages", limit=2))
    assert [item.prompt for item in items] == [chat[:1]] * 2
    assert items[0].gold == "3"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", r"t\.jsonl:2\): Expecting"),
        ("[1]", r"t\.jsonl:2\): a list stands where"),
        ('{"prompt": "x"}', r"t\.jsonl:2\): no field 'answer' \(it has: prompt\)"),
        ('{"prompt": "", "answer": "a"}', r"t\.jsonl:2\): field 'prompt' is ''"),
        ('{"prompt": "x", "answer": true}', r"t\.jsonl:2\): field 'answer' is True"),
        ('{"prompt": ["x"], "answer": "a"}', r"t\.jsonl:2\): a chat is a list of messages"),
        (
            '{"prompt": [{"role": "assistant", "content": "a"}], "answer": "a"}',
            r"t\.jsonl:2\): the chat has no turn before",
        ),
    ],
)
def test_a_bad_line_is_named(tmp_path: Path, line: str, message: str) -> None:
    path = tmp_path / "t.jsonl"
    path.write_text('{"prompt": "p", "answer": "a"}\n' + line + "\n", encoding="utf-8")
    with pytest.raises(ValueError, match=message) as error:
        load_items(Task(name="t", path=str(path)))
    assert str(path) in str(error.value)


def test_a_missing_or_empty_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"there is no file .*gone\.jsonl"):
        load_items(Task(name="t", path=str(tmp_path / "gone.jsonl")))
    (tmp_path / "empty.jsonl").write_text("\n")
    with pytest.raises(ValueError, match="has no row"):
        load_items(Task(name="t", path=str(tmp_path / "empty.jsonl")))


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
