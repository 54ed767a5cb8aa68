"""The easiest or hardest rows up to a count or a budget of tokens, exactly, in one read.

A bound is read off a random sample, with a margin of 6 standard deviations; one chunked filter
leaves little more than the rows that are wanted; these are cut exactly. Where the sample misled,
too few rows come through the filter: that is seen, and the bound widened.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from ppx_ext.selecting.order import Array, Positions, refuse_nan, sampled, tie_hashes, turned

SAMPLE = 1 << 18
CHUNK = 1 << 17
MARGINS = (6.0, 60.0)
"""Standard deviations that the sampled bound is widened by; after these, there is no bound."""


@dataclass(frozen=True, kw_only=True)
class Chosen:
    """Chosen rows.

    Attributes:
        rows: their positions (int64), ascending.
        tokens: of these rows together, where lengths were given.
        short: what is left of the budget, in rows or in tokens.
    """

    rows: Positions
    tokens: int | None
    short: int


@dataclass(frozen=True, kw_only=True)
class _Rows:
    """Candidates: positions ascending, scores `turned`, and lengths in tokens or None."""

    at: Positions
    values: Array
    lengths: Array | None

    def __len__(self) -> int:
        return len(self.at)

    def take(self, which: Array) -> _Rows:
        lengths = None if self.lengths is None else self.lengths[which]
        return _Rows(at=self.at[which], values=self.values[which], lengths=lengths)


@dataclass(kw_only=True)
class _Kept:
    """The first rows of those seen so far.

    Memory is bounded by what the budget takes: rows that can no longer be among the first are
    dropped whenever twice as many have come.
    """

    limit: int
    hardest: bool
    seed: int
    bound: Array | None
    cut: bool = False
    edge: np.uint64 | None = None
    pieces: list[_Rows] = field(default_factory=list)
    size: int = 0
    capacity: int = 1 << 19

    def add(self, rows: _Rows) -> None:
        if self.edge is not None:
            tied = rows.values == self.bound
            if tied.any():
                fits = ~tied
                fits[tied] = self._hashes(rows.at[tied]) < self.edge
                rows = rows.take(fits)
        self.pieces.append(rows)
        self.size += len(rows)
        if self.size > self.capacity:
            self.prune()
            self.capacity = max(self.capacity, 2 * self.size)

    def prune(self) -> _Rows:
        """Drop what is beyond the budget, and remember where it was cut."""
        rows = self._joined()
        value = _value_at(rows, self.limit)
        if value is not None:
            below, tied = rows.values < value, np.flatnonzero(rows.values == value)
            order = self._hashes(rows.at[tied])
            by_hash = np.argsort(order)
            room = self.limit - _total(rows.take(below))
            ends = _cumulative(rows.take(tied[by_hash]))
            fitting = int(np.searchsorted(ends, room, side="right"))
            # The first row left out, not the last one taken: a shorter one may yet fit before it.
            self.bound, self.edge, self.cut = value, order[by_hash[fitting]], True
            below[tied[by_hash[:fitting]]] = True
            rows = rows.take(below)
        self.pieces, self.size = [rows], len(rows)
        return rows

    def _hashes(self, at: Positions) -> Array:
        return tie_hashes(at, self.seed, hardest=self.hardest)

    def _joined(self) -> _Rows:
        first, *others = self.pieces
        if not others:
            return first
        lengths = None
        if first.lengths is not None:
            lengths = np.concatenate([piece.lengths for piece in self.pieces])
        joined = _Rows(
            at=np.concatenate([piece.at for piece in self.pieces]),
            values=np.concatenate([piece.values for piece in self.pieces]),
            lengths=lengths,
        )
        self.pieces = [joined]
        return joined


def choose(
    scores: Array,
    *,
    count: int | None = None,
    tokens: int | None = None,
    lengths: Array | None = None,
    hardest: bool = False,
    seed: int = 0,
) -> Chosen:
    """The easiest rows (the hardest, if asked) up to ``count`` rows or ``tokens`` tokens.

    As after a sort: rows are taken in the order of their scores, equal scores in the order of a
    seeded hash of their positions, up to the first row that does not fit. What is left of the
    budget is told in `Chosen.short`. About 16 bytes are held for each chosen row.

    Args:
        scores: of N rows, floats or integers; larger is harder. A memory map is never copied whole.
        count: at most so many rows.
        tokens: at most so many tokens, instead; needs ``lengths``.
        lengths: of the N rows, in tokens.
        hardest: take the largest scores first.
        seed: of the order of equal scores.

    Raises:
        ValueError: a score is NaN, a length is negative, or the arguments do not fit together.
    """
    scores = _checked(scores)
    limit = _limit(count, tokens, lengths, len(scores))
    used = lengths if tokens is not None else None
    for margin in (*MARGINS, None):
        bound = _bound(scores, used, limit, margin, hardest=hardest)
        kept = _Kept(limit=limit, hardest=hardest, seed=seed, bound=bound)
        if used is None:
            kept.capacity = max(kept.capacity, 2 * limit)
        for rows in _candidates(scores, used, kept):
            kept.add(rows)
        rows = kept.prune()
        if bound is None or kept.cut or (used is None and len(rows) == limit):
            break
    total = None if lengths is None else int(lengths[rows.at].sum(dtype=np.int64))
    return Chosen(rows=rows.at.astype(np.int64), tokens=total, short=limit - _total(rows))


def in_window(scores: Array, low: float, high: float, *, seed: int = 0) -> Positions:
    """Positions, ascending, of the rows whose rank is in the quantiles [``low``, ``high``).

    Of N rows, those at places round(low N) to round(high N) - 1 of the order of `choose`: windows
    that touch share no row and leave none out, equal scores or not.

    Raises:
        ValueError: a score is NaN, or not 0 <= low < high <= 1.
    """
    scores = _checked(scores)
    if not 0 <= low < high <= 1:
        raise ValueError(f"a window is two quantiles, 0 <= low < high <= 1: got {low} and {high}")
    rows = len(scores)
    first, end = round(low * rows), round(high * rows)
    # From the nearer end, as everything up to the window's far edge is held.
    hardest = rows - first < end
    outer, inner = (rows - first, rows - end) if hardest else (end, first)
    near = choose(scores, count=outer, hardest=hardest, seed=seed).rows
    drop = _Kept(limit=inner, hardest=hardest, seed=seed, bound=None)
    values = turned(scores[near], hardest=hardest)
    drop.pieces = [_Rows(at=near, values=values, lengths=None)]
    return np.setdiff1d(near, drop.prune().at, assume_unique=True)


def _checked(scores: Array) -> Array:
    if scores.ndim != 1 or scores.dtype.kind not in "fiub":
        raise ValueError(
            f"scores are one number for each row, not {scores.dtype} of shape {scores.shape}"
        )
    return scores.view(np.uint8) if scores.dtype.kind == "b" else scores


def _limit(count: int | None, tokens: int | None, lengths: Array | None, rows: int) -> int:
    if (count is None) == (tokens is None):
        raise ValueError("give a count of rows or a budget of tokens: one of the two")
    if tokens is not None and lengths is None:
        raise ValueError("a budget of tokens needs the lengths of the rows")
    if lengths is not None and (lengths.shape != (rows,) or lengths.dtype.kind not in "iu"):
        raise ValueError(
            f"lengths are one whole number for each of {rows} rows, "
            f"not {lengths.dtype} of shape {lengths.shape}"
        )
    limit = count if tokens is None else tokens
    if limit is None or limit < 0:
        raise ValueError(f"a budget is 0 or more, not {limit}")
    return limit


def _candidates(scores: Array, lengths: Array | None, kept: _Kept) -> Iterator[_Rows]:
    """Rows within ``kept.bound``, which may sink on the way."""
    small = np.uint32 if len(scores) <= 1 << 32 else np.int64
    for start in range(0, max(len(scores), 1), CHUNK):
        chunk = scores[start : start + CHUNK]
        hits = _within(chunk, kept.bound, hardest=kept.hardest)
        at, values = hits + start, chunk[hits]
        refuse_nan(values, at)
        part = None if lengths is None else lengths[start : start + CHUNK][hits]
        if part is not None and len(part) and part.min() < 0:
            row = int(at[np.argmax(part < 0)])
            raise ValueError(f"the length of row {row} (counted from 0) is below 0")
        values = turned(values, hardest=kept.hardest)
        yield _Rows(at=at.astype(small), values=values, lengths=part)


def _within(chunk: Array, bound: Array | None, *, hardest: bool) -> Positions:
    if bound is None:
        return np.arange(len(chunk))
    back = turned(bound, hardest=hardest)
    beyond = chunk < back if hardest else chunk > back
    return np.flatnonzero(np.logical_not(beyond, out=beyond))  # NaN is not beyond


def _bound(
    scores: Array, lengths: Array | None, limit: int, margin: float | None, *, hardest: bool
) -> Array | None:
    """An upper bound of the `turned` scores that ``limit`` takes; None where all may be taken."""
    if margin is None or len(scores) <= 2 * SAMPLE:
        return None
    at = sampled(len(scores), SAMPLE)
    values = turned(scores[at], hardest=hardest)
    if lengths is None:
        mean = limit * SAMPLE / len(scores)
        place = int(mean + margin * np.sqrt(mean + 1)) + 1
        return None if place >= SAMPLE else np.partition(values, place)[place]
    order = np.argsort(values)
    part = lengths[at[order]].astype(np.float64)
    surely = np.cumsum(part) - margin * np.sqrt(np.cumsum(part**2))
    beyond = np.flatnonzero(surely * (len(scores) / SAMPLE) > limit)
    return values[order[beyond[0]]] if len(beyond) else None


def _value_at(rows: _Rows, limit: int) -> Array | None:
    """Score of the first row that the budget leaves out; None where it takes all."""
    if rows.lengths is None:
        return np.partition(rows.values, limit)[limit] if limit < len(rows) else None
    order = np.argsort(rows.values)
    end = int(np.searchsorted(_cumulative(rows.take(order)), limit, side="right"))
    return rows.values[order[end]] if end < len(rows) else None


def _cumulative(rows: _Rows) -> Array:
    if rows.lengths is None:
        return np.arange(1, len(rows) + 1)
    return np.cumsum(rows.lengths, dtype=np.int64)


def _total(rows: _Rows) -> int:
    return len(rows) if rows.lengths is None else int(rows.lengths.sum(dtype=np.int64))
