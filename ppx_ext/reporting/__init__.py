"""What a run left behind -> report.json, report.html and plots/.

``report.json`` has the layout of `schema.Report` (``ppx report --schema`` prints its JSON Schema).
The page is one file that needs no network and no script; ``plots/`` holds its pictures as PNG and
SVG. All numbers are recomputed from item results.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ppx_ext.files import write_atomic
from ppx_ext.records import write_json, write_text
from ppx_ext.reporting import render, schema, tokens
from ppx_ext.reporting.collect import STUDY_FILE, collect

__all__ = ["PAGE_FILE", "PLOTS", "REPORT_FILE", "STUDY_FILE", "collect", "write"]

REPORT_FILE, PAGE_FILE, PLOTS = "report.json", "report.html", "plots"


def write(folder: Path) -> dict[str, Any]:
    """Write report.json, report.html and plots/ of a run into its folder; gives the first of them.

    ``folder`` is the output folder of a training run, of ``ppx prepare``, of ``ppx eval --out``, of
    ``ppx compare`` or of ``ppx demo``.

    Raises:
        ValueError: no run of ours wrote there, or a file of it cannot be read (it is named).
    """
    report = collect(folder)
    shown = tokens.read(folder)
    report["tokens"] = tokens.numbers(shown)
    schema.check(report)
    plots = render.plots_of(report)
    write_json(folder / REPORT_FILE, report)
    _write_plots(folder / PLOTS, plots)
    write_text(folder / PAGE_FILE, render.page(report, plots, shown))
    return report


def _write_bytes(path: Path, content: bytes) -> None:
    """Write a file whole or not at all."""
    write_atomic(path, lambda file: file.write(content))


def _write_plots(folder: Path, plots: render.Plots) -> None:
    """Write each plot as SVG and PNG; those of an earlier report that has more are removed."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, plot in plots.items():
        write_text(folder / f"{name}.svg", plot.svg_file())
        _write_bytes(folder / f"{name}.png", plot.png())
    for path in [*folder.glob("*.svg"), *folder.glob("*.png")]:
        if path.stem not in plots:
            path.unlink()
