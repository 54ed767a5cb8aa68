"""The commands `ppx recipes ...`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ppx_ext.commands import options
from ppx_ext.commands.options import example

if TYPE_CHECKING:
    from ppx_ext.proving.smoke import Smoked

HOST = click.Choice(["trl", "axolotl"])


@click.group()
def recipes() -> None:
    """Recipes that come with the installed methods."""


@recipes.command(
    "list", epilog=example("ppx recipes list --method stm --host trl", "ppx recipes list --json")
)
@click.option("--method", help="Only those of this method, for instance stm.")
@click.option("--model", help="Only those whose model's name holds this.")
@click.option("--task", help="Only those whose task's name holds this.")
@click.option("--host", type=HOST, help="Only those for this host.")
@options.JSON
def recipes_list(
    method: str | None, model: str | None, task: str | None, host: str | None, as_json: bool
) -> None:
    """List the recipes: method, model, task, hosts, paper and memory."""
    from ppx_ext import listing

    wanted = {"method": method, "model": model, "task": task, "host": host}
    found = listing.recipes(options.folders(), **wanted)
    if not found and not as_json and any(wanted.values()):
        asked = " ".join(f"--{key} {value}" for key, value in wanted.items() if value)
        methods = sorted({entry["method"] for entry in listing.recipes(options.folders())})
        raise click.ClickException(f"no recipe is of {asked}. Methods: {', '.join(methods)}")
    click.echo(listing.as_json(found)) if as_json else listing.show_recipes(found)


@recipes.command("show", epilog=example("ppx recipes show stm/gemma-2-2b-it/mbpp.trl"))
@click.argument("name")
def recipes_show(name: str) -> None:
    """Print a recipe, in colours where a terminal has them."""
    from ppx_ext import listing
    from ppx_ext import recipes as own

    listing.show_recipe(own.find(name, folders=options.folders()))


@recipes.command("copy", epilog=example("ppx recipes copy stm/gemma-2-2b-it/mbpp.trl my.trl.yaml"))
@click.argument("name")
@click.argument("destination", type=options.NEW, default=Path("."))
def recipes_copy(name: str, destination: Path) -> None:
    """Copy a recipe, to change it; its own folders and commands get the copy's name."""
    from ppx_ext import recipes as own

    click.echo(f"Wrote {own.copy(name, destination, folders=options.folders())}")


@recipes.command(
    "check", epilog=example("ppx recipes check my.trl.yaml", "ppx recipes check --all")
)
@click.argument("names", nargs=-1, metavar="[NAME_OR_PATH]...")
@click.option("--all", "everything", is_flag=True, help="Check all recipes that are installed.")
@options.JSON
def recipes_check(names: tuple[str, ...], everything: bool, as_json: bool) -> None:
    """Check recipes offline, without card and weights; fail where one would not run as asked."""
    from ppx_ext import listing
    from ppx_ext.proving import check

    checked = check.check(_files(names, everything))
    click.echo(listing.as_json(checked.dump())) if as_json else check.show(checked)
    if not checked.ok:
        raise click.exceptions.Exit(1)


@recipes.command(
    "smoke",
    epilog=example(
        "ppx recipes smoke stm/gemma-2-2b-it/mbpp", "ppx recipes smoke --all --host trl"
    ),
)
@click.argument("names", nargs=-1, metavar="[NAME_OR_PATH]...")
@click.option("--all", "everything", is_flag=True, help="Run all recipes that are installed.")
@click.option("--host", type=HOST, help="Only in this host.")
@click.option("--out", type=options.NEW, default=Path("out/smoke"), show_default=True)
@options.JSON
def recipes_smoke(
    names: tuple[str, ...], everything: bool, host: str | None, out: Path, as_json: bool
) -> None:
    """Run recipes whole, with a small random model and a few rows, on the CPU and offline.

    Rows are those of the data script that the recipe's head names. Everything that had to be
    another than in the recipe is told. Fails where one does not run.
    """
    # Before the libraries are imported, which read them once.
    os.environ |= {"HF_HUB_OFFLINE": "1", "CUDA_VISIBLE_DEVICES": "", "AXOLOTL_DO_NOT_TRACK": "1"}
    from ppx_ext import listing
    from ppx_ext.proving import smoke

    files = [file for file in _files(names, everything) if host is None or f".{host}." in file.name]
    said = (lambda one: None) if as_json else smoke.show
    done = smoke.smoke_all(files, out, said)
    if as_json:
        click.echo(listing.as_json([one.dump() for one in done]))
    else:
        _tell(done)
    if not all(one.ok for one in done):
        raise click.exceptions.Exit(1)


def _tell(done: list[Smoked]) -> None:
    failed = sum(not one.ok for one in done)
    seconds = sum(one.seconds for one in done)
    recipes = "1 recipe" if len(done) == 1 else f"{len(done)} recipes"
    click.echo(f"{recipes} run, {failed} failed, {seconds:.0f} s")


def _files(names: tuple[str, ...], everything: bool) -> list[Path]:
    from ppx_ext import recipes as own
    from ppx_ext.proving import check

    if bool(names) == everything:
        raise click.UsageError("name recipes (or files, or folders), or give --all")
    folders = options.folders()
    if everything:
        return [file for _, file in own.shipped(folders)]
    return [file for name in names for file in check.files_of(name, folders)]
