"""`tasks`: the user's own prompts and golds, graded by a pattern or by any judge."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pydantic

from ppx_ext import EvalSuite, Grade, Item, Planned, Subject, TaskScore, score_items
from ppx_ood.items import FILES, item_of, rows_of
from ppx_ood.reading import Reading, by_judge, by_pattern, refuse_untold
from ppx_ood.settings import Named, Settings, named, none_twice


class Task(Named):
    """One task: rows with a prompt and an answer each.

    Attributes:
        name: how reports call it; two tasks may not share one.
        path: JSONL, JSON, Parquet or Arrow (paths start in the folder in which the command runs),
            or a hub id.
        split: of a hub id.
        prompt: the field with the user's turn (a string) or with the chat (a list of messages;
            a last assistant turn is left out).
        answer: the field with the gold answer (a string or a number; for a judge that takes several
            golds, as ``qa``, a list too); null for a judge that needs none.
        target: True for the task that is trained on; its gain is TI, the others' loss is BWT.
        judge: any installed judge, as `ppx.build.judge` takes it; without one, answers are
            compared as text.
        pattern: regular expression of the final answer, for instance ``#### (.+)``: the format
            that the prompt asks for. Its last match counts, its first group if it has one. A gold
            answer that does not match it is taken whole. With it, each response is read twice:
            ``strict`` counts what is right and in that format, ``flexible`` what is right.
        reading: which of the two is the score; the other one is beside it.
        limit: measure only the first so many rows.
    """

    path: str = pydantic.Field(min_length=1)
    split: str = "test"
    prompt: str = "prompt"
    answer: str | None = "answer"
    target: bool = False
    judge: Any = None
    pattern: str | None = None
    reading: Reading = "strict"
    limit: int | None = pydantic.Field(default=None, gt=0)

    @pydantic.field_validator("pattern")
    @classmethod
    def _compiles(cls, pattern: str | None) -> str | None:
        try:
            re.compile(pattern or "")
        except re.error as error:
            raise ValueError(f"not a regular expression: {error}") from error
        return pattern

    @pydantic.model_validator(mode="after")
    def _gradable(self) -> Task:
        if self.answer is None and self.judge is None:
            raise ValueError(
                "give the field of the golds as `answer`, or a `judge` that needs none"
            )
        return self


class TasksSettings(Settings):
    """Settings of `tasks`.

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
        return named(tasks)

    @pydantic.field_validator("tasks")
    @classmethod
    def _unique(cls, tasks: tuple[Task, ...]) -> tuple[Task, ...]:
        none_twice([task.name for task in tasks])
        return tasks


def judges(settings: TasksSettings) -> Mapping[str, Any]:
    """The judges that the tasks name; tasks that name the same one share it."""
    blocks = {_key(task): task.judge for task in reversed(settings.tasks) if task.judge is not None}
    first = _first_names(settings)
    return {first[key]: block for key, block in blocks.items()}


def _first_names(settings: TasksSettings) -> dict[str, str]:
    return {_key(task): task.name for task in reversed(settings.tasks)}


def _key(task: Task) -> str:
    return json.dumps(task.judge, sort_keys=True)


def load_items(task: Task) -> list[Item]:
    """The items of a task.

    Raises:
        ValueError: a file lacks, a row cannot be read, or a field is missing (file and row named).
    """
    rows = rows_of(task.name, task.path, split=task.split, limit=task.limit)
    several = task.judge is not None
    return [
        item_of(row, prompt=task.prompt, answer=task.answer, where=where, several=several)
        for where, row in rows
    ]


def evaluate(settings: TasksSettings, subject: Subject) -> list[TaskScore]:
    """Every task's score. All files are read before the first response is generated.

    Raises:
        ValueError: as `load_items`; or a judge can tell of no response.
    """
    items = [load_items(task) for task in settings.tasks]
    return [
        _score(task, found, settings, subject)
        for task, found in zip(settings.tasks, items, strict=True)
    ]


def _score(
    task: Task, items: Sequence[Item], settings: TasksSettings, subject: Subject
) -> TaskScore:
    score = score_items(
        subject,
        items,
        task=task.name,
        target=task.target,
        grade=_grade(task, settings, subject),
        max_new_tokens=settings.max_new_tokens,
        batch_size=settings.batch_size,
    )
    return score if task.judge is None else refuse_untold(score)


def _grade(task: Task, settings: TasksSettings, subject: Subject) -> Grade:
    if task.judge is None:
        return by_pattern(task.pattern, task.reading)
    judge = subject.judges[_first_names(settings)[_key(task)]]
    return by_judge(judge, task.pattern, task.reading)


def check(settings: TasksSettings) -> None:
    """Read every file; hub ids are read when the model is first measured.

    Raises:
        ValueError: as `load_items`.
    """
    for task in settings.tasks:
        if task.path.endswith(FILES) or Path(task.path).exists():
            load_items(task)


def planned(settings: TasksSettings) -> Mapping[str, Planned]:
    """The tasks by their names."""
    return {task.name: "target" if task.target else "other" for task in settings.tasks}


TASKS = EvalSuite(
    name="tasks",
    paper="arXiv 2501.14315",
    settings=TasksSettings,
    evaluate=evaluate,
    judges=judges,
    check=check,
    planned=planned,
)
