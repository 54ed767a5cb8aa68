"""What the settings of all suites share: tasks with a name each, and none twice."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pydantic


class Settings(pydantic.BaseModel):
    """Strict and frozen."""

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True)


class Named(Settings):
    """Something that reports call by a name."""

    name: str = pydantic.Field(min_length=1)


def named(tasks: Any) -> Any:
    """A list of tasks: a mapping from name to the rest of each, or a bare name, is spelled out."""
    if isinstance(tasks, str):
        tasks = [tasks]
    if isinstance(tasks, Mapping):
        return [
            {**rest, "name": name} if isinstance(rest, Mapping) else rest
            for name, rest in tasks.items()
        ]
    if not isinstance(tasks, list | tuple):
        return tasks
    return [{"name": task} if isinstance(task, str) else task for task in tasks]


def none_twice(names: Sequence[str]) -> None:
    """Make sure that no two are the same.

    Raises:
        ValueError: two are.
    """
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ValueError(f"two tasks share the name {', '.join(map(repr, twice))}")
