"""What a mask did, in numbers: how much it took, of which kind of token, and where.

All numbers are of *targets*. ``share`` and ``rate`` are in [0, 1]; losses are sums of nll (nats).
"""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from ppx_ext.contracts import Numbers, Scored

if TYPE_CHECKING:
    import numpy.typing as npt
    from transformers import PreTrainedTokenizerBase as Tokenizer

    from ppx_ext.contracts import Bools

    Float64s = npt.NDArray[np.float64]
    Int64s = npt.NDArray[np.int64]

KINDS = ("word", "punctuation", "whitespace", "newline", "digit", "special", "other")
BANDS = ("0-2", "3-30", "31-79", "80+")
FEW_TARGETS = 5
NEAR = 0.01
MOST_MASKED = 20
FIRST_ROWS = 10
_BAND_STARTS = (3, 31, 80)
_CHUNK_TARGETS = 1 << 17


def nll_of(scored: Scored) -> Float64s | None:
    """The row's nll, float64 (R,), from its score ``nll`` or ``perplexity``; else None."""
    if "nll" in scored.scores:
        return np.asarray(scored.scores["nll"], dtype=np.float64)
    if "perplexity" in scored.scores:
        return np.log(np.asarray(scored.scores["perplexity"], dtype=np.float64))
    return None


def tally(
    scored_and_keeps: Iterable[tuple[Scored, Bools]], *, tokenizer: Tokenizer, state: Numbers
) -> Numbers:
    """The record of a mask over a data set, as plain JSON numbers; one pass, vectorised.

    Args:
        scored_and_keeps: each row with its kept targets, bool (R,).
        tokenizer: tells the text of tokens.
        state: the mask's fitted state; ``nll_threshold`` in it (nats) lets tokens near it be told.

    Returns:
        ``rows``, ``targets``, ``masked``, ``masked_share``; ``loss_kept`` (share of the summed nll
        whose tokens are kept; None where no nll is known); ``by_kind`` and ``by_position`` (place
        in the response, or in the turn) with ``targets``, ``masked``, ``masked_rate``,
        ``share_of_masked`` and ``share_of_masked_loss`` each; ``carriage_returns``, the same for
        tokens with ``\\r`` in them; ``most_masked`` tokens; rows left with ``few_targets`` and with
        ``no_targets``; ``near_threshold``, the tokens whose perplexity is within 1 % of it.
    """
    sums = _Sums(threshold=state.get("nll_threshold"))
    for chunk in _chunks(scored_and_keeps):
        sums.add(chunk)
    return _report(sums, tokenizer)


def token_texts(tokenizer: Tokenizer, ids: Sequence[int]) -> list[str]:
    """The text that each token adds to a text, spaces included; its raw piece where it is no text
    of its own (a byte of a longer character).
    """
    # Some decoders strip the space off a first token: let each follow another one.
    anchor = tokenizer("a", add_special_tokens=False)["input_ids"][-1]
    start = len(tokenizer.decode([anchor], clean_up_tokenization_spaces=False))
    pairs = [[anchor, int(token)] for token in ids]
    texts = tokenizer.batch_decode(pairs, clean_up_tokenization_spaces=False)
    pieces = tokenizer.convert_ids_to_tokens([int(token) for token in ids])
    return [
        str(piece) if "\N{REPLACEMENT CHARACTER}" in text else text[start:]
        for text, piece in zip(texts, pieces, strict=True)
    ]


def kind_of(text: str) -> str:
    """Which of `KINDS` (but ``special``) a token's text is.

    ``newline`` is any token with a line break in it, ``word`` any other with a letter or an
    underscore in it.
    """
    bare = text.strip()
    if "\n" in text or "\r" in text:
        return "newline"
    if not bare:
        return "whitespace" if text else "other"
    if bare.isdecimal():
        return "digit"
    if any(character.isalpha() or character == "_" for character in bare):
        return "word"
    plain = all(unicodedata.category(character)[0] in "PSZ" for character in bare)
    return "punctuation" if plain else "other"


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class _Chunk:
    """Targets of some rows, one after the other: (C,), and one entry for each row: (N,)."""

    ids_C: Int64s
    keep_C: Bools
    nll_C: Float64s | None
    place_C: Int64s
    end_C: Bools
    row_N: Int64s
    kept_N: Int64s


