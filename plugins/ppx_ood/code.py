"""`code`: MBPP and HumanEval, greedy, pass@1, run in the sandbox of the judge `code`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, TypeAlias

import pydantic

from ppx_ext import EvalSuite, Grade, Item, Planned, Subject, TaskScore, score_items
from ppx_ood.items import FILES, field_of, rows_of
from ppx_ood.programs import completed
from ppx_ood.reading import by_judge, refuse_untold
from ppx_ood.settings import Named, Settings, named, none_twice

Style: TypeAlias = Literal["mbpp", "humaneval"]

KNOWN: Mapping[str, tuple[str, Style]] = {
    "mbpp": ("google-research-datasets/mbpp", "mbpp"),
    "mbpp_plus": ("evalplus/mbppplus", "mbpp"),
    "humaneval": ("openai/openai_humaneval", "humaneval"),
    "humaneval_plus": ("evalplus/humanevalplus", "humaneval"),
}
"""Name -> hub id and shape of its rows. arXiv 2501.14315 measures MBPP with the 378 tasks and the
tests of MBPP+ (section 1.4 of its data)."""

MBPP = (
    "Please refer the given test cases and generate a python function for my problem. Make sure "
    "the written code is wrapped in code block : ```python\n<your code>\n```\n>>> Problem:\n{text}"
    "\n>>> Test Cases:\n{tests}\n"
)
"""The prompt of arXiv 2501.14315 for MBPP, in training and in evaluation."""

HUMANEVAL = (
    "Complete this Python function. Write all of it, with what it imports, in one code block.\n"
    "```python\n{prompt}\n```"
)
"""For a chat. Without a chat template the model goes on with the bare prompt, as HumanEval asks."""


class CodeTask(Named):
    """Programming tasks.

    Attributes:
        name: ``mbpp``, ``mbpp_plus``, ``humaneval``, ``humaneval_plus``, or your own.
        path: a file (JSONL, JSON, Parquet, Arrow) or a hub id; the known names have theirs.
        style: shape of the rows; the known names have theirs. ``mbpp`` has ``text`` (or
            ``prompt``), ``code`` and ``test_list`` (or ``test``); ``humaneval`` has ``prompt``,
            ``canonical_solution``, ``test`` and ``entry_point``.
        split: of a hub id.
        target: True for the task that is trained on.
        limit: measure only the first so many rows.
    """

    path: str = ""
    style: Style | None = None
    split: str = "test"
    target: bool = False
    limit: int | None = pydantic.Field(default=None, gt=0)

    @pydantic.model_validator(mode="after")
    def _found(self) -> CodeTask:
        if self.name not in KNOWN and not (self.path and self.style):
            raise ValueError(
                f"{self.name!r} is not one of {', '.join(KNOWN)}: give its `path` and its `style`, "
                "mbpp or humaneval"
            )
        return self

    @property
    def source(self) -> tuple[str, Style]:
        """Where the rows are, and their shape."""
        path, style = KNOWN.get(self.name, ("", "mbpp"))
        return self.path or path, self.style or style


class CodeSettings(Settings):
    """Settings of `code`.

    Attributes:
        tasks: names, or mappings with ``name`` and the settings of each; also a mapping from name
            to the rest.
        judge: that runs the programs; give it whole to change its time, memory or sandbox.
        max_new_tokens: longest response; arXiv 2501.14315 allows 1024.
        batch_size: prompts answered at once.
    """

    tasks: tuple[CodeTask, ...] = pydantic.Field(min_length=1)
    judge: Any = "code"
    max_new_tokens: int = pydantic.Field(default=1024, gt=0)
    batch_size: int = pydantic.Field(default=32, gt=0)

    @pydantic.field_validator("tasks", mode="before")
    @classmethod
    def _named(cls, tasks: Any) -> Any:
        return named(tasks)

    @pydantic.field_validator("tasks")
    @classmethod
    def _unique(cls, tasks: tuple[CodeTask, ...]) -> tuple[CodeTask, ...]:
        none_twice([task.name for task in tasks])
        return tasks


def load_items(task: CodeTask, *, chat: bool) -> list[Item]:
    """The items of a task, with what the judge reads in their rows.

    Args:
        chat: the tokenizer has a chat template.

    Raises:
        ValueError: there is no file, a row cannot be read, or a field is missing.
    """
    path, style = task.source
    make = _mbpp if style == "mbpp" else _humaneval
    rows = rows_of(task.name, path, split=task.split, limit=task.limit)
    return [make(row, where, chat) for where, row in rows]


def _mbpp(row: Mapping[str, Any], where: str, chat: bool) -> Item:
    text = field_of(row, "text" if "text" in row else "prompt", (str,), where)
    shown = list(field_of(row, "test_list", (list,), where))
    # MBPP+ has its further tests in `test`; its prompt shows those of MBPP.
    tests = field_of(row, "test", (str,), where) if "test" in row else shown
    prompt = MBPP.format(text=text, tests="\n".join(shown))
    return Item(prompt=prompt, gold=str(row.get("code", "")), row={**row, "tests": tests})


def _humaneval(row: Mapping[str, Any], where: str, chat: bool) -> Item:
    asked = field_of(row, "prompt", (str,), where)
    field_of(row, "entry_point", (str,), where)
    tests = field_of(row, "test", (str,), where)
    gold = asked + str(row.get("canonical_solution", ""))
    prompt = HUMANEVAL.format(prompt=asked.strip()) if chat else asked
    return Item(prompt=prompt, gold=gold, row={**row, "tests": tests, "signature": asked})


def evaluate(settings: CodeSettings, subject: Subject) -> list[TaskScore]:
    """Every task's share of programs that pass all tests, pass@1 of greedy responses.

    Raises:
        ValueError: as `load_items`; or the judge can tell of no program.
    """
    chat = bool(getattr(subject.tokenizer, "chat_template", None))
    items = [load_items(task, chat=chat) for task in settings.tasks]
    judged = by_judge(subject.judges["code"], None, "strict")
    return [
        refuse_untold(
            score_items(
                subject,
                found,
                task=task.name,
                target=task.target,
                grade=judged if task.source[1] == "mbpp" else _completing(judged, chat),
                max_new_tokens=settings.max_new_tokens,
                batch_size=settings.batch_size,
            )
        )
        for task, found in zip(settings.tasks, items, strict=True)
    ]


def _completing(judged: Grade, chat: bool) -> Grade:
    """The whole program is judged: what the prompt begins, and how the response goes on."""

    def program(item: Item, text: str) -> str:
        return completed(str(item.row["signature"]), str(item.row["entry_point"]), text, chat=chat)

    return lambda items, texts: judged(
        items, [program(*pair) for pair in zip(items, texts, strict=True)]
    )


def check(settings: CodeSettings) -> None:
    """Read every file; hub ids are read when the model is first measured.

    Raises:
        ValueError: as `load_items`.
    """
    for task in settings.tasks:
        path, _ = task.source
        if path.endswith(FILES) or Path(path).exists():
            load_items(task, chat=True)


def planned(settings: CodeSettings) -> Mapping[str, Planned]:
    """The tasks by their names."""
    return {task.name: "target" if task.target else "other" for task in settings.tasks}


CODE = EvalSuite(
    name="code",
    paper="arXiv 2501.14315",
    settings=CodeSettings,
    evaluate=evaluate,
    judges=lambda settings: {"code": settings.judge},
    check=check,
    planned=planned,
)
