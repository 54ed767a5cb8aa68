"""Local items in the place of evaluations that would need the hub: of the same kind, a few each."""

from __future__ import annotations

import copy
import functools
import importlib.util
import json
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

FOLDER = "stand-ins"
ITEMS, NEW_TOKENS = 2, 8

SETS: Mapping[str, tuple[str, ...]] = {
    "stm": ("arc_challenge", "gsm8k", "hendrycks_math", "ifeval"),
    "s3ft": ("mmlu", "truthfulqa_mc2", "hellaswag", "winogrande"),
}
"""What the suite `lm_eval` calls so."""

_WRITTEN = ("gsm8k", "math", "ifeval", "minerva", "triviaqa", "nq", "squad", "bbh", "drop")
"""Parts of names of lm-eval's tasks whose answers are generated; the others rank choices."""

_ROWS = (
    {"question": "What is 2 + 3?", "choices": ["5", "6"], "gold": 0, "answer": "#### 5"},
    {"question": "What is 4 + 4?", "choices": ["9", "8"], "gold": 1, "answer": "#### 8"},
)
_PROGRAMS: Mapping[str, Mapping[str, Any]] = {
    "mbpp": {
        "text": "Write a function to add two numbers.",
        "code": "def add(a, b):\n    return a + b",
        "test_list": ["assert add(1, 2) == 3"],
    },
    "humaneval": {
        "prompt": 'def add(a, b):\n    """The sum."""\n',
        "canonical_solution": "    return a + b\n",
        "test": "def check(candidate):\n    assert candidate(1, 2) == 3\n",
        "entry_point": "add",
    },
}
_TEXT = "The river rises in the north and reaches the sea after ninety kilometres."