def _chunks(rows: Iterable[tuple[Scored, Bools]]) -> Iterator[_Chunk]:
    pending: list[tuple[Scored, Bools]] = []
    targets = 0
    for scored, keep_R in rows:
        pending.append((scored, keep_R))
        targets += len(keep_R)
        if targets >= _CHUNK_TARGETS:
            yield _chunk(pending)
            pending, targets = [], 0
    if pending:
        yield _chunk(pending)


def _chunk(rows: list[tuple[Scored, Bools]]) -> _Chunk:
    examples = [scored.example for scored, _ in rows]
    nlls = [nll_of(scored) for scored, _ in rows]
    places = [np.flatnonzero(example.target_T) for example in examples]
    known = [nll for nll in nlls if nll is not None]
    keeps = [keep_R for _, keep_R in rows]
    return _Chunk(
        ids_C=np.concatenate([e.ids_T[p] for e, p in zip(examples, places, strict=True)]).astype(
            np.int64
        ),
        keep_C=np.concatenate(keeps),
        nll_C=np.concatenate(known) if len(known) == len(rows) else None,
        place_C=_places_in_turn(places),
        end_C=np.concatenate([e.end_T[p] for e, p in zip(examples, places, strict=True)]),
        row_N=np.array([example.row for example in examples], dtype=np.int64),
        kept_N=np.array([np.count_nonzero(keep_R) for keep_R in keeps], dtype=np.int64),
    )


def _places_in_turn(places: list[npt.NDArray[np.intp]]) -> Int64s:
    """How many targets in a row come directly before each one (C,)."""
    flat = np.concatenate(places).astype(np.int64)
    first_C = np.ones(len(flat), dtype=np.bool_)
    first_C[1:] = np.diff(flat) != 1
    starts = np.cumsum([0, *(len(place) for place in places)])[:-1]
    first_C[starts[starts < len(flat)]] = True
    begin_C: Int64s = np.maximum.accumulate(np.where(first_C, np.arange(len(flat)), 0))
    return np.arange(len(flat)) - begin_C


@dataclass(kw_only=True)
class _Sums:
    """Running sums: by token id (a matrix that grows with the largest id) and by position."""

    threshold: float | None
    by_id: Float64s = field(default_factory=lambda: np.zeros((4, 0)))
    by_band: Float64s = field(default_factory=lambda: np.zeros((4, len(BANDS))))
    ends: set[int] = field(default_factory=set)
    rows: int = 0
    near: int = 0
    has_nll: bool = True
    few: list[int] = field(default_factory=list)
    none: list[int] = field(default_factory=list)
    few_rows: int = 0
    none_rows: int = 0

    def add(self, chunk: _Chunk) -> None:
        """Add the targets and rows of a chunk."""
        size = max(self.by_id.shape[1], int(chunk.ids_C.max(initial=-1)) + 1)
        self.by_id = np.pad(self.by_id, ((0, 0), (0, size - self.by_id.shape[1])))
        self.by_id += _sums(chunk, chunk.ids_C, size)
        self.by_band += _sums(chunk, np.digitize(chunk.place_C, _BAND_STARTS), len(BANDS))
        self.ends.update(np.unique(chunk.ids_C[chunk.end_C]).tolist())
        self.has_nll &= chunk.nll_C is not None
        self._add_near(chunk)
        self._add_rows(chunk)

    def _add_near(self, chunk: _Chunk) -> None:
        if self.threshold is None or chunk.nll_C is None:
            return
        low, high = self.threshold + math.log1p(-NEAR), self.threshold + math.log1p(NEAR)
        self.near += int(np.count_nonzero((chunk.nll_C >= low) & (chunk.nll_C <= high)))

    def _add_rows(self, chunk: _Chunk) -> None:
        self.rows += len(chunk.row_N)
        none = chunk.row_N[chunk.kept_N == 0]
        few = chunk.row_N[(chunk.kept_N > 0) & (chunk.kept_N < FEW_TARGETS)]
        self.none_rows += len(none)
        self.few_rows += len(few)
        self.none += none[: FIRST_ROWS - len(self.none)].tolist()
        self.few += few[: FIRST_ROWS - len(self.few)].tolist()


