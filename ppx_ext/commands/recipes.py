"""The commands `ppx recipes ...`."""

from __future__ import annotations

from pathlib import Path

import click

from ppx_ext.commands import options
from ppx_ext.commands.options import example


@click.group()
def recipes() -> None:
    """Recipes that come with the installed methods."""


@recipes.command("list", epilog=example("ppx recipes list"))
@options.JSON
def recipes_list(as_json: bool) -> None:
    """List the recipes."""
    from ppx_ext import listing

    found = listing.recipes(options.folders())
    click.echo(listing.as_json(found)) if as_json else listing.show_recipes(found)


@recipes.command("show", epilog=example("ppx recipes show stm/gemma-2-2b-it/mbpp.trl"))
@click.argument("name")
def recipes_show(name: str) -> None:
    """Print a recipe."""
    from ppx_ext import recipes as own

    click.echo(own.find(name, folders=options.folders()).read_text(encoding="utf-8"), nl=False)


@recipes.command("copy", epilog=example("ppx recipes copy stm/gemma-2-2b-it/mbpp.trl my.trl.yaml"))
@click.argument("name")
@click.argument("destination", type=options.NEW, default=Path("."))
def recipes_copy(name: str, destination: Path) -> None:
    """Copy a recipe, to change it."""
    from ppx_ext import recipes as own

    click.echo(f"Wrote {own.copy(name, destination, folders=options.folders())}")
