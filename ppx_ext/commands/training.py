"""Commands that take a recipe: prepare, build, train, doctor; and the demo."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from ppx_ext.commands import options
from ppx_ext.commands.options import example


@click.command(epilog=example("ppx prepare my.trl.yaml --out prepared --data train.jsonl"))
@options.RECIPE
@click.option("--out", type=options.NEW, required=True, help="A folder for the prepared data set.")
@options.DATA
@options.MODEL
@click.option("--overwrite", is_flag=True, help="Replace what stands in --out.")
def prepare(recipe: str, out: Path, data: str | None, model: str | None, overwrite: bool) -> None:
    """Tokenise, score and mask a recipe's data; write the data set and its manifest.

    Killed at any moment, the next run goes on where the last one was.
    """
    from ppx_ext import pipeline

    loaded = options.load(recipe)
    found = options.host(loaded).tokenized(loaded.path, data=data, model=model)
    pipeline.prepare(found, out, overwrite=overwrite)
    from ppx_ext.hosts import left  # heavy: after an error in the recipe is told

    left.recipe(out, loaded.path, data=data, model=model, out=out)
    click.echo(f"Wrote {out}. Look at it: ppx view {out}")


@click.command(
    epilog=example(
        "ppx build my.trl.yaml --out built --data train.jsonl",
        "ppx build my.trl.yaml --out built --push-to-hub me/my-rows --private",
    )
)
@options.RECIPE
@click.option("--out", type=options.NEW, help="Build here, not where `ppx train` looks.")
@options.DATA
@options.MODEL
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
    loaded = options.load(recipe)
    given = {"data": data, "model": model, "rows": rows}
    command = card.command_of(recipe, out=out, **given)
    made = options.host(loaded).built(loaded.path, out=out, command=command, **given)
    composition.show(made.record.numbers)
    click.echo(f"Wrote {made.path} ({card.CARD} beside it tells how).")
    if hub:
        click.echo(f"Uploaded to {card.push(made.folder, hub, private=private)}")
    elsewhere = f" --data {made.path}" if out or rows or data else ""
    click.echo(f"Train on it: ppx train {recipe}{elsewhere}")


@click.command(epilog=example("ppx train my.trl.yaml --data train.jsonl --out checkpoint"))
@options.RECIPE
@options.DATA
@options.MODEL
@click.option("--out", type=options.NEW, help="Write the checkpoint here instead.")
def train(recipe: str, data: str | None, model: str | None, out: Path | None) -> None:
    """Train a recipe in its own host."""
    loaded = options.load(recipe)
    options.host(loaded).train(loaded.path, data=data, model=model, out=out)


@click.command(epilog=example("ppx doctor my.axolotl.yaml"))
@options.RECIPE
@options.JSON
def doctor(recipe: str, as_json: bool) -> None:
    """Say what a recipe would run, on which stack; fail where our part would not be active."""
    from ppx_ext import doctor as examining
    from ppx_ext import listing

    seen = examining.examine(recipe, folders=options.folders())
    click.echo(listing.as_json(seen.dump())) if as_json else examining.show(seen)
    if not seen.active:
        raise click.exceptions.Exit(1)


@click.command(
    epilog=example("ppx demo", "ppx demo --data train.jsonl --prompt ask --response say")
)
@click.option("--out", type=options.NEW, default=Path("out/demo"), show_default=True)
@click.option("--data", metavar="PATH_OR_ID", help="Rows to learn, instead of the embedded task.")
@click.option("--rows", type=click.IntRange(min=1), help="Learn only so many rows.")
@click.option("--seeds", type=click.IntRange(min=1), help="Train each way so many times.")
@click.option("--prompt", metavar="COLUMN", help="Column of --data with the prompt, if unclear.")
@click.option("--response", metavar="COLUMN", help="Column of --data with the gold response.")
@click.option("--messages", metavar="COLUMN", help="Column of --data with a whole chat, instead.")
def demo(out: Path, data: str | None, rows: int | None, seeds: int | None, **named: Any) -> None:
    """Fine-tune a small embedded model with and without the mask, and compare."""
    from ppx_ext.demo import run

    fields = {key: name for key, name in named.items() if name}
    if fields and data is None:
        raise click.UsageError("--prompt, --response and --messages name columns of --data")
    seeds = run.DEFAULT_SEEDS if seeds is None else seeds
    run.run(out, data=data, rows=rows, seeds=seeds, fields=fields)