def _sums(chunk: _Chunk, group_C: Int64s, size: int) -> Float64s:
    """Targets, masked ones, nll, masked nll of each group: (4, size)."""
    masked_C = ~chunk.keep_C
    nll_C = np.zeros(len(group_C)) if chunk.nll_C is None else chunk.nll_C
    weights = (None, masked_C, nll_C, nll_C * masked_C)
    return np.stack([np.bincount(group_C, weights=w, minlength=size) for w in weights])


def _report(sums: _Sums, tokenizer: Tokenizer) -> dict[str, Any]:
    ids = np.flatnonzero(sums.by_id[0])
    texts = token_texts(tokenizer, ids.tolist()) if len(ids) else []
    total = sums.by_id.sum(axis=1)
    cells = {kind: np.zeros(4) for kind in KINDS}
    carriage = np.zeros(4)
    special = sums.ends | set(tokenizer.all_special_ids)
    for token, text in zip(ids.tolist(), texts, strict=True):
        cells["special" if token in special else kind_of(text)] += sums.by_id[:, token]
        carriage += sums.by_id[:, token] * ("\r" in text)
    bands = dict(zip(BANDS, sums.by_band.T, strict=True))
    loss_kept = 1 - total[3] / total[2] if sums.has_nll and total[2] > 0 else None
    return {
        "rows": sums.rows,
        "targets": int(total[0]),
        "masked": int(total[1]),
        "masked_share": _ratio(total[1], total[0]),
        "loss_kept": None if loss_kept is None else float(loss_kept),
        "by_kind": {kind: _group(cell, total, sums.has_nll) for kind, cell in cells.items()},
        "carriage_returns": _group(carriage, total, sums.has_nll),
        "by_position": {band: _group(cell, total, sums.has_nll) for band, cell in bands.items()},
        "most_masked": _most_masked(sums.by_id, ids, texts),
        "few_targets": {"below": FEW_TARGETS, "rows": sums.few_rows, "first": sums.few},
        "no_targets": {"rows": sums.none_rows, "first": sums.none},
        "near_threshold": _near(sums),
    }


def _near(sums: _Sums) -> int | None:
    return sums.near if sums.threshold is not None and sums.has_nll else None


def _group(cell: Float64s, total: Float64s, has_nll: bool) -> dict[str, Any]:
    return {
        "targets": int(cell[0]),
        "masked": int(cell[1]),
        "masked_rate": _ratio(cell[1], cell[0]),
        "share_of_masked": _ratio(cell[1], total[1]),
        "share_of_masked_loss": _ratio(cell[3], total[3]) if has_nll else None,
    }


def _ratio(part: float, whole: float) -> float:
    return float(part / whole) if whole else 0.0


def _most_masked(by_id: Float64s, ids: Int64s, texts: Sequence[str]) -> list[dict[str, Any]]:
    masked = by_id[1, ids]
    order = np.lexsort((ids, -masked))[:MOST_MASKED]
    return [
        {
            "id": int(ids[at]),
            "text": texts[at],
            "masked": int(masked[at]),
            "targets": int(by_id[0, ids[at]]),
            "rate": _ratio(masked[at], by_id[0, ids[at]]),
        }
        for at in order
        if masked[at]
    ]
