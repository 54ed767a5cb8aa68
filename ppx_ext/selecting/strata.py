"""Rows drawn at random from each of several strata, with exact counts, in one read.

Each position has a hash as its priority, and each stratum gives its rows of the lowest: the same
rows whatever the chunks, the order of the passes or the number of shards.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np

from ppx_ext.selecting.order import Array, Hashes, Positions, hashes, refuse_nan, sampled

CHUNK = 1 << 15
SAMPLE = 1 << 16
EDGES = 10**6
TOP = 2**64 - 1

Label: TypeAlias = Callable[[Positions], Array]
"""The strata, 0 to S - 1, of the rows at these positions."""


@dataclass(frozen=True, kw_only=True)
class Drawn:
    """Drawn rows.

    Attributes:
        rows: their positions (int64), ascending.
        counts: how many of each stratum.
        short: how many each stratum has too few.
    """

    rows: Positions
    counts: tuple[int, ...]
    short: tuple[int, ...]


def shares(count: int, sizes: Sequence[int], *, proportional: bool) -> tuple[int, ...]:
    """``count`` parted over strata: equally, or by their sizes; the sum is ``count`` exactly.

    What does not part evenly goes to the largest remainders; among equal ones, to the first.

    Raises:
        ValueError: there is no stratum, no row, or ``count`` is negative.
    """
    weights = list(sizes) if proportional else [1] * len(sizes)
    whole = sum(weights)
    if count < 0 or whole <= 0:
        raise ValueError(f"{count} rows cannot be parted over strata of {list(sizes)} rows")
    floors = [count * weight // whole for weight in weights]
    by_rest = sorted(range(len(weights)), key=lambda at: -(count * weights[at] % whole))
    for at in by_rest[: count - sum(floors)]:
        floors[at] += 1
    return tuple(floors)


def quantile_bins(scores: Array, bins: int) -> Label:
    """Labels of ``bins`` strata of nearly equal size, from easy to hard.

    The edges are quantiles of a sample of 10^6 rows, so sizes are off by some 0.1 % of all rows;
    up to 10^6 rows they are the quantiles themselves. Equal scores share a stratum.

    Raises:
        ValueError: there is no row, or (when labels are asked for) a score is NaN.
    """
    if not len(scores) or bins < 1:
        raise ValueError(f"{len(scores)} scores cannot be parted into {bins} strata")
    sample = scores
    if len(scores) > EDGES:
        sample = scores[sampled(len(scores), EDGES)]
    edges = np.quantile(sample, np.arange(1, bins) / bins)

    def label(at: Positions) -> Array:
        found = scores[at]
        refuse_nan(found, at)
        return np.searchsorted(edges, found, side="right")

    return label


def draw(rows: int, label: Label, wanted: Sequence[int], *, seed: int = 0) -> Drawn:
    """``wanted[s]`` rows of each stratum s, all equally likely, without one twice.

    Labels are asked for once, and only for rows whose hash can be low enough; where the sample
    that told so misled, that is seen, and all rows are read again. About 24 bytes are held for
    each row that is wanted.

    Args:
        rows: how many there are.
        label: tells the strata of positions.
        wanted: rows of each stratum; `shares` parts a count.
        seed: of the hash.

    Raises:
        ValueError: a label is not one of the strata, or a number of rows is negative.
    """
    if min(wanted, default=0) < 0:
        raise ValueError(f"strata give 0 rows or more, not {list(wanted)}")
    asked = np.asarray(wanted, dtype=np.int64)
    top = _top(rows, label, asked)
    found = _sweep(rows, label, asked, seed, top)
    if top < TOP and (found.counts() < asked).any():
        found = _sweep(rows, label, asked, seed, TOP)
    counts = found.counts()
    return Drawn(
        rows=np.sort(found.at).astype(np.int64),
        counts=tuple(counts.tolist()),
        short=tuple((asked - counts).tolist()),
    )


@dataclass(kw_only=True)
class _Lowest:
    """Of each stratum, the rows seen so far whose hashes are lowest."""

    asked: Array
    top: int
    at: Positions = field(default_factory=lambda: np.empty(0, dtype=np.int64))
    label: Array = field(default_factory=lambda: np.empty(0, dtype=np.int64))
    hash: Hashes = field(default_factory=lambda: np.empty(0, dtype=np.uint64))
    pieces: list[tuple[Positions, Array, Hashes]] = field(default_factory=list)
    size: int = 0

    def add(self, at: Positions, label: Array, order: Hashes) -> None:
        strata = len(self.asked)
        if len(label) and (label.min() < 0 or label.max() >= strata):
            row = int(at[np.argmax((label < 0) | (label >= strata))])
            raise ValueError(f"the label of row {row} (counted from 0) is none of {strata} strata")
        self.pieces.append((at, label, order))
        self.size += len(at)
        if self.size > 2 * int(self.asked.sum()) + CHUNK:
            self.prune()

    def prune(self) -> None:
        joined = [(self.at, self.label, self.hash), *self.pieces]
        at, label, order = (np.concatenate(parts) for parts in zip(*joined, strict=True))
        by = np.argsort(label.astype(_smallest(len(self.asked))), kind="stable")
        counts = np.bincount(label, minlength=len(self.asked))
        low = [by[:0]]
        for group, count in zip(np.split(by, np.cumsum(counts)), self.asked, strict=False):
            if len(group) > count:
                group = group[np.argpartition(order[group], count)[:count]]
            low.append(group)
        kept = np.concatenate(low)
        self.at, self.label, self.hash = at[kept], label[kept], order[kept]
        self.pieces, self.size = [], len(kept)
        if len(kept) and (self.counts() == self.asked).all():
            self.top = int(self.hash.max())

    def counts(self) -> Array:
        return np.bincount(self.label, minlength=len(self.asked))


def _smallest(strata: int) -> type[np.integer[Any]]:
    """A type for the labels: those of 16 bits are sorted in linear time."""
    return np.uint16 if strata <= 1 << 16 else np.int64


def _sweep(rows: int, label: Label, asked: Array, seed: int, top: int) -> _Lowest:
    found = _Lowest(asked=asked, top=top)
    for start in range(0, rows, CHUNK):
        at = np.arange(start, min(start + CHUNK, rows))
        order = hashes(at, seed)
        if found.top < TOP:
            low = np.flatnonzero(order <= np.uint64(found.top))
            at, order = at[low], order[low]
        found.add(at, label(at).astype(np.int64), order)
    found.prune()
    return found


def _top(rows: int, label: Label, asked: Array) -> int:
    """A hash that the wanted rows of every stratum will hardly exceed, told by a sample."""
    if rows <= 2 * SAMPLE or not asked.any():
        return TOP
    at = sampled(rows, SAMPLE)
    seen = np.bincount(label(at).astype(np.int64), minlength=len(asked))[: len(asked)]
    sizes = (seen - 6 * np.sqrt(seen)) * (rows / SAMPLE)
    need = (asked + 6 * np.sqrt(asked))[asked > 0]
    if (sizes[asked > 0] <= need).any():
        return TOP
    return min(int(float((need / sizes[asked > 0]).max()) * 2**64), TOP)
