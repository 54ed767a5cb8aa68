"""What the demo learns and what it asks: its own tasks, or the user's rows beside them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ppx_ext.chats import Skip
from ppx_ext.demo import tasks
from ppx_ext.demo.settings import Settings

ROW_SEED, TEST_SEED = 1, 2
HELD_OUT_EVERY = 10
DATA_ROWS = 90
DATA_MAX_NEW_TOKENS = 256
MARK = "####"
"""What stands before the answer in other people's data."""

OWN_JUDGE: Mapping[str, Any] = {
    "use": "exact",
    "after": tasks.BEFORE_ANSWER,
    "strip_characters": tasks.AFTER_ANSWER,
    "collapse_whitespace": True,
}
"""Reads both styles of the demo's tasks; as `tasks.final_answer`."""


@dataclass(frozen=True, kw_only=True)
class Task:
    """Held-out questions of one task, and the judge that grades their responses."""

    name: str
    target: bool
    prompts: tuple[str | Sequence[Mapping[str, Any]], ...]
    golds: tuple[str, ...]
    judge: Mapping[str, Any]
    max_new_tokens: int = 64


@dataclass(frozen=True, kw_only=True)
class Material:
    """Training chats, held-out chats of the target, and the tasks that are measured."""

    train: Sequence[Mapping[str, Any]]
    held_out: Sequence[Mapping[str, Any]]
    tasks: tuple[Task, ...]
    title: str
    warnings: tuple[str, ...] = ()


def embedded(settings: Settings) -> Material:
    """The demo's own tasks: the target in its gold style, and held-out questions of all."""
    train = tasks.make_rows(
        tasks.TARGET, split="train", count=settings.train_rows, seed=ROW_SEED, style="gold"
    )
    held_out = tasks.make_rows(
        tasks.TARGET, split="test", count=settings.test_items, seed=TEST_SEED, style="gold"
    )
    return Material(
        train=train,
        held_out=held_out,
        tasks=tuple(own_task(name, settings) for name in tasks.TASK_NAMES),
        title="Do masked tokens, or a model's own words, keep it from forgetting?",
    )


def own_task(name: str, settings: Settings, *, seed: int = TEST_SEED) -> Task:
    """Held-out questions of one of the demo's own tasks."""
    rows = tasks.make_rows(name, split="test", count=settings.test_items, seed=seed)
    return Task(
        name=name,
        target=name == tasks.TARGET,
        prompts=tuple(tasks.question_of(row) for row in rows),
        golds=tuple(row["answer"] for row in rows),
        judge=OWN_JUDGE,
    )


def from_data(
    data: str | Path, settings: Settings, fields: Mapping[str, str] | None = None
) -> Material:
    """The user's rows as the target, every tenth held out; the demo's tasks are the others.

    Rows are taken from the start of ``data`` until there are `Settings.train_rows` to train on.

    Raises:
        ValueError: no row can be used, or too few to hold one out.
    """
    from ppx_ext.rows import Fields, canonical_rows

    found = canonical_rows(data, chat=True, fields=Fields(**(fields or {})))
    held_out = settings.train_rows // (HELD_OUT_EVERY - 1)
    wanted = max(settings.train_rows + held_out, HELD_OUT_EVERY)
    chats: list[Mapping[str, Any]] = []
    skipped: list[str] = []
    for one, row in found:
        if isinstance(row, Skip):
            skipped.append(f"{one.where}: {row.reason}, {row.detail}")
        elif not _is_chat(row):
            skipped.append(f"{one.where}: no question before the response")
        else:
            chats.append(row)
        if len(chats) == wanted:
            break
    more = next(iter(found), None) is not None
    if len(chats) < HELD_OUT_EVERY:
        first = f" The first that is not: {skipped[0]}" if skipped else ""
        raise ValueError(
            f"{data}: {len(chats)} usable rows; {HELD_OUT_EVERY} are the fewest (one is held "
            f"out).{first}"
        )
    warnings = _warnings(data, chats, skipped, more, settings.max_length)
    return _material(Path(str(data)).stem, chats, settings, warnings)


def _is_chat(row: Mapping[str, Any]) -> bool:
    messages: Sequence[Mapping[str, Any]] = row.get("messages") or []
    return len(messages) > 1 and messages[-1]["role"] == "assistant"


def _material(
    name: str, chats: list[Mapping[str, Any]], settings: Settings, warnings: tuple[str, ...]
) -> Material:
    held_out = chats[HELD_OUT_EVERY - 1 :: HELD_OUT_EVERY]
    asked = held_out[: settings.test_items]
    marked = all(MARK in str(row["messages"][-1]["content"]) for row in chats)
    target = Task(
        name=name,
        target=True,
        judge={"use": "exact", "after": MARK} if marked else {"use": "exact"},
        prompts=tuple(row["messages"][:-1] for row in asked),
        golds=tuple(str(row["messages"][-1]["content"]) for row in asked),
        max_new_tokens=DATA_MAX_NEW_TOKENS,
    )
    others = (own_task(task, settings) for task in tasks.OUT_OF_DOMAIN)
    return Material(
        train=[row for place, row in enumerate(chats) if (place + 1) % HELD_OUT_EVERY],
        held_out=held_out,
        tasks=(target, *others),
        title=f"Fine-tuning the embedded model on {name}",
        warnings=warnings,
    )


def _warnings(
    data: str | Path, chats: list[Any], skipped: list[str], more: bool, max_length: int
) -> tuple[str, ...]:
    warnings = [
        "The embedded model has two million parameters and knows ten small tasks: it shows what "
        "masking does to your rows and to forgetting, not what a real model would learn from them. "
        "The perplexity of held-out responses tells more here than right answers. Rows are cut at "
        f"{max_length} tokens, which is all that it can read."
    ]
    if more:
        warnings.append(
            f"Only the first {len(chats):,} usable rows of {data} were used, a tenth of them held "
            "out; ask for more with --rows."
        )
    if skipped:
        warnings.append(f"{len(skipped):,} rows were left out; the first: {skipped[0]}.")
    return tuple(warnings)
