"""A mask's edits of gold text, made before TRL tokenises it, in rows of any form that it reads."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from ppx_ext.examples import GOLD, SOURCE

if TYPE_CHECKING:
    from ppx_ext.contracts import Mask
    from ppx_ext.stages import Stage

_ASSISTANT = ("assistant", "gpt")
_GOLD_FIELDS = ("completion", "messages", "conversations")


def editor_of(stage: Stage[Mask]) -> Callable[[str], str] | None:
    """The mask's edit of a gold response under its settings, or None where it has none."""
    edit = stage.component.edit_text
    return None if edit is None else lambda text: edit(stage.settings, text)


def edit_rows(dataset: Any, edit: Callable[[str], str], *, text_field: str) -> Any:
    """The data set with its gold texts edited: completions, assistant turns, or whole texts.

    What a builder has from a model is left as it is.
    """
    names = dataset.column_names
    if names is None:  # a streamed set does not know its columns before it is read
        names = list(next(iter(dataset), {}))
    fields = [name for name in (*_GOLD_FIELDS, text_field) if name in names]

    def edited(row: Mapping[str, Any]) -> dict[str, Any]:
        if row.get(SOURCE, GOLD) != GOLD:
            return {}
        return {name: _edited(row[name], edit) for name in fields}

    return dataset.map(edited)


def edit_formatter(
    formatter: Callable[[Any], str], edit: Callable[[str], str]
) -> Callable[[Any], str]:
    """The user's ``formatting_func`` with what it returns edited."""
    return lambda row: edit(formatter(row))


def _edited(gold: Any, edit: Callable[[str], str]) -> Any:
    if isinstance(gold, str):
        return edit(gold)
    return [_edited_turn(turn, edit) for turn in gold]


def _edited_turn(turn: Mapping[str, Any], edit: Callable[[str], str]) -> dict[str, Any]:
    role, key = ("role", "content") if "role" in turn else ("from", "value")
    if turn[role] not in _ASSISTANT or not isinstance(turn.get(key), str):
        return dict(turn)
    return {**turn, key: edit(turn[key])}
