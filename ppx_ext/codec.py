"""Scores as stored bytes: the one encoder and the one decoder, and what a score depends on."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from ppx_ext.contracts import Example
from ppx_ext.files import fingerprint

if TYPE_CHECKING:
    import numpy.typing as npt

    from ppx_ext.contracts import Floats

CODEC = 1
"""Changes with the layout of a shard, so that an old one is never misread."""

_NAME = re.compile(r"[A-Za-z0-9_]+")


@dataclass(frozen=True, kw_only=True)
class Key:
    """What a score depends on: all of it takes part in the name of its folder.

    Args:
        name: the score's name.
        exact: float64 is kept as given; else float16.
        fields: plain JSON values (data, scorer, settings, model, dtype).
        each: what one score is of: a target, or a whole row (exact; NaN = not measured).

    Raises:
        ValueError: the name cannot be that of a folder and a column.
    """

    name: str
    exact: bool
    fields: Mapping[str, Any]
    each: Literal["target", "row"] = "target"

    def __post_init__(self) -> None:
        """Check the name."""
        if not _NAME.fullmatch(self.name):
            raise ValueError(
                f"score name {self.name!r}: only letters, digits and underscores may be used"
            )

    def words(self) -> dict[str, Any]:
        """All that the fingerprint is made of."""
        of_rows = {"each": "row"} if self.each == "row" else {}
        return {"score": self.name, "exact": self.exact, "codec": CODEC, **of_rows, **self.fields}

    def sizes(self, targets_N: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Bytes of each row's scores, by the number of its targets."""
        scores_N = np.ones_like(targets_N) if self.each == "row" else targets_N
        return scores_N * (8 if self.exact else 2)

    @property
    def fingerprint(self) -> str:
        """Hash of all that the score depends on."""
        return fingerprint(self.words())

    @property
    def folder(self) -> str:
        """Name of the score's folder."""
        return f"{self.name}-{self.fingerprint}"


def quantize(scores_R: Floats, *, exact: bool = False) -> Floats:
    """Scores at the precision they are stored with; every mask is decided on these values.

    Raises:
        ValueError: a finite score does not fit (float16 ends at 65504).
    """
    return decode(encode(scores_R, exact=exact), exact=exact)


def encode(scores_R: Floats, *, exact: bool = False) -> bytes:
    """Bytes of one row's scores: float16, or float64 where ``exact``. See `quantize`."""
    if exact:
        return np.asarray(scores_R, dtype="<f8").tobytes()
    with np.errstate(over="ignore"):
        half_R = np.asarray(scores_R).astype("<f2")
    lost_R = np.isinf(half_R) & np.isfinite(scores_R)
    if lost_R.any():
        raise ValueError(
            f"score {np.asarray(scores_R)[lost_R][0]} is beyond float16 (65504); a scorer of such "
            "values must be declared with exact=True"
        )
    return half_R.tobytes()


def decode(stored: bytes, *, exact: bool = False) -> Floats:
    """Scores (R,) of one row: float32 from float16 bytes, float64 where ``exact``."""
    if exact:
        return np.frombuffer(stored, dtype="<f8")
    return np.frombuffer(stored, dtype="<f2").astype(np.float32)


@dataclass(frozen=True, kw_only=True, eq=False)
class Encoded:
    """The bytes of some rows, one row after the other, and how many bytes each has."""

    data: npt.NDArray[Any]
    sizes_N: npt.NDArray[np.int64]


def encode_rows(
    values: Sequence[Floats] | Floats, examples: Sequence[Example], key: Key
) -> Encoded:
    """The bytes of some rows, checked; a score of each row is one array, float (N,).

    Raises:
        ValueError: a row is missing, of another length, not finite or beyond float16; it is named.
    """
    if key.each == "row":
        return _encode_measure(values, examples, key)
    if len(values) != len(examples):
        raise ValueError(
            f"the scorer of {key.name!r} returned {len(values)} results for {len(examples)} rows"
        )
    targets = [(np.count_nonzero(example.target_T),) for example in examples]
    if [np.shape(scores_R) for scores_R in values] == targets:
        data = np.concatenate(values) if len(values) else np.empty(0)
        with np.errstate(over="ignore"):
            data = data.astype("<f8" if key.exact else "<f2", copy=False)
        if np.isfinite(data).all():
            sizes_N = np.asarray(targets, dtype=np.int64).reshape(-1) * data.itemsize
            return Encoded(data=data, sizes_N=sizes_N)
    # Something is wrong: go row by row, to say where.
    rows = [_encode_row(*pair, key) for pair in zip(values, examples, strict=True)]
    return Encoded(
        data=np.frombuffer(b"".join(rows), dtype="<f8" if key.exact else "<f2"),
        sizes_N=np.asarray([len(row) for row in rows], dtype=np.int64),
    )


def _encode_measure(values: Any, examples: Sequence[Example], key: Key) -> Encoded:
    score_N = np.asarray(values, dtype="<f8")
    if score_N.shape != (len(examples),):
        raise ValueError(
            f"the measure of {key.name!r} returned shape {score_N.shape} for {len(examples)} rows; "
            f"it must be ({len(examples)},), one number for each row"
        )
    if np.isinf(score_N).any():
        at = int(np.argmax(np.isinf(score_N)))
        raise ValueError(
            f"row {examples[at].row}: the {key.name} is {score_N[at]}. Mend the row, or take it "
            "out; a row that cannot be measured has NaN, and is left out."
        )
    return Encoded(data=score_N, sizes_N=np.full(len(score_N), 8, dtype=np.int64))


def _encode_row(scores_R: Floats, example: Example, key: Key) -> bytes:
    targets = int(example.target_T.sum())
    if np.shape(scores_R) != (targets,):
        raise ValueError(
            f"row {example.row}: the scorer of {key.name!r} returned shape {np.shape(scores_R)}; "
            f"it must be ({targets},), one score for each target"
        )
    if not np.isfinite(scores_R).all():
        at = int(np.argmin(np.isfinite(scores_R)))
        token = int(np.flatnonzero(example.target_T)[at])
        raise ValueError(
            f"row {example.row}: score {key.name!r} is {scores_R[at]} at token {token} (id "
            f"{example.ids_T[token]}). A model that overflows gives such values: try "
            "`scoring: {dtype: float32}`, or take the row out. Finished rows are kept."
        )
    try:
        return encode(scores_R, exact=key.exact)
    except ValueError as error:
        raise ValueError(f"row {example.row}, score {key.name!r}: {error}") from error
