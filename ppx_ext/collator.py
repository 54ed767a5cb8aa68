"""The live collator: masks are decided when a batch is made, from scores that ride in its rows.

For thresholds that change between runs without a new data set. Where a host drops or cuts columns
(packing inside TRL), use baked labels instead.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ppx_ext import codec, masking
from ppx_ext.contracts import IGNORE, Example, Mask, Numbers, Scored
from ppx_ext.examples import ROW

if TYPE_CHECKING:
    from ppx_ext.contracts import Floats
    from ppx_ext.stages import Stage

COLUMN = "ppx_"
"""Prefix of the ``binary`` columns with the stored bytes of each score, one entry a target."""


class MaskingCollator:
    """Wraps any collator: rewrites the ``labels`` of each row, takes the scores out, and calls it.

    A row cut at its end (``keep_start``) has fewer targets than scores: the first ones are taken,
    and the mask is decided on what is left of the row. A row cut at its *start* cannot be told
    from that: hosts must refuse such a setting.

    Args:
        inner: the host's collator.
        stage: the mask and its settings.
        state: the mask's fitted state.
        seed: the recipe's seed.
        ends: ids that end a turn (`tokens.end_of_turn_ids`).
        exact: names of scores that are stored as float64 (their scorer says ``exact=True``).
    """

    def __init__(
        self,
        inner: Callable[..., Any],
        *,
        stage: Stage[Mask],
        state: Numbers,
        seed: int,
        ends: frozenset[int],
        exact: Collection[str] = (),
    ) -> None:
        self.inner = inner
        self.stage = stage
        self.state = state
        self.seed = seed
        needs = stage.component.needs(stage.settings)
        self.exact = {need.score: need.score in exact for need in needs}
        self.ends = tuple(ends)
        self.taken = frozenset({ROW, *(COLUMN + score for score in self.exact)})

    def __call__(self, features: Sequence[Any], **options: Any) -> Any:
        """Mask each row and collate; rows may come in bins (a list of lists), as from a packer.

        Raises:
            ValueError: a row lacks its scores, or they do not fit its labels; it is named.
        """
        masked = [
            [self._masked(row) for row in entry] if isinstance(entry, list) else self._masked(entry)
            for entry in features
        ]
        return self.inner(masked, **options)

    def __getattr__(self, name: str) -> Any:
        # Hosts read and set fields of their own collator (padding, tokenizer) through ours.
        if name == "inner":
            raise AttributeError(name)
        return getattr(self.inner, name)

    def _masked(self, feature: Mapping[str, Any]) -> dict[str, Any]:
        kept = {name: value for name, value in feature.items() if name not in self.taken}
        # Arrays: collators turn them into tensors several times faster than lists.
        ids_T = np.asarray(feature["input_ids"], dtype=np.int64)
        labels_T = np.array(feature["labels"], dtype=np.int64)
        target_T = labels_T != IGNORE
        target_T[:1] = False
        example = Example(
            row=_row(feature),
            ids_T=ids_T.astype(np.int32),
            target_T=target_T,
            end_T=target_T & _among(ids_T, self.ends),
        )
        targets = np.flatnonzero(target_T)
        scores = {name: self._scores(feature, name, len(targets)) for name in self.exact}
        keep_R = masking.keep_targets(
            self.stage, self.state, Scored(example=example, scores=scores), seed=self.seed
        )
        labels_T[targets[~keep_R]] = IGNORE
        kept |= {"input_ids": ids_T, "labels": labels_T}
        return kept

    def _scores(self, feature: Mapping[str, Any], name: str, targets: int) -> Floats:
        stored = feature.get(COLUMN + name)
        if stored is None:
            raise ValueError(
                f"row {_row(feature)} reached the collator without its scores (column "
                f"{COLUMN + name!r}). Keep the column (remove_unused_columns: false, no packing of "
                "columns), or use `apply: baked`."
            )
        scores_R = codec.decode(stored, exact=self.exact[name])
        if len(scores_R) < targets:
            raise ValueError(
                f"row {_row(feature)} has {targets} targets but {len(scores_R)} scores "
                f"({COLUMN + name!r}): its ids or labels changed after they were scored. Score "
                "what the host trains on, or use `apply: baked`."
            )
        return scores_R[:targets]


def _among(ids_T: Any, ends: tuple[int, ...]) -> Any:
    # A handful of ids: comparing with each is several times faster than np.isin on short rows.
    return functools.reduce(operator.or_, (ids_T == end for end in ends), np.False_)


def _row(feature: Mapping[str, Any]) -> int:
    if ROW not in feature:
        raise ValueError(
            f"a row reached the collator without its number (column {ROW!r}), which seeds its "
            "mask. Keep the column (remove_unused_columns: false), or use `apply: baked`."
        )
    return int(feature[ROW])
