"""The suite `code`: real MBPP, HumanEval's shape, programs run in the real sandbox."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import ppx_judges
import ppx_ood
from ppx_ext import Item, Subject, Verdict
from ppx_ext.catalog import load
from ppx_ext.plan import PlanError, parse
from ppx_ood import code
from ppx_ood.code import CodeSettings, CodeTask, load_items
from ppx_ood.programs import completed
from tests.models import tiny_model, tiny_tokenizer
from tests.plugins.judges.sandboxed import needs_bubblewrap, opened

HUMANEVAL = {
    "task_id": "HumanEval/0",
    "prompt": (
        "from typing import List\n\n\ndef half(x: int) -> float:\n    return x / 2\n\n\n"
        'def middle(numbers: List[int]) -> float:\n    """The mean of all.\n'
        '    >>> middle([1, 3])\n    2.0\n    """\n'
    ),
    "entry_point": "middle",
    "canonical_solution": "    return sum(numbers) / len(numbers)\n",
    "test": (
        "METADATA = {}\n\n\ndef check(candidate):\n    assert candidate([1, 3]) == 2.0\n"
        "    assert candidate([4]) == 4.0\n"
    ),
}
BODY = "    return sum(numbers) / len(numbers)\n"


def write(path: Path, rows: list[Any]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(path)


def test_mbpp_is_asked_as_the_paper_does(data_dir: Path) -> None:
    path = data_dir / "mbpp_validation.jsonl"
    items = load_items(CodeTask(name="mbpp", path=str(path)), chat=True)
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    # The file has the prompts that the authors of arXiv 2501.14315 published.
    assert [item.prompt for item in items] == [row["prompt"] for row in rows]
    assert [item.row["tests"] for item in items] == [row["test_list"] for row in rows]
    assert len(items) == 90


def test_the_further_tests_of_mbpp_plus_are_run() -> None:
    row = {"prompt": "Add.", "code": "", "test_list": ["assert f(1) == 1"], "test": "assert f(2)"}
    item = code._mbpp(row, "here", True)
    assert item.row["tests"] == "assert f(2)"
    assert ">>> Problem:\nAdd.\n>>> Test Cases:\nassert f(1) == 1\n" in str(item.prompt)


WHOLE = f"def middle(numbers):\n{BODY}"
RESPONSES = [
    ("a bare completion", BODY + "\n\ndef more(:\n", False, True),
    ("a bare completion, then talk", BODY + "# Try it\nprint(middle(", False, True),
    ("a wrong completion", "    return 0\n", False, False),
    ("the whole function", f"Sure.\n```python\n{WHOLE}```\nDone.", True, True),
    ("with helper and import of the prompt", "```python\ndef middle(numbers: List[int]):\n"
     "    return half(2 * sum(numbers) / len(numbers))\n```", True, True),
    ("the body alone", f"```python\n{BODY}```", True, True),
    ("the body alone, at the margin", "```\nreturn sum(numbers) / len(numbers)\n```", True, True),
    ("no block", WHOLE, True, True),
    ("a wrong function", f"```python\n{WHOLE.replace('sum', 'max')}```", True, False),
    ("nothing", "", True, False),
]  # fmt: skip


@needs_bubblewrap
def test_humaneval_is_a_completion_or_a_function() -> None:
    task = CodeTask(name="mine", path="-", style="humaneval")
    with opened(sessions=2) as judge:
        for what, response, chat, right in RESPONSES:
            item = code._humaneval(HUMANEVAL, "here", chat)
            grade = code._completing(code.by_judge(judge.judge, None, "strict"), chat)
            (graded,) = grade([item], [response])
            assert graded.correct == float(right), f"{what}: {graded.why}"
    assert task.source == ("-", "humaneval")


def test_a_completion_ends_where_something_else_begins() -> None:
    said = "    return 1\n\n\nclass Other:\n    pass\n"
    assert completed("def f():\n", "f", said, chat=False) == "def f():\n    return 1\n\n"


def test_humaneval_is_asked_by_what_the_model_is(tmp_path: Path) -> None:
    task = CodeTask(name="humaneval", path=write(tmp_path / "h.jsonl", [HUMANEVAL]))
    (bare,) = load_items(task, chat=False)
    assert bare.prompt == HUMANEVAL["prompt"]
    (chat,) = load_items(task, chat=True)
    assert str(chat.prompt).startswith("Complete this Python function.")
    assert chat.gold == HUMANEVAL["prompt"] + BODY


def spoken(monkeypatch: pytest.MonkeyPatch, said: Any) -> None:
    """Let the model say this: a tiny one says no program."""
    from ppx_ext import evaluation

    def generate(model: Any, tokenizer: Any, prompts: Any, **more: Any) -> list[str]:
        return [said(prompt) for prompt in prompts]

    monkeypatch.setattr(evaluation, "generate_greedy", generate)


@needs_bubblewrap
def test_golds_pass_and_others_do_not(
    data_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [
        json.loads(line)
        for line in (data_dir / "mbpp_validation.jsonl").read_text(encoding="utf-8").splitlines()
    ]
    golds = {row["prompt"]: row["response"] for row in rows[:6]}
    wrong = rows[5]["prompt"]

    def said(prompt: str) -> str:
        asked = prompt.removeprefix("<|im_start|>user\n").split("<|im_end|>")[0]
        if asked == wrong:
            return "```python\ndef nothing():\n    pass\n```"
        return golds.get(asked, f"```python\n{WHOLE}```")

    spoken(monkeypatch, said)
    tasks = {
        "mbpp": {"path": str(data_dir / "mbpp_validation.jsonl"), "limit": 6, "target": True},
        "humaneval": {"path": write(tmp_path / "h.jsonl", [HUMANEVAL])},
    }
    settings = CodeSettings(tasks=tasks)  # type: ignore[arg-type]
    with opened(sessions=2) as judge:
        subject = Subject(
            model=tiny_model("llama"), tokenizer=tiny_tokenizer(), judges={"code": judge.judge}
        )
        mbpp, humaneval = code.evaluate(settings, subject)
    assert mbpp.correct == (1.0, 1.0, 1.0, 1.0, 1.0, 0.0)
    assert mbpp.target
    assert mbpp.items["why"][5].startswith("wrong: ")
    assert humaneval.correct == (1.0,)


def test_a_judge_that_can_tell_nothing_gives_no_score(tmp_path: Path) -> None:
    from ppx_ext.answering import Judgement

    def judge(answers: Any) -> list[Verdict]:
        return [Verdict(judgement=Judgement.UNKNOWN, reason="no sandbox") for _ in answers]

    path = write(tmp_path / "h.jsonl", [HUMANEVAL])
    settings = CodeSettings(tasks={"humaneval": {"path": path}}, max_new_tokens=2)  # type: ignore[arg-type]
    subject = Subject(model=tiny_model("llama"), tokenizer=tiny_tokenizer(), judges={"code": judge})
    with pytest.raises(ValueError, match=r"'humaneval'.*no score.*no sandbox"):
        code.evaluate(settings, subject)


def test_the_judge_is_asked_for_in_a_recipe() -> None:
    catalog = load([("ppx-ext", ppx_ood), ("ppx-ext", ppx_judges)])
    block = {"use": "code", "tasks": ["mbpp", "humaneval"], "judge": {"use": "code", "timeout": 3}}
    plan = parse({"eval": block}, catalog)
    assert plan.eval is not None
    (judge,) = plan.eval.suites[0].judges["code"]
    assert judge.stage.settings.timeout == 3
    with pytest.raises(PlanError, match="give its `path` and its `style`"):
        parse({"eval": {"use": "code", "tasks": ["mine"]}}, catalog)
    assert Item(prompt="p", gold="g").row == {}
