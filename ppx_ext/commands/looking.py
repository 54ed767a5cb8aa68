"""Commands that show: methods, view, report."""

from __future__ import annotations

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


@click.command(epilog=example("ppx report out/demo"))
@click.argument("folder", type=options.FOLDER)
def report(folder: Path) -> None:
    """Write report.json and report.html of a run."""
    from ppx_ext import report as reporting

    click.echo(f"Wrote {reporting.write(folder)}")
