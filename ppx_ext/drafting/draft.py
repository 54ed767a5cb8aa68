"""`ppx init`, once everything is answered: facts looked at, memory counted, the recipe written."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from ppx_ext.drafting import facts, write
from ppx_ext.drafting.memory import Adapter, choose
from ppx_ext.drafting.write import Draft

BUDGET = 4000
"""Rows of a budget where the data are not here to be counted."""


def make(
    file: Path,
    *,
    model: str,
    data: str,
    method: write.Method,
    host: Literal["trl", "axolotl"],
    memory: float,
    judge: str | None = None,
    adapter: Adapter | None = None,
    length: int = 2048,
    examples: int | None = None,
) -> Draft:
    """Write a recipe, and beside it the data as chats where the host reads nothing else.

    Args:
        file: the recipe; its name must end as recipes of its host do.
        model, data: a folder or file, or an id at the hub, which is not asked.
        method: what the `ppx:` block does.
        host: the trainer.
        memory: of the card, in GB; 0 is a CPU.
        judge: of responses, where the method has one.
        adapter: take this one; else what fits.
        length: longest row, in tokens.
        examples: rows of a budget; else half of them.

    Raises:
        ValueError: the file is there, or called otherwise; the model or the data cannot be read;
            nothing fits the card; or the method needs a judge.
    """
    _check(file, host, method, judge)
    about, rows = facts.model_of(model), facts.data_of(data)
    way = choose(about.config, card=memory, length=length, adapter=adapter)
    as_chats = host == "axolotl" and rows.kind == "pair"
    stem = file.name.removesuffix(f".{host}.yaml")
    train = file.parent / f"{stem}-chats.jsonl" if as_chats else None
    draft = Draft(
        file=file,
        host=host,
        method=method,
        model=about,
        data=rows,
        train=data if train is None else str(train),
        way=way,
        card=memory,
        length=length,
        examples=examples or (max(1, rows.count // 2) if rows.count else BUDGET),
        judge=judge,
    )
    if train is not None:
        facts.write_chats(rows, train)
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("x", encoding="utf-8") as out:
        out.write(write.text(draft))
    return draft


def notes(draft: Draft) -> Iterator[str]:
    """What to know, and what to do next."""
    for unchecked in (draft.model.unchecked, draft.data.unchecked):
        if unchecked:
            yield f"Not checked: {unchecked}."
    if draft.train != draft.data.name:
        yield f"Wrote {draft.train}: the same rows as chats, as Axolotl reads nothing else"
    yield "Next:"
    yield f"  ppx recipes check {draft.file}"
    yield f"  {write.run_command(draft).replace(draft.file.name, str(draft.file))}"


def _check(file: Path, host: str, method: str, judge: str | None) -> None:
    if not file.name.endswith(f".{host}.yaml"):
        raise ValueError(f"{file}: call the recipe NAME.{host}.yaml, so that its host can be told")
    if file.exists():
        raise ValueError(f"{file} is there already; give another name")
    if method in write.JUDGED and judge is None:
        raise ValueError(f"{method} keeps only what a judge finds correct: give --judge")
    if judge is not None and method in ("sft", "stm", "difficulty"):
        raise ValueError(f"{method} has no responses to judge: leave --judge out")
