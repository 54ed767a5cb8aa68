"""What is installed, as plain JSON values and as tables for the terminal."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from ppx_ext import recipes as own

if TYPE_CHECKING:
    from pydantic import BaseModel
    from rich.table import Table

    from ppx_ext.catalog import Catalog

Entries: TypeAlias = Sequence[Mapping[str, Any]]

SETTING, ARXIV = 24, 10
"""Characters of a setting, and of a paper's number, that stay on one line, in a terminal of 80."""


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


def recipes(
    folders: Sequence[Path],
    *,
    method: str | None = None,
    model: str | None = None,
    task: str | None = None,
    host: str | None = None,
) -> Entries:
    """One entry for each shipped recipe: its name, its parts, and what its head says.

    Args:
        folders: of other methods' recipes, beside our own.
        method, host: only those of exactly this name.
        model, task: only those whose name holds this.
    """
    found = [_recipe(folder, file) for folder, file in own.shipped(folders)]
    exact = {"method": method, "host": host}
    parts = {"model": model, "task": task}
    return [
        entry
        for entry in found
        if all(value in (None, entry[key]) for key, value in exact.items())
        and all(value is None or value.lower() in entry[key] for key, value in parts.items())
    ]


def _recipe(folder: Path, file: Path) -> Mapping[str, Any]:
    name = own.recipe_name(folder, file)
    stem, _, host = name.rpartition(".")
    *method, model, task = ("", "", *stem.split("/"))
    return {
        "name": name,
        "what": own.summary(file),
        "method": "/".join(part for part in method if part),
        "model": model,
        "task": task,
        "host": host,
        **own.head(file),
        "file": str(file),
    }


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
    """A table of recipes for the terminal: one line for the two hosts of a pair."""
    table = _table("recipe (METHOD/MODEL/TASK)", "hosts", "arXiv", "card")
    table.columns[0].no_wrap = True
    table.columns[2].min_width = ARXIV
    table.collapse_padding, table.show_edge = True, False
    pairs: dict[str, list[Mapping[str, Any]]] = {}
    for entry in entries:
        pairs.setdefault(entry["name"].rpartition(".")[0], []).append(entry)
    for name, pair in pairs.items():
        hosts = "both" if len(pair) > 1 else pair[0]["host"]
        papers = re.findall(r"arXiv (\d{4}\.\d{5})", pair[0]["paper"])
        table.add_row(name, hosts, "\n".join(dict.fromkeys(papers)), _card(pair[0]["memory"]))
    _print(table)


def _card(memory: str) -> str:
    """``four cards of 80 GB or more`` as ``4 x 80 GB``."""
    found = re.search(r"(?:(two|four|eight) cards.*?)?(\d+ GB)|CPU", memory)
    if found is None or found[2] is None:
        return found[0] if found else ""
    many = {"two": "2 x ", "four": "4 x ", "eight": "8 x "}
    return many.get(found[1] or "", "") + found[2]


def show_recipe(file: Path) -> None:
    """A recipe's text, in colours where the terminal has them, and else as it is."""
    from rich.console import Console
    from rich.syntax import Syntax

    text, console = file.read_text(encoding="utf-8"), Console(markup=False, highlight=False)
    if console.is_terminal and file.suffix in (".yaml", ".py"):
        lexer = {".yaml": "yaml", ".py": "python"}[file.suffix]
        console.print(Syntax(text, lexer, background_color="default"), soft_wrap=True)
    else:
        console.file.write(text)


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
