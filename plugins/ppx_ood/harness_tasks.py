"""Names -> lm-eval's tasks, loaded once and kept; what is wrong with a name is told."""

from __future__ import annotations

import difflib
import functools
import importlib.util
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ppx_ood.harness import HarnessSettings, HarnessTask

FEWSHOT_SEED = 1234
"""lm-eval's own, so that the examples are those of its command line."""


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What one score is made of.

    Attributes:
        name: of the score.
        asked: the entry of the settings.
        tasks: name in lm-eval -> its task; several are one group.
        metric: that the group is averaged by, if it is one.
    """

    name: str
    asked: HarnessTask
    tasks: Mapping[str, Any]
    metric: str | None = None


def find(settings: HarnessSettings) -> tuple[Any, bool]:
    """lm-eval's index with all tasks that are asked for, and whether its own ones are in it.

    They are thousands of files, read only where the user's folders do not have all that is asked.

    Raises:
        ValueError: lm-eval is not installed, a folder is not there, a task is unknown (with the
            nearest name) or runs code that a model wrote.
    """
    if importlib.util.find_spec("lm_eval") is None:
        raise ValueError("the suite `lm_eval` needs lm-eval: pip install 'ppx-ext[eval]'")
    for folder in settings.include_path:
        if not Path(folder).is_dir():
            raise ValueError(f"include_path: there is no folder {folder} (from {Path.cwd()})")
    names = [task.name for task in settings.all_tasks]
    manager = _manager(settings.include_path, False)
    defaults = bool(_missing(manager, names))
    if defaults:
        manager = _manager(settings.include_path, True)
    for name in _missing(manager, names):
        near = difflib.get_close_matches(name, manager.all_tasks, n=3)
        hint = f" Did you mean {' or '.join(map(repr, near))}?" if near else ""
        raise ValueError(
            f"lm-eval has no task called {name!r}.{hint} `lm_eval ls tasks` lists its own; folders "
            "with yours stand in `include_path`"
        )
    for name in _with_members(manager, names):
        if _config(manager, name).get("unsafe_code"):
            raise _unsafe(name)
    return manager, defaults


def alone(settings: HarnessSettings, name: str) -> bool:
    """Whether a name is that of one task, and of no group or tag."""
    manager, _ = find(settings)
    return _config(manager, name).get("task") == name


def _unsafe(name: str) -> ValueError:
    return ValueError(
        f"lm-eval's task {name!r} runs programs of the model without a sandbox. MBPP and HumanEval "
        "are in the suite `code`, which runs them in one: `{use: code, tasks: [mbpp, humaneval]}`"
    )


@functools.lru_cache(maxsize=4)
def _manager(folders: tuple[str, ...], defaults: bool) -> Any:
    from lm_eval.tasks import TaskManager

    return TaskManager(include_path=list(folders), include_defaults=defaults)


def _missing(manager: Any, names: Sequence[str]) -> list[str]:
    return [name for name in _with_members(manager, names) if name not in manager.task_index]


def _with_members(manager: Any, names: Sequence[Any]) -> Iterator[str]:
    """Names, and those in their groups."""
    for given in names:
        name = given.get("task") if isinstance(given, Mapping) else given
        if not isinstance(name, str):
            continue
        if isinstance(given, Mapping) and name not in manager.task_index:
            continue  # a task that is written out in its group
        yield name
        members = _config(manager, name).get("task") if name in manager.task_index else None
        if isinstance(members, list):
            yield from _with_members(manager, members)


def _config(manager: Any, name: str) -> Mapping[str, Any]:
    """The YAML of a task or group, its functions left alone; empty for a tag."""
    from lm_eval import utils

    entry = manager.task_index[name]
    if not isinstance(entry, Mapping):  # lm-eval 0.4.12 and later
        return entry.cfg or {}
    path = entry["yaml_path"]
    return {} if path == -1 else utils.load_yaml_config(path, mode="simple")


def opened(settings: HarnessSettings) -> list[Wanted]:
    """All tasks with their data.

    A group that lm-eval averages over items (MMLU) is one score. One that it averages over tasks,
    or not at all, and a tag, are their tasks: a score for each.

    Raises:
        ValueError: as `find`; or data cannot be had.
    """
    manager, defaults = find(settings)
    found = [
        part
        for asked in settings.all_tasks
        for part in _opened(manager, asked, settings.include_path, defaults)
    ]
    names = [part.name for part in found]
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"lm-eval's task {name!r} is asked for twice, alone and in a group")
    return found


def _opened(
    manager: Any, asked: HarnessTask, folders: tuple[str, ...], defaults: bool
) -> list[Wanted]:
    tasks = _load(folders, defaults, asked.model_dump_json())
    for task in tasks.values():
        task.set_fewshot_seed(seed=FEWSHOT_SEED)  # each evaluation draws the same examples
    metric = _pooled_by(_config(manager, asked.name))
    if len(tasks) == 1 or metric:
        return [Wanted(name=asked.name, asked=asked, tasks=tasks, metric=metric)]
    return [Wanted(name=name, asked=asked, tasks={name: task}) for name, task in tasks.items()]


def _pooled_by(config: Mapping[str, Any]) -> str | None:
    """The first metric of a group that is averaged over the items of all its tasks."""
    metrics = config.get("aggregate_metric_list") or ()
    metrics = [metrics] if isinstance(metrics, Mapping) else metrics
    if any(not one.get("weight_by_size", True) for one in metrics):
        return None
    return next((str(one["metric"]) for one in metrics), None)


@functools.lru_cache(maxsize=256)
def _load(folders: tuple[str, ...], defaults: bool, entry: str) -> dict[str, Any]:
    """The tasks of one entry of the settings (as JSON), loaded and configured."""
    asked = HarnessTask.model_validate_json(entry)
    manager = _manager(folders, defaults)
    try:
        if hasattr(manager, "load"):  # lm-eval 0.4.12 and later
            tasks = dict(manager.load([asked.name])["tasks"])
        else:
            tasks = dict(_leaves(manager.load_task_or_group([asked.name])))
    except ImportError as error:
        raise ValueError(
            f"lm-eval's task {asked.name!r} needs a package more: {error}. lm-eval has extras for "
            "such tasks, for instance: pip install 'lm_eval[ifeval]' 'lm_eval[math]'"
        ) from error
    except Exception as error:
        raise ValueError(
            f"lm-eval's task {asked.name!r} cannot be loaded: {type(error).__name__}: {error}. Its "
            "data are read from the hub, or from where its YAML file says: can they be reached?"
        ) from error
    for name, task in tasks.items():
        if getattr(task, "UNSAFE_CODE", False):
            raise _unsafe(name)
        _configure(name, task, asked)
    return tasks


def _leaves(loaded: Mapping[Any, Any]) -> Iterator[tuple[str, Any]]:
    for name, value in loaded.items():
        if isinstance(value, Mapping):
            yield from _leaves(value)
        else:
            yield name, value


def _configure(name: str, task: Any, asked: HarnessTask) -> None:
    """What `lm_eval.simple_evaluate` sets, by the entry's own settings."""
    own = task.get_config("num_fewshot")
    if own == 0 and asked.num_fewshot:
        raise ValueError(
            f"lm-eval's task {name!r} is defined without examples, so `num_fewshot: "
            f"{asked.num_fewshot}` has no meaning for it; take it out"
        )
    if asked.judge is not None and task.get_config("output_type") != "generate_until":
        raise ValueError(
            f"lm-eval's task {name!r} asks how likely each option is, and nothing is said that a "
            "`judge` could read; take it out"
        )
    number = (own or 0) if asked.num_fewshot is None else asked.num_fewshot
    task.set_config(key="num_fewshot", value=number)
    if asked.gen_kwargs and task.get_config("output_type") == "generate_until":
        task.set_config(key="generation_kwargs", value=dict(asked.gen_kwargs), update=True)
