"""`perplexity`: held-out texts and conversations; it takes part in no average of tasks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pydantic

from ppx_ext import EvalSuite, Fields, Planned, Subject, TextScore, canonical_rows, score_texts
from ppx_ood.items import FILES, field_of, rows_of
from ppx_ood.settings import Named, Settings, named, none_twice

PLAIN = (".txt", ".md")


class Texts(Named):
    """Held-out texts.

    Attributes:
        name: how reports call them.
        path: JSONL, JSON, Parquet or Arrow, a hub id, or a plain text file (.txt, .md), which is
            one text.
        split: of a hub id.
        text: the field with plain text, all of which is measured. Without it, rows are read as
            training rows are: of conversations, and of prompts with their responses, only what
            the assistant says is measured.
        fields: ``prompt`` and ``response``, or ``messages``, where their names tell nothing.
        limit: measure only the first so many rows.
    """

    path: str = pydantic.Field(min_length=1)
    split: str = "test"
    text: str | None = None
    fields: dict[str, str] = pydantic.Field(default_factory=dict)
    limit: int | None = pydantic.Field(default=None, gt=0)

    @pydantic.field_validator("fields")
    @classmethod
    def _known(cls, fields: dict[str, str]) -> dict[str, str]:
        if unknown := sorted(fields.keys() - {"prompt", "response", "messages"}):
            raise ValueError(f"no such field: {unknown[0]!r}; prompt, response and messages are")
        Fields(**fields)
        return fields


class PerplexitySettings(Settings):
    """Settings of `perplexity`.

    Attributes:
        tasks: a list of texts, or a mapping from name to the rest of each.
        max_length: context in tokens, by default the model's own; longer rows are measured in
            windows of that length.
    """

    tasks: tuple[Texts, ...] = pydantic.Field(min_length=1)
    max_length: int | None = pydantic.Field(default=None, gt=1)

    @pydantic.field_validator("tasks", mode="before")
    @classmethod
    def _named(cls, tasks: Any) -> Any:
        return named(tasks)

    @pydantic.field_validator("tasks")
    @classmethod
    def _unique(cls, tasks: tuple[Texts, ...]) -> tuple[Texts, ...]:
        none_twice([task.name for task in tasks])
        return tasks


def load_texts(task: Texts, *, chat: bool) -> list[Any]:
    """The canonical rows of some texts.

    Args:
        chat: the tokenizer has a chat template.

    Raises:
        ValueError: there is no file, or a row cannot be read (it is named).
    """
    return list(_texts(task, chat))


def _texts(task: Texts, chat: bool) -> Iterator[Any]:
    if task.path.endswith(PLAIN):
        if not Path(task.path).is_file():
            raise ValueError(f"task {task.name!r}: there is no file {task.path} (in {Path.cwd()})")
        yield {"prompt": "", "completion": Path(task.path).read_text(encoding="utf-8")}
        return
    rows = rows_of(task.name, task.path, split=task.split, limit=task.limit)
    if task.text is not None:
        for where, row in rows:
            yield {"prompt": "", "completion": field_of(row, task.text, (str,), where)}
        return
    found = list(rows)
    plain = [row for _, row in found]
    try:
        canonical = list(canonical_rows(plain, chat=chat, fields=Fields(**task.fields)))
    except ValueError as error:
        raise ValueError(f"task {task.name!r}, {task.path}: {error}") from error
    for (where, _), (_, text) in zip(found, canonical, strict=True):
        if not isinstance(text, dict):
            raise ValueError(f"{where} cannot be measured: {text}")
        yield text


def evaluate(settings: PerplexitySettings, subject: Subject) -> list[TextScore]:
    """The NLL of all texts; all files are read first.

    Raises:
        ValueError: as `load_texts`; or a row has no token to measure.
    """
    chat = bool(getattr(subject.tokenizer, "chat_template", None))
    rows = [load_texts(task, chat=chat) for task in settings.tasks]
    return [
        score_texts(subject, found, task=task.name, max_length=settings.max_length)
        for task, found in zip(settings.tasks, rows, strict=True)
    ]


def check(settings: PerplexitySettings) -> None:
    """Read every file; hub ids are read when the model is first measured.

    Raises:
        ValueError: as `load_texts`.
    """
    for task in settings.tasks:
        if task.path.endswith((*FILES, *PLAIN)) or Path(task.path).exists():
            load_texts(task, chat=True)


def planned(settings: PerplexitySettings) -> Mapping[str, Planned]:
    """The tasks by their names."""
    return {task.name: "text" for task in settings.tasks}


PERPLEXITY = EvalSuite(
    name="perplexity",
    paper="arXiv 2501.14315",
    settings=PerplexitySettings,
    evaluate=evaluate,
    check=check,
    planned=planned,
)
