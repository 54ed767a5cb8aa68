"""A few rows whose tokens the page shows, where the folder holds a prepared data set."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ppx_ext.reporting.collect import MANIFEST_FILE
from ppx_ext.view import TokenView
from ppx_ext.view import read as read_view

ROWS = 3


def read(folder: Path) -> TokenView | None:
    """The first rows of a prepared folder; None where the folder is none.

    Raises:
        ValueError: the prepared data set cannot be read.
    """
    if not (folder / MANIFEST_FILE).is_file() or not (folder / "dataset").is_dir():
        return None
    return read_view(folder, rows=ROWS)


def numbers(view: TokenView | None) -> list[dict[str, Any]]:
    """What report.json tells of the rows; see `schema.TokenRow`."""
    if view is None:
        return []
    return [
        {
            "row": shown.row,
            "targets": shown.targets,
            "masked": shown.masked,
            "loss_kept": shown.loss_kept,
            "perplexity": shown.ppl,
        }
        for shown in view.shown
    ]
