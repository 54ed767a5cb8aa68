"""The command `ppx`; the same commands stand under `axolotl ppx`.

Everything heavy is imported inside the command that needs it, so that ``--help`` is quick.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

import ppx_ext

if TYPE_CHECKING:
    from types import ModuleType

    from ppx_ext.recipes import Recipe


class _Commands(click.Group):
    """Shows what a user can mend as one message; PPX_DEBUG=1 shows the traceback."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except (ValueError, OSError) as error:
            if os.environ.get("PPX_DEBUG"):
                raise
            raise click.ClickException(_message(error)) from error


def _message(error: Exception) -> str:
    import traceback

    text = str(error) or type(error).__name__
    *_, (frame, _) = traceback.walk_tb(error.__traceback__)
    ours = str(frame.f_globals.get("__name__")).startswith("ppx_")
    return text if ours else f"{text}\n(PPX_DEBUG=1 shows where this came from.)"


def _example(*lines: str) -> str:
    # \b keeps Click from wrapping the lines.
    return "\b\nExample:\n" + "\n".join(f"  {line}" for line in lines)


_RECIPE = click.argument("recipe")
_DATA = click.option("--data", metavar="PATH_OR_ID", help="Train on this instead.")
_MODEL = click.option("--model", metavar="PATH_OR_ID", help="Start from this base model instead.")
_JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
_FOLDER = click.Path(path_type=Path, exists=True, file_okay=False)
_NEW = click.Path(path_type=Path)


@click.group(cls=_Commands, epilog=_example("ppx doctor my.trl.yaml && ppx train my.trl.yaml"))
@click.version_option(ppx_ext.__version__, prog_name="ppx")
def main() -> None:
    """Fine-tune without making the model forget, in TRL and in Axolotl."""


@main.command(epilog=_example("ppx methods", "ppx methods --json | jq '.[].name'"))
@_JSON
def methods(as_json: bool) -> None:
    """List the installed methods with their papers and settings."""
    from ppx_ext import catalog, listing

    found = listing.components(catalog.load())
    click.echo(listing.as_json(found)) if as_json else listing.show_methods(found)


@main.command(epilog=_example("ppx prepare my.trl.yaml --out prepared --data train.jsonl"))
@_RECIPE
@click.option("--out", type=_NEW, required=True, help="A folder for the prepared data set.")
@_DATA
@_MODEL
@click.option("--overwrite", is_flag=True, help="Replace what stands in --out.")
def prepare(recipe: str, out: Path, data: str | None, model: str | None, overwrite: bool) -> None:
    """Tokenise, score and mask a recipe's data; write the data set and its manifest.

    Killed at any moment, the next run goes on where the last one was.
    """
    from ppx_ext import pipeline

    loaded = _load(recipe)
    found = _host(loaded).tokenized(loaded.path, data=data, model=model)
    pipeline.prepare(found, out, overwrite=overwrite)
    click.echo(f"Wrote {out}. Look at it: ppx view {out}")


@main.command(
    epilog=_example(
        "ppx build my.trl.yaml --out built --data train.jsonl",
        "ppx build my.trl.yaml --out built --push-to-hub me/my-rows --private",
    )
)
@_RECIPE
@click.option("--out", type=_NEW, help="Build below this folder, not where `ppx train` looks.")
@_DATA
@_MODEL
@click.option("--rows", type=click.IntRange(min=1), help="Build only so many, from the first on.")
@click.option("--push-to-hub", "hub", metavar="USER/NAME", help="Upload it, in one commit.")
@click.option("--private", is_flag=True, help="Show a new repository to nobody else.")
def build(
    recipe: str,
    out: Path | None,
    data: str | None,
    model: str | None,
    rows: int | None,
    hub: str | None,
    private: bool,
) -> None:
    """Turn a recipe's data into data in the model's own words.

    Killed at any moment, the next run goes on where the last one was.
    """
    from ppx_ext.building import card, composition

    if private and not hub:
        raise click.UsageError("--private is about a repository: give --push-to-hub too")
    loaded = _load(recipe)
    given = {"data": data, "model": model, "rows": rows}
    command = card.command_of(recipe, out=out, **given)
    made = _host(loaded).built(loaded.path, out=out, command=command, **given)
    composition.show(made.record.numbers)
    click.echo(f"Wrote {made.path} ({card.CARD} beside it tells how).")
    if hub:
        click.echo(f"Uploaded to {card.push(made.folder, hub, private=private)}")
    elsewhere = f" --data {made.path}" if out or rows or data else ""
    click.echo(f"Train on it: ppx train {recipe}{elsewhere}")