def stand_in(suite: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """A suite's block that runs offline, from the current folder; and what was changed.

    Files it needs are written into `FOLDER`.
    """
    made = copy.deepcopy(dict(suite))
    change = _SUITES.get(str(made.get("use")))
    return change(made) if change else (made, [])


@functools.cache
def no_sandbox() -> str:
    """Why code cannot be run in a sandbox here; nothing where it can."""
    if shutil.which("bwrap") is None:
        return "bubblewrap is not installed"
    done = subprocess.run(
        ["bwrap", "--unshare-all", "--ro-bind", "/", "/", "true"], capture_output=True, check=False
    )
    return "" if done.returncode == 0 else "bubblewrap may not make namespaces here"


def _lm_eval(suite: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
    tasks = _listed(suite.get("tasks") or ())
    names = {task["name"] for task in tasks}
    of_sets = (name for one in _as_list(suite.pop("sets", ())) for name in SETS[one])
    tasks += [{"name": name} for name in dict.fromkeys(of_sets) if name not in names]
    if importlib.util.find_spec("lm_eval") is None:
        local = [_question(task["name"], bool(task.get("target"))) for task in tasks]
        made = {"use": "tasks", "tasks": local, "max_new_tokens": NEW_TOKENS}
        return made, ["lm_eval is not installed: its tasks -> as many local ones of suite `tasks`"]
    for task in tasks:
        _write_task(task["name"])
        task.pop("num_fewshot", None)
        task["limit"] = ITEMS
        if not _is_written(task["name"]):
            task.pop("filter", None)
    said = ", ".join(task["name"] for task in tasks)
    here = str(Path(FOLDER).absolute())  # lm-eval's index of a folder is kept by its name
    made = {**suite, "tasks": tasks, "include_path": [here], "limit": ITEMS, "batch_size": 4}
    return made, [
        f"lm-eval's {said}: {ITEMS} made-up items of the same kind each, without examples"
    ]


def _tasks(suite: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
    suite["tasks"], said = _listed(suite["tasks"]), []
    for task in suite["tasks"]:
        task["limit"] = ITEMS
        if not Path(task["path"]).exists():
            said.append(f"{task['name']}: {task['path']} -> {ITEMS} made-up items")
            task |= _question(task["name"], bool(task.get("target")))
        judge = task.get("judge")
        use = judge.get("use") if isinstance(judge, Mapping) else judge
        if use == "code" and no_sandbox():
            said.append(f"{task['name']}: judge code -> exact ({no_sandbox()})")
            task["judge"] = "exact"
        elif use == "llm":
            said.append(f"{task['name']}: judge llm -> exact (a small model gives no verdicts)")
            task["judge"] = "exact"
    suite["max_new_tokens"] = NEW_TOKENS
    return suite, [*said, f"tasks: the first {ITEMS} items of each, {NEW_TOKENS} new tokens"]


def _code(suite: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
    tasks = _listed(suite["tasks"])
    if why := no_sandbox():
        local = [_question(task["name"], bool(task.get("target"))) for task in tasks]
        made = {"use": "tasks", "tasks": local, "max_new_tokens": NEW_TOKENS}
        return made, [f"code -> as many local questions of suite `tasks` ({why})"]
    for task in tasks:
        style = task.get("style") or ("humaneval" if "humaneval" in task["name"] else "mbpp")
        task |= {"path": _write(f"{style}.jsonl", [_PROGRAMS[style]] * ITEMS), "limit": ITEMS}
    said = ", ".join(task["name"] for task in tasks)
    made = {**suite, "tasks": tasks, "max_new_tokens": NEW_TOKENS}
    return made, [f"code's {said}: {ITEMS} made-up programs each"]


def _perplexity(suite: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
    tasks = _listed(suite["tasks"])
    said = []
    for task in tasks:
        task["limit"] = ITEMS
        if not Path(task["path"]).exists():
            said.append(f"{task['name']}: {task['path']} -> {ITEMS} made-up texts")
            task |= {"path": _write("texts.jsonl", [{"text": _TEXT}] * ITEMS), "text": "text"}
            task.pop("fields", None)
    return {**suite, "tasks": tasks}, [*said, f"perplexity: the first {ITEMS} texts of each"]


_SUITES = {"lm_eval": _lm_eval, "tasks": _tasks, "code": _code, "perplexity": _perplexity}


def _listed(tasks: Any) -> list[dict[str, Any]]:
    """Tasks as a list of mappings with names, however they were given."""
    if isinstance(tasks, Mapping):
        return [{**(rest or {}), "name": name} for name, rest in tasks.items()]
    return [{"name": task} if isinstance(task, str) else dict(task) for task in _as_list(tasks)]


def _as_list(value: Any) -> Sequence[Any]:
    return [value] if isinstance(value, str) else list(value)


def _question(name: str, target: bool) -> dict[str, Any]:
    path = _write_rows()
    pair = {"prompt": "question", "answer": "answer"}
    return {"name": name, "path": path, "target": target, "pattern": "#### (.+)", **pair}


def _write_rows() -> str:
    return _write("rows.jsonl", _ROWS)


def _write(name: str, rows: Sequence[Mapping[str, Any]]) -> str:
    path = Path(FOLDER) / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(path)


def _is_written(name: str) -> bool:
    return any(part in name for part in _WRITTEN)


def _write_task(name: str) -> None:
    """A task of lm-eval by the name of the real one, on the made-up rows."""
    import yaml

    rows = str(Path(_write_rows()).absolute())
    common = {
        "task": name,
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": {"test": rows}},
        "test_split": "test",
        "doc_to_text": "{{question}}",
    }
    kind = _OF_WRITTEN if _is_written(name) else _OF_CHOICE
    text = yaml.safe_dump({**common, **kind}, sort_keys=False)
    (Path(FOLDER) / f"{name}.yaml").write_text(text, encoding="utf-8")


_OF_CHOICE: Mapping[str, Any] = {
    "output_type": "multiple_choice",
    "doc_to_target": "gold",
    "doc_to_choice": "choices",
    "metric_list": [
        {"metric": name, "aggregation": "mean", "higher_is_better": True}
        for name in ("acc", "acc_norm")
    ],
}
_OF_WRITTEN: Mapping[str, Any] = {
    "output_type": "generate_until",
    "doc_to_target": "{{answer}}",
    "generation_kwargs": {"until": ["\n"], "max_gen_toks": NEW_TOKENS, "do_sample": False},
    "metric_list": [{"metric": "exact_match", "aggregation": "mean", "higher_is_better": True}],
    "filter_list": [
        {
            "name": name,
            "filter": [
                {"function": "regex", "regex_pattern": pattern},
                {"function": "take_first"},
            ],
        }
        for name, pattern in (("strict-match", "(#### .+)"), ("flexible-extract", "(-?[0-9.]+)"))
    ],
}
