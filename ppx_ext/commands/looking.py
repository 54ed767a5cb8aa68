"""Commands that show: methods, view, report."""

from __future__ import annotations

import json
from pathlib import Path

import click

from ppx_ext.commands import options
from ppx_ext.commands.options import example


@click.command(epilog=example("ppx methods", "ppx methods --json | jq '.[].name'"))
@options.JSON
def methods(as_json: bool) -> None:
    """List the installed methods with their papers and settings."""
    from ppx_ext import catalog, listing

    found = listing.components(catalog.load())
    click.echo(listing.as_json(found)) if as_json else listing.show_methods(found)


@click.command(epilog=example("ppx view prepared --rows 3", "ppx view prepared --html mask.html"))
@click.argument("folder", type=options.FOLDER)
@click.option("--rows", default=5, show_default=True, type=click.IntRange(min=1))
@click.option("--html", type=options.NEW, help="Write one self-contained page here instead.")
def view(folder: Path, rows: int, html: Path | None) -> None:
    """Show prepared rows: tokens coloured by perplexity, masked ones struck out."""
    from ppx_ext import view as viewing

    viewing.show(folder, rows=rows, html=html)


@click.command(epilog=example("ppx report out/demo", "ppx report --schema > report.schema.json"))
@click.argument("folder", type=options.FOLDER, required=False)
@click.option("--schema", is_flag=True, help="Print the JSON Schema of report.json, and end.")
def report(folder: Path | None, schema: bool) -> None:
    """Write report.json, report.html and plots/ of a run into its folder.

    FOLDER is what `ppx train`, `prepare`, `eval --out`, `compare` or `demo` wrote.
    """
    from ppx_ext import reporting
    from ppx_ext.reporting.schema import json_schema

    if schema == (folder is not None):
        raise click.UsageError("give either a FOLDER to report on, or --schema")
    if folder is None:
        click.echo(json.dumps(json_schema(), indent=2))
    else:
        reporting.write(folder)
        click.echo(f"Wrote {folder / reporting.PAGE_FILE}")
