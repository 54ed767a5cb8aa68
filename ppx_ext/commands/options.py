"""What several commands share: examples in their help, options, and how a recipe is loaded."""

from __future__ import annotations

import sys
from contextlib import redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

import click

if TYPE_CHECKING:
    from types import ModuleType

    from ppx_ext.recipes import Recipe


def example(*lines: str) -> str:
    """Lines for the end of a command's help, as they are."""
    # \b keeps Click from wrapping the lines.
    return "\b\nExample:\n" + "\n".join(f"  {line}" for line in lines)


RECIPE = click.argument("recipe")
DATA = click.option("--data", metavar="PATH_OR_ID", help="Train on this instead.")
MODEL = click.option("--model", metavar="PATH_OR_ID", help="Start from this base model instead.")
JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
FOLDER = click.Path(path_type=Path, exists=True, file_okay=False)
NEW = click.Path(path_type=Path)


def folders() -> tuple[Path, ...]:
    """Folders of recipes of all installed methods."""
    from ppx_ext import catalog

    return catalog.load().recipe_folders


def load(recipe: str) -> Recipe:
    """The recipe of this name or path, its block checked before any host is imported.

    Raises:
        RecipeError: there is none.
        PlanError: its `ppx:` block is wrong.
    """
    from ppx_ext import catalog, plan
    from ppx_ext import recipes as own

    methods = catalog.load()
    loaded = own.load(recipe, folders=methods.recipe_folders)
    if loaded.block is not None:
        plan.parse(loaded.block, methods)
    return loaded


def logs_aside() -> redirect_stdout[TextIO]:
    """While it lasts, hosts log to stderr, as stdout is for what a command tells."""
    return redirect_stdout(sys.stderr)


def host(recipe: Recipe) -> ModuleType:
    """The module of a recipe's host."""
    import importlib

    return importlib.import_module(f"ppx_ext.hosts.{recipe.host}")
