"""Rows of a prepared data set with each token coloured by perplexity, and masked ones struck out.

In the terminal, as one self-contained HTML page, and in a notebook (`TokenView` shows itself).
"""

from __future__ import annotations

import base64
import functools
import hashlib
import itertools
import math
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ppx_ext.visible import Piece, pieces

if TYPE_CHECKING:
    import numpy.typing as npt
    from jinja2 import Environment
    from rich.console import Console
    from transformers import PreTrainedTokenizerBase as Tokenizer

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


@dataclass(frozen=True, kw_only=True)
class TokenView:
    """Rows to look at: ``print`` them, ``save`` them as a page, or let a notebook show them.

    Args:
        rows: what to show.
        tokenizer: tells the text of tokens; None shows their ids.
        title: heading of the page.
        threshold: the perplexity above which tokens are masked, where there is one.
        facts: (name, value) pairs to print under the heading.
    """

    rows: Sequence[ViewRow]
    tokenizer: Tokenizer | None = None
    title: str = "Token perplexities"
    threshold: float | None = None
    facts: Sequence[tuple[str, str]] = field(default=())

    @functools.cached_property
    def shown(self) -> list[Shown]:
        """The rows, ready for a template."""
        texts = self._texts()
        special = frozenset(self.tokenizer.all_special_ids) if self.tokenizer else frozenset()
        return [_shown(row, texts, special) for row in self.rows]

    def html(self) -> str:
        """One self-contained page: no network, and scripts only for extras."""
        script = _templates().get_template("view.js").render()
        digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
        return self._render("view.html", script=script, digest=digest)

    def save(self, path: Path) -> Path:
        """Write the page to ``path``, wholly or not at all."""
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(f".{path.name}.{os.getpid()}.tmp")
        with part.open("w", encoding="utf-8") as file:
            file.write(self.html())
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
        return path

    def print(self, console: Console | None = None) -> None:
        """Show the rows in the terminal."""
        from ppx_ext.view_terminal import print_rows

        print_rows(self, console)

    def _repr_html_(self) -> str:
        return self._render("view_fragment.html")

    def _render(self, template: str, **more: Any) -> str:
        return _templates().get_template(template).render(view=self, edges=EDGES, **more)

    def _texts(self) -> dict[int, str]:
        ids = sorted({int(token) for row in self.rows for token in row.ids_T})
        if self.tokenizer is None:
            return {token: f"{token} " for token in ids}
        from ppx_ext.statistics import token_texts

        return dict(zip(ids, token_texts(self.tokenizer, ids), strict=True))


@functools.cache
def _templates() -> Environment:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    return Environment(
        loader=PackageLoader("ppx_ext", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def _shown(row: ViewRow, texts: dict[int, str], special: frozenset[int]) -> Shown:
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
