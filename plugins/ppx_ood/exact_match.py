"""`exact_match`: the user's own tasks from JSONL files, greedy, graded by the final answer."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pydantic

from ppx_ext import EvalSuite, Item, Subject, TaskScore, score_items


class _Settings(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="forbid", frozen=True)


class Task(_Settings):
    """One task: a JSONL file, one object with a prompt and an answer a line.

    Attributes:
        name: how reports call it; two tasks may not share one.
        path: the file, from the folder in which the command runs.
        prompt: the field with the user's turn (a string) or with the chat (a list of messages;
            a last assistant turn is left out).
        answer: the field with the gold answer (a string or a number).
        target: True for the task that is trained on; its gain is TI, the others' loss is BWT.
        pattern: regular expression of the final answer, for instance ``#### (.+)``. Its last
            match counts, its first group if it has one. A gold answer that does not match it is
            taken whole. Without it, the whole response counts. Blanks at both ends never count.
        limit: measure only the first so many lines.
    """

    name: str = pydantic.Field(min_length=1)
    path: Path
    prompt: str = "prompt"
    answer: str = "answer"
    target: bool = False
    pattern: str | None = None
    limit: int | None = pydantic.Field(default=None, gt=0)

    @pydantic.field_validator("pattern")
    @classmethod
    def _compiles(cls, pattern: str | None) -> str | None:
        try:
            re.compile(pattern or "")
        except re.error as error:
            raise ValueError(f"not a regular expression: {error}") from error
        return pattern


class ExactMatchSettings(_Settings):
    """Settings of `exact_match`.

    Attributes:
        tasks: a list of tasks, or a mapping from name to the rest of each.
        max_new_tokens: longest response; a longer one is cut and most likely wrong.
        batch_size: prompts answered at once.
    """

    tasks: tuple[Task, ...] = pydantic.Field(min_length=1)
    max_new_tokens: int = pydantic.Field(default=256, gt=0)
    batch_size: int = pydantic.Field(default=32, gt=0)

    @pydantic.field_validator("tasks", mode="before")
    @classmethod
    def _named(cls, tasks: Any) -> Any:
        if not isinstance(tasks, Mapping):
            return tasks
        return [
            {**rest, "name": name} if isinstance(rest, Mapping) else rest
            for name, rest in tasks.items()
        ]

    @pydantic.field_validator("tasks")
    @classmethod
    def _unique(cls, tasks: tuple[Task, ...]) -> tuple[Task, ...]:
        names = [task.name for task in tasks]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"two tasks share the name {', '.join(map(repr, twice))}")
        return tasks


def evaluate(settings: ExactMatchSettings, model: Any, tokenizer: Any) -> list[TaskScore]:
    """Every task's score. All files are read before the first response is generated.

    Raises:
        ValueError: a file lacks, a line is no object, or a field is missing (file and line named).
    """
    items = [load_items(task) for task in settings.tasks]
    return [
        score_items(
            model,
            tokenizer,
            found,
            task=task.name,
            target=task.target,
            grade=grader(task.pattern),
            max_new_tokens=settings.max_new_tokens,
            batch_size=settings.batch_size,
        ).score
        for task, found in zip(settings.tasks, items, strict=True)
    ]


def load_items(task: Task) -> list[Item]:
    """The items of a task's file.

    Raises:
        ValueError: see `evaluate`.
    """
    items = []
    for number, row in _rows(task):
        where = f"task {task.name!r}, {task.path}, line {number}"
        prompt = _field(row, task.prompt, (str, list), where)
        answer = _field(row, task.answer, (str, int, float), where)
        if isinstance(prompt, list):
            prompt = _without_response(prompt, where)
        items.append(Item(prompt=prompt, gold=str(answer)))
        if len(items) == task.limit:
            break
    if not items:
        raise ValueError(f"task {task.name!r}: {task.path} has no line")
    return items


def _rows(task: Task) -> Iterator[tuple[int, Mapping[str, Any]]]:
    try:
        with task.path.open(encoding="utf-8") as lines:
            for number, line in enumerate(lines, start=1):
                if line.strip():
                    yield number, _object(line, f"task {task.name!r}, {task.path}, line {number}")
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"task {task.name!r}: cannot read {task.path}: {error}") from error


def _object(line: str, where: str) -> Mapping[str, Any]:
    try:
        row = json.loads(line)
    except json.JSONDecodeError as error:
        raise ValueError(f"{where}: not JSON: {error}") from error
    if not isinstance(row, dict):
        raise ValueError(f"{where}: a {type(row).__name__}, not an object with fields")
    return row


def _field(row: Mapping[str, Any], name: str, types: tuple[type, ...], where: str) -> Any:
    if name not in row:
        has = ", ".join(sorted(row)) or "none"
        raise ValueError(
            f"{where}: no field {name!r} (it has: {has}). Name yours in the task's `prompt:` and "
            "`answer:`"
        )
    value = row[name]
    if not isinstance(value, types) or isinstance(value, bool) or value in ("", []):
        wanted = " or ".join(kind.__name__ for kind in types)
        raise ValueError(f"{where}: field {name!r} is {value!r}; a non-empty {wanted} is needed")
    return value


def _without_response(messages: list[Any], where: str) -> list[Any]:
    if not all(isinstance(turn, dict) and {"role", "content"} <= turn.keys() for turn in messages):
        raise ValueError(f"{where}: a chat is a list of messages with `role` and `content`")
    prompt = messages[:-1] if messages[-1]["role"] == "assistant" else messages
    if not prompt:
        raise ValueError(f"{where}: the chat has no turn before the response")
    return prompt


def final_answer(text: str, pattern: str | None) -> str | None:
    """The last match of ``pattern`` in ``text`` (its first group), or None; all without one."""
    if pattern is None:
        return text.strip()
    found = list(re.finditer(pattern, text))
    if not found:
        return None
    return (found[-1].group(1 if found[-1].re.groups else 0) or "").strip()


def _grade(pattern: str | None, text: str, gold: str) -> bool:
    wanted = final_answer(gold, pattern)
    return final_answer(text, pattern) == (gold.strip() if wanted is None else wanted)


def grader(pattern: str | None) -> Callable[[str, str], bool]:
    """``grade(response, gold)``: whether both end in the same answer."""
    return partial(_grade, pattern)


def _evaluate(settings: Any, subject: Subject) -> Sequence[TaskScore]:
    return evaluate(settings, subject.model, subject.tokenizer)


EXACT_MATCH = EvalSuite(
    name="exact_match",
    paper="arXiv 2501.14315",
    settings=ExactMatchSettings,
    evaluate=_evaluate,
)