@main.command(
    epilog=_example(
        "ppx judge --judge math answers.jsonl judged.jsonl",
        "ppx judge --judge math --judge llm --generator openai \\",
        "    --set generator.base_url=http://localhost:8000/v1 --model my-model \\",
        "    answers.jsonl judged.jsonl",
    )
)
@click.argument("source", metavar="IN")
@click.argument("out", metavar="OUT", type=_NEW)
@click.option("--judge", "judges", multiple=True, required=True, help="Again: first that can tell.")
@click.option("--set", "settings", multiple=True, metavar="KEY=VALUE", help="[JUDGE.]KEY=VALUE.")
@click.option("--response", default="response", show_default=True, help="Column that is judged.")
@click.option("--gold", help="Column with the gold; else gold or answer.")
@click.option("--prompt", help="Column with the question, for judges that read it.")
@click.option("--generator", help="Engine that a judge asks; --set generator.KEY=VALUE sets it.")
@click.option("--model", metavar="PATH_OR_ID", help="That the engine runs, or its server knows.")
def judge(
    source: str,
    out: Path,
    response: str,
    gold: str | None,
    prompt: str | None,
    **wanted: Any,
) -> None:
    """Judge the responses in a file: correct, wrong or unknown, and why.

    Reads response, gold and tests; keeps every column; adds verdict, reason and judge. OUT ends in
    .jsonl or .parquet. Killed at any moment, the next run goes on where the last one was.
    """
    from ppx_ext import catalog, judge_run
    from ppx_ext.judging import Columns

    columns = Columns(response=response, gold=gold, prompt=prompt)
    given = judge_run.Wanted(**wanted)
    judge_run.show(judge_run.run(source, out, given, columns=columns, catalog=catalog.load()))
    click.echo(f"Wrote {out}.")


@main.command(epilog=_example("ppx train my.trl.yaml --data train.jsonl --out checkpoint"))
@_RECIPE
@_DATA
@_MODEL
@click.option("--out", type=_NEW, help="Write the checkpoint here instead.")
def train(recipe: str, data: str | None, model: str | None, out: Path | None) -> None:
    """Train a recipe in its own host."""
    loaded = _load(recipe)
    _host(loaded).train(loaded.path, data=data, model=model, out=out)


@main.command(epilog=_example("ppx view prepared --rows 3", "ppx view prepared --html mask.html"))
@click.argument("folder", type=_FOLDER)
@click.option("--rows", default=5, show_default=True, type=click.IntRange(min=1))
@click.option("--html", type=_NEW, help="Write one self-contained page here instead.")
def view(folder: Path, rows: int, html: Path | None) -> None:
    """Show prepared rows: tokens coloured by perplexity, masked ones struck out."""
    from ppx_ext import view as viewing

    viewing.show(folder, rows=rows, html=html)


@main.command(epilog=_example("ppx report out/demo"))
@click.argument("folder", type=_FOLDER)
def report(folder: Path) -> None:
    """Write report.json and report.html of a run."""
    from ppx_ext import report as reporting

    click.echo(f"Wrote {reporting.write(folder)}")


@main.command(epilog=_example("ppx doctor my.axolotl.yaml"))
@_RECIPE
@_JSON
def doctor(recipe: str, as_json: bool) -> None:
    """Say what a recipe would run, on which stack; fail where our part would not be active."""
    from ppx_ext import doctor as examining
    from ppx_ext import listing

    seen = examining.examine(recipe, folders=_folders())
    click.echo(listing.as_json(seen.dump())) if as_json else examining.show(seen)
    if not seen.active:
        raise click.exceptions.Exit(1)


@main.command(epilog=_example("ppx demo", "ppx demo --data train.jsonl --out out/mine"))
@click.option("--out", type=_NEW, default=Path("out/demo"), show_default=True)
@click.option("--data", metavar="PATH_OR_ID", help="Rows to learn, instead of the embedded task.")
@click.option("--rows", type=click.IntRange(min=1), help="Learn only so many rows.")
@click.option("--seeds", type=click.IntRange(min=1), help="Train each way so many times.")
def demo(out: Path, data: str | None, rows: int | None, seeds: int | None) -> None:
    """Fine-tune a small embedded model with and without the mask, and compare."""
    from ppx_ext.demo import run

    run.run(out, data=data, rows=rows, seeds=run.DEFAULT_SEEDS if seeds is None else seeds)


@main.group()
def recipes() -> None:
    """Recipes that come with the installed methods."""


@recipes.command("list", epilog=_example("ppx recipes list"))
@_JSON
def recipes_list(as_json: bool) -> None:
    """List the recipes."""
    from ppx_ext import listing

    found = listing.recipes(_folders())
    click.echo(listing.as_json(found)) if as_json else listing.show_recipes(found)


@recipes.command("show", epilog=_example("ppx recipes show stm/gemma-2-2b-it/mbpp.trl"))
@click.argument("name")
def recipes_show(name: str) -> None:
    """Print a recipe."""
    from ppx_ext import recipes as own

    click.echo(own.find(name, folders=_folders()).read_text(encoding="utf-8"), nl=False)


@recipes.command("copy", epilog=_example("ppx recipes copy stm/gemma-2-2b-it/mbpp.trl my.trl.yaml"))
@click.argument("name")
@click.argument("destination", type=_NEW, default=Path("."))
def recipes_copy(name: str, destination: Path) -> None:
    """Copy a recipe, to change it."""
    from ppx_ext import recipes as own

    click.echo(f"Wrote {own.copy(name, destination, folders=_folders())}")


def _folders() -> tuple[Path, ...]:
    from ppx_ext import catalog

    return catalog.load().recipe_folders


def _load(recipe: str) -> Recipe:
    from ppx_ext import recipes as own

    return own.load(recipe, folders=_folders())


def _host(recipe: Recipe) -> ModuleType:
    import importlib

    return importlib.import_module(f"ppx_ext.hosts.{recipe.host}")
