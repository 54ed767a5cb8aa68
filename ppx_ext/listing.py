"""What is installed, as plain JSON values and as tables for the terminal."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from ppx_ext import recipes as own

if TYPE_CHECKING:
    from pydantic import BaseModel
    from rich.table import Table

    from ppx_ext.catalog import Catalog

Entries: TypeAlias = Sequence[Mapping[str, Any]]

SETTING = 24
"""Characters of a setting that stay on one line, in a terminal of 80."""


def components(catalog: Catalog) -> Entries:
    """One entry for each component: kind, name, paper, distribution, settings with defaults."""
    return [
        {
            "kind": entry.kind,
            "name": entry.component.name,
            "paper": entry.component.paper,
            "distribution": entry.distribution,
            "settings": settings_of(entry.component.settings),
        }
        for _, entry in sorted(catalog.entries.items())
    ]


def settings_of(model: type[BaseModel]) -> Mapping[str, Mapping[str, Any]]:
    """Setting -> its type in words and its default; no default means that it must be given."""
    fields = model.model_json_schema(mode="validation").get("properties", {})
    defaults = {
        name: {"default": _plain(field.get_default(call_default_factory=True))}
        for name, field in model.model_fields.items()
        if not field.is_required()
    }
    return {
        name: {"type": _type(fields[name])} | defaults.get(name, {}) for name in model.model_fields
    }


def recipes(folders: Sequence[Path]) -> Entries:
    """One entry for each shipped recipe: name, what it is, file."""
    return [
        {"name": own.recipe_name(folder, file), "what": own.summary(file), "file": str(file)}
        for folder, file in own.shipped(folders)
    ]


def as_json(entries: Any) -> str:
    """Indented JSON, as `--json` prints it."""
    return json.dumps(entries, indent=2, ensure_ascii=False)


def show_methods(entries: Entries) -> None:
    """A table of components for the terminal."""
    table = _table("kind", "name", "paper", "from", "settings")
    table.columns[-1].min_width = SETTING
    for entry in entries:
        lines = [_setting(name, about) for name, about in entry["settings"].items()]
        source = (entry["kind"], entry["name"], entry["paper"], entry["distribution"])
        table.add_row(*source, "\n".join(lines) or "none")
    _print(table)


def show_recipes(entries: Entries) -> None:
    """A table of recipes for the terminal."""
    table = _table("recipe", "what it is")
    for entry in entries:
        table.add_row(entry["name"], entry["what"])
    _print(table)


def _setting(name: str, about: Mapping[str, Any]) -> str:
    return (
        f"{name} = {json.dumps(about['default'], ensure_ascii=False)}"
        if "default" in about
        else f"{name} (required)"
    )


def _plain(value: Any) -> Any:
    from pydantic_core import to_jsonable_python

    return to_jsonable_python(value, fallback=str)


def _type(schema: Mapping[str, Any]) -> str:
    if "enum" in schema:
        return " | ".join(json.dumps(value) for value in schema["enum"])
    if "const" in schema:
        return json.dumps(schema["const"])
    if "anyOf" in schema:
        return " | ".join(_type(option) for option in schema["anyOf"])
    return str(schema.get("type", "any"))


def _table(*columns: str) -> Table:
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column in columns:
        table.add_column(column, overflow="fold")
    return table


def _print(table: Table) -> None:
    from rich.console import Console

    Console(markup=False).print(table)
