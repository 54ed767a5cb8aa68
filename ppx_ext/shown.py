"""Rows as they are shown: each token's text, level and mark, and each row's numbers."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ppx_ext.visible import Piece, pieces

if TYPE_CHECKING:
    import numpy.typing as npt

    from ppx_ext.contracts import Bools, Ints

    Float64s = npt.NDArray[np.float64]

SHORT_CONTEXT = 12
EDGES = (1.1, 1.5, 2.5, 5.0, 10.0, 25.0, 100.0, 1000.0)
"""Perplexities where a colour ends: nearly even on a log scale, 1.5 to 1000 being the paper's."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class ViewRow:
    """One row to be shown.

    Attributes:
        row: its number in the user's data.
        ids_T: token ids.
        target_T: True where plain fine-tuning would train.
        keep_T: True where the loss is kept.
        nll_T: score of each token in nats; NaN where there is none (the prompt).
    """

    row: int
    ids_T: Ints
    target_T: Bools
    keep_T: Bools
    nll_T: Float64s


@dataclass(frozen=True, kw_only=True, slots=True)
class Token:
    """A token as it is shown; ``level`` counts the `EDGES` at or below its perplexity."""

    pieces: Sequence[Piece]
    masked: bool
    nll: float | None
    level: int
    special: bool

    @property
    def title(self) -> str:
        """The token's numbers in words."""
        if self.nll is None:
            return "masked" if self.masked else "kept"
        perplexity = math.exp(min(self.nll, 700.0))
        return (
            f"perplexity {perplexity:.4g} · nll {self.nll:.3f} · p {math.exp(-self.nll):.2%} · "
            + ("masked" if self.masked else "kept")
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Part:
    """A stretch of tokens that are all trained on (``response``), or none of them."""

    response: bool
    tokens: Sequence[Token]

    @property
    def folded(self) -> bool:
        """Whether it is shown folded away: a long stretch without loss."""
        return not self.response and len(self.tokens) > SHORT_CONTEXT

    @property
    def opening(self) -> str:
        """The beginning of the text, on one line."""
        text = "".join(piece.text for token in self.tokens[:80] for piece in token.pieces)
        return " ".join(text.split())[:160]


@dataclass(frozen=True, kw_only=True, slots=True)
class Shown:
    """A row, ready for a template, with its numbers."""

    row: int
    blocks: Sequence[Sequence[Part]]
    targets: int
    masked: int
    loss_kept: float | None
    ppl: float | None
    ppl_kept: float | None


def shown(row: ViewRow, texts: dict[int, str], special: frozenset[int]) -> Shown:
    """A row, ready for a template; ``texts`` of all its ids, ``special`` ids shown as such."""
    nll_R = row.nll_T[row.target_T]
    keep_R = row.keep_T[row.target_T]
    known = len(nll_R) > 0 and not np.isnan(nll_R).any()
    total = float(nll_R.sum()) if known else 0.0
    parts = _parts(row, texts, special)
    return Shown(
        row=row.row,
        blocks=[list(block) for _, block in itertools.groupby(parts, key=lambda part: part.folded)],
        targets=len(keep_R),
        masked=int((~keep_R).sum()),
        loss_kept=float(nll_R[keep_R].sum()) / total if total > 0 else None,
        ppl=_perplexity(nll_R) if known else None,
        ppl_kept=_perplexity(nll_R[keep_R]) if known and keep_R.any() else None,
    )


def _perplexity(nll_R: Float64s) -> float:
    return math.exp(min(float(nll_R.mean()), 700.0))


def _parts(row: ViewRow, texts: dict[int, str], special: frozenset[int]) -> Iterable[Part]:
    borders = np.flatnonzero(np.diff(row.target_T)) + 1
    for places in np.split(np.arange(len(row.ids_T)), borders):
        if len(places):
            tokens = [_token(row, int(place), texts, special) for place in places]
            yield Part(response=bool(row.target_T[places[0]]), tokens=tokens)


def _token(row: ViewRow, place: int, texts: dict[int, str], special: frozenset[int]) -> Token:
    token, nll = int(row.ids_T[place]), float(row.nll_T[place])
    is_target = bool(row.target_T[place])
    known = is_target and not math.isnan(nll)
    return Token(
        pieces=pieces(texts[token]),
        masked=is_target and not bool(row.keep_T[place]),
        nll=nll if known else None,
        level=int(np.searchsorted(_NLL_EDGES, nll, side="right")) if known else 0,
        special=token in special,
    )


_NLL_EDGES = np.log(EDGES)
