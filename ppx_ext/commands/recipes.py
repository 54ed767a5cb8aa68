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


@recipes.command(
    "check",
    epilog=example("ppx recipes check my.trl.yaml", "ppx recipes check --all"),
)
@click.argument("names", nargs=-1, metavar="[NAME_OR_PATH]...")
@click.option("--all", "everything", is_flag=True, help="Check all recipes that are installed.")
@options.JSON
def recipes_check(names: tuple[str, ...], everything: bool, as_json: bool) -> None:
    """Check recipes offline, without card and weights; fail where one would not run as asked."""
    from ppx_ext import listing
    from ppx_ext import recipes as own
    from ppx_ext.proving import check

    if bool(names) == everything:
        raise click.UsageError("name recipes (or files, or folders), or give --all")
    folders = options.folders()
    files = (
        [file for _, file in own.shipped(folders)]
        if everything
        else [file for name in names for file in check.files_of(name, folders)]
    )
    checked = check.check(files)
    click.echo(listing.as_json(checked.dump())) if as_json else check.show(checked)
    if not checked.ok:
        raise click.exceptions.Exit(1)
