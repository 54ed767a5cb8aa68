"""`ppx select`: rows of a file, chosen by a column of scores, into another file."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from ppx_ext.selecting.budget import Chosen, choose, in_window
from ppx_ext.selecting.columns import Columns, read_columns
from ppx_ext.selecting.distinct import firsts
from ppx_ext.selecting.order import Positions
from ppx_ext.selecting.sources import open_source
from ppx_ext.selecting.strata import draw, shares
from ppx_ext.selecting.taking import write_batches, write_chosen


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What to choose; the options of `ppx select`.

    Attributes:
        by: column of scores; larger is harder.
        count: at most so many rows.
        tokens: at most so many tokens, of the column ``length``.
        length: column of lengths in tokens.
        window: only rows within these quantiles of the scores.
        hardest: from the hardest on.
        strata: column; ``count`` rows are drawn at random, equally from each of its values.
        proportional: from each value as many as it has rows, in proportion.
        unique: column; rows whose value an earlier row has are left out before anything else.
        seed: of equal scores' order, and of what is drawn.
    """

    by: str | None = None
    count: int | None = None
    tokens: int | None = None
    length: str | None = None
    window: tuple[float, float] | None = None
    hardest: bool = False
    strata: str | None = None
    proportional: bool = False
    unique: str | None = None
    seed: int = 0

    def check(self) -> None:
        """Refuse what does not fit together.

        Raises:
            ValueError: saying what.
        """
        strata = self.strata is not None
        budget = self.count is not None or self.tokens is not None
        bounded = budget or self.window is not None
        wrong = {
            "--count and --tokens are two budgets: give one": (
                self.count is not None and self.tokens is not None
            ),
            "--tokens needs --length, the column of the rows' lengths": (
                self.tokens is not None and self.length is None
            ),
            "--by is needed: the column of scores": self.by is None
            and (self.window is not None or (budget and not strata)),
            "give --count, --tokens or --window: how much to choose": (
                not bounded and (self.unique is None or self.by is not None)
            ),
            "--strata needs --count, and cannot be had with --tokens": (
                strata and self.count is None
            ),
            "--strata draws at random: --hardest plays no part, and --by only with --window": (
                strata and (self.hardest or (self.by is not None and self.window is None))
            ),
            "--proportional is about --strata": self.proportional and not strata,
            "--hardest is the order of a budget: give --count or --tokens": (
                self.hardest and not budget
            ),
        }
        for message, holds in wrong.items():
            if holds:
                raise ValueError(message)


@dataclass(frozen=True, kw_only=True)
class Selected:
    """What was chosen of ``total`` rows, and which budget it falls short of."""

    rows: Positions
    total: int
    tokens: int | None
    notes: tuple[str, ...]


def run(
    source: Path, out: Path, wanted: Wanted, *, indexes: bool = False, overwrite: bool = False
) -> Selected:
    """Choose rows of ``source``; write them (or their ``indexes``, column ``row``) to ``out``.

    Rows keep their order. Columns are read once, in bounded memory, into files beside ``out``. What
    stands there is replaced only with ``overwrite``.

    Raises:
        ValueError: the options do not fit together, the data cannot be read or has not what is
            asked for, or no row is chosen.
    """
    wanted.check()
    if out.suffix != ".parquet":
        raise ValueError(f"{out}: chosen rows are written as Parquet; name it {out.stem}.parquet")
    if out.exists() and source.exists() and out.samefile(source):
        raise ValueError(f"{out} is the data itself: write to another file")
    if out.exists() and not overwrite:
        raise ValueError(f"{out} is there already: name another file, or replace it (--overwrite)")
    found = open_source(source)
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=".ppx-select-") as folder:
        columns = read_columns(
            found,
            Path(folder),
            by=wanted.by,
            length=wanted.length,
            strata=wanted.strata,
            unique=wanted.unique,
        )
        chosen = select(columns, wanted)
    if not len(chosen.rows):
        raise ValueError(f"no row was chosen of {chosen.total}. {' '.join(chosen.notes)}".strip())
    if indexes:
        write_batches(iter([pa.table({"row": chosen.rows})]), out)
    else:
        write_chosen(found, chosen.rows, out)
    return chosen


def select(columns: Columns, wanted: Wanted) -> Selected:
    """Choose among rows whose columns were read.

    Raises:
        ValueError: see `choose`, `in_window` and `draw`.
    """
    inside, told = _inside(columns, wanted)
    if wanted.strata is not None:
        rows, notes = _drawn(columns, wanted, inside)
    elif wanted.count is None and wanted.tokens is None:
        assert inside is not None
        rows, notes = inside, ()
    else:
        rows, notes = _budget(columns, wanted, inside)
    tokens = None
    if columns.lengths is not None:
        tokens = int(columns.lengths[rows].sum(dtype=np.int64))
    return Selected(rows=rows, total=columns.rows, tokens=tokens, notes=(*told, *notes))


def _inside(columns: Columns, wanted: Wanted) -> tuple[Positions | None, tuple[str, ...]]:
    """Rows that may be chosen at all, None for all, and what must be told of them."""
    inside, notes = None, []
    if columns.keys is not None:
        inside = firsts(columns.keys)
        if lost := columns.rows - len(inside):
            notes.append(f"Left out {lost} rows whose {wanted.unique!r} an earlier row has.")
    if columns.scores is None:
        return inside, tuple(notes)
    if columns.rows > 1 and columns.scores.min() == columns.scores.max():
        same = f"All scores are {columns.scores[0]:g}"
        notes.append(f"{same}: which rows are chosen hangs on the seed alone.")
    if wanted.window is not None:
        scores = columns.scores if inside is None else columns.scores[inside]
        within = in_window(scores, *wanted.window, seed=wanted.seed)
        if not len(within):
            low, high = wanted.window
            raise ValueError(f"no row of {len(scores)} is in the window from {low:g} to {high:g}")
        inside = within if inside is None else inside[within]
    return inside, tuple(notes)


def _budget(
    columns: Columns, wanted: Wanted, inside: Positions | None
) -> tuple[Positions, tuple[str, ...]]:
    assert columns.scores is not None
    every = slice(None) if inside is None else inside
    chosen: Chosen = choose(
        columns.scores[every],
        count=wanted.count,
        tokens=wanted.tokens,
        lengths=None if columns.lengths is None else columns.lengths[every],
        hardest=wanted.hardest,
        seed=wanted.seed,
    )
    rows = chosen.rows if inside is None else inside[chosen.rows]
    if not chosen.short:
        return rows, ()
    if wanted.count is not None:
        return rows, (f"Short by {chosen.short} rows: there are no more.",)
    total = columns.rows if inside is None else len(inside)
    why = "there are no more rows" if len(rows) == total else "the next row is longer than that"
    return rows, (f"Short by {chosen.short} tokens: {why}.",)


def _drawn(
    columns: Columns, wanted: Wanted, inside: Positions | None
) -> tuple[Positions, tuple[str, ...]]:
    labels = columns.labels
    assert labels is not None
    assert wanted.count is not None
    if inside is not None:
        labels = labels[inside]
    names = len(columns.strata)
    sizes = np.bincount(labels, minlength=names).tolist()
    asked = shares(wanted.count, sizes, proportional=wanted.proportional)
    drawn = draw(len(labels), lambda at: labels[at], asked, seed=wanted.seed)
    rows = drawn.rows if inside is None else inside[drawn.rows]
    notes = tuple(
        f"Short by {short} rows of {name!r}: it has {size}."
        for name, short, size in zip(columns.strata, drawn.short, sizes, strict=True)
        if short
    )
    return rows, notes
