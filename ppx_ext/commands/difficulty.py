"""The command `ppx measure`: how difficult a recipe's rows are, by any measure."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ppx_ext.commands import options
from ppx_ext.commands.options import example

if TYPE_CHECKING:
    from ppx_ext.pipeline import Tokenized


@click.command(
    epilog=example(
        "ppx measure my.trl.yaml --by response_length --by nll --out measures.parquet",
        "ppx measure my.trl.yaml --by '{use: steps, pattern: gsm8k}' --plot steps.html",
    )
)
@options.RECIPE
@click.option(
    "--by", "asked", metavar="MEASURE", multiple=True, help="As `choose.by`; more than one."
)
@click.option("--out", type=options.NEW, help="Write a Parquet file of all rows' measures.")
@click.option("--plot", type=options.NEW, help="Write histograms here, not beside --out.")
@options.DATA
@options.MODEL
@options.JSON
def measure(
    recipe: str,
    asked: tuple[str, ...],
    out: Path | None,
    plot: Path | None,
    data: str | None,
    model: str | None,
    as_json: bool,
) -> None:
    """Measure the difficulty of a recipe's rows; show quantiles and correlations.

    What was measured is kept, and training with the same measure reads it. `ppx select` reads
    --out.
    """
    from ppx_ext import catalog, listing, measuring
    from ppx_ext.measuring import page

    if out is not None and out.suffix != ".parquet":
        raise click.UsageError(f"--out {out}: the file is Parquet, so let it end in .parquet")
    loaded = options.load(recipe)

    def tokenized(by: Any) -> Tokenized:
        host = options.host(loaded)
        if by is None:
            return host.tokenized(loaded.path, data=data, model=model)  # type: ignore[no-any-return]
        with measuring.with_measure(loaded.path, by) as path:
            return host.tokenized(path, data=data, model=model)  # type: ignore[no-any-return]

    with options.logs_aside():
        table = measuring.measure_table([_block(by) for by in asked], tokenized, catalog.load())
    click.echo(listing.as_json(table.dump())) if as_json else page.show(table)
    if out is not None:
        measuring.write(table, out)
        click.echo(f"Wrote {out}.", err=as_json)
    drawn = plot or (out.with_suffix(".html") if out else None)
    if drawn is not None:
        page.write_page(table, drawn, title=Path(data or recipe).name)
        click.echo(f"Wrote {drawn}.", err=as_json)


def _block(by: str) -> Any:
    """A name, or a mapping as a recipe holds it."""
    import yaml

    try:
        found = yaml.safe_load(by)
    except yaml.YAMLError:
        found = by
    if isinstance(found, (str, dict)):
        return found
    raise click.UsageError(f"--by {by}: give a name, or a mapping: '{{use: NAME, ...}}'")
