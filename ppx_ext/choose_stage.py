"""The choose stage: difficulty of each row -> chosen rows in their order, for both hosts."""

from __future__ import annotations

import hashlib
import logging
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ppx_ext import choice_numbers, masking, tokens
from ppx_ext.catalog import Catalog
from ppx_ext.chats import Skip
from ppx_ext.contracts import Candidates, Choice, ExampleScorer, Sampler, StageRecord
from ppx_ext.effects import Base
from ppx_ext.examples import CHUNK_ROWS, Examples, with_rows
from ppx_ext.files import fingerprint
from ppx_ext.measured import Measured, measure_rows
from ppx_ext.plan import Plan
from ppx_ext.scored import Origin, version_of
from ppx_ext.skips import Skips
from ppx_ext.stages import Stage

if TYPE_CHECKING:
    from datasets import Dataset
    from transformers import PreTrainedTokenizerBase as Tokenizer

    from ppx_ext.contracts import Places

log = logging.getLogger(__name__)
STAGE = "choose"


@dataclass(frozen=True, kw_only=True)
class Chosen:
    """The rows that are trained on.

    Attributes:
        dataset: the chosen rows in the order of training, with the same columns and ``ppx_row``.
        record: what the stage did.
        index_K: place of each among the rows that came in, int64.
        ordered: whether the order is the point of it, and must be kept.
        epochs: how many passes are spelled out.
        notes: shortfalls, and whatever else the user must be told.
        origin: for `mask_stage.mask_dataset`, so that it scores nothing again.
    """

    dataset: Dataset
    record: StageRecord
    index_K: Places
    ordered: bool
    epochs: int
    notes: tuple[str, ...]
    origin: Origin


def choose_dataset(
    dataset: Dataset,
    *,
    plan: Plan,
    catalog: Catalog,
    base: Base,
    tokenizer: Tokenizer,
    store: Path,
) -> Chosen:
    """Measure the rows of a tokenised data set (``input_ids``, ``labels``), and choose some.

    What was measured is kept under ``store`` as the scores of tokens are. Rows that cannot be
    measured are left out and counted.

    Args:
        dataset: the tokenised rows, with the columns that measure and sampler read; a column
            ``ppx_row`` may hold their places in the user's data.
        plan, catalog: what the recipe asks for (``plan.choose`` is there), the installed methods.
        base, tokenizer: of the run; the base is not loaded where all scores are kept.
        store: folder of all scores.

    Raises:
        ValueError: a column is missing, a stratum unknown, a measure infinite, too many rows
            cannot be measured, or nothing can be chosen by these settings.
        OSError: the scores cannot be written.
    """
    choose, measure = _asked(plan, dataset)
    strata = choose.component.strata(choose.settings)
    ends = tokens.end_of_turn_ids(tokenizer)
    read = () if strata is None else (strata,)
    examples = Examples(dataset=dataset, ends=ends, columns=read)
    whole = replace(examples, columns=())
    lent: dict[str, Any] = {"catalog": catalog, "base": base, "tokenizer": tokenizer}
    measured = measure_rows(measure, whole, plan=plan, root=store, **lent)
    rows = _rows(examples, strata)
    candidates, index_N, skips = _candidates(rows, measured, plan)
    rng = masking.rng(plan.seed, STAGE, 0)
    choice = choose.component.choose(choose.settings, candidates, rng)
    check_choice(choice, len(candidates), choose.component.name)
    index_K = index_N[choice.index_K]
    record = StageRecord(
        stage=STAGE,
        component=choose.component.name,
        fingerprint=_fingerprint(examples, measured, plan, catalog),
        settings={**choose.dump(), "by": measure.dump()},
        numbers=choice_numbers.of(choice, candidates, unit=measure.component.unit)
        | _came_in(rows, skips, choice),
    )
    for note in choice.notes:
        log.warning("choose: %s", note)
    catalog.stage_finished(record)
    return Chosen(
        dataset=with_rows(dataset).select(index_K, new_fingerprint=record.fingerprint),
        record=record,
        index_K=index_K,
        ordered=choice.ordered,
        epochs=choice.epochs,
        notes=choice.notes,
        origin=Origin(examples=whole, index_K=index_K, stored=measured.tokens.stored),
    )


def _asked(plan: Plan, dataset: Dataset) -> tuple[Stage[Sampler], Stage[ExampleScorer]]:
    if plan.choose is None or plan.measure is None:
        raise ValueError("the plan has no `choose:`, so that there is nothing to choose by")
    if not len(dataset):
        raise ValueError("the data holds no row, so that there is nothing to choose from")
    return plan.choose, plan.measure


@dataclass(frozen=True, kw_only=True, eq=False)
class _Rows:
    """Of each row: its place in the user's data, its targets, the hash of its ids, its stratum."""

    row_N: Places
    targets_N: Places
    digest_N: list[bytes]
    stratum_N: list[Any] | None


def _rows(examples: Examples, strata: str | None) -> _Rows:
    rows: list[Any] = []
    targets: list[Any] = []
    digests: list[bytes] = []
    values: list[Any] = []
    for start in range(0, len(examples), CHUNK_ROWS):
        chunk = examples.chunk(start, start + CHUNK_ROWS)
        rows.append(chunk.rows_N)
        targets.append(chunk.targets_N)
        ends = np.cumsum(chunk.lengths_N)[:-1]
        digests += [
            hashlib.blake2b(ids_T.tobytes(), digest_size=16).digest()
            for ids_T in np.split(chunk.ids, ends)
        ]
        values += [] if strata is None else chunk.columns[strata]
    found = _Rows(
        row_N=np.concatenate(rows),
        targets_N=np.concatenate(targets),
        digest_N=digests,
        stratum_N=None if strata is None else values,
    )
    _check_strata(found, strata)
    return found


def _check_strata(rows: _Rows, strata: str | None) -> None:
    # Hosts carry a column that no row has as one that is empty everywhere.
    if rows.stratum_N is not None and all(value is None for value in rows.stratum_N):
        raise ValueError(
            f"ppx.choose.strata: the data do not have the column {strata!r}, or it is empty in "
            "every row; name one that puts each row into a stratum"
        )
    for row, value in zip(rows.row_N, rows.stratum_N or (), strict=False):
        if not isinstance(value, (str, bool, int)):
            raise ValueError(
                f"row {row}: column {strata!r}, by which rows are put into strata, holds "
                f"{value!r}; it must hold text, a whole number or true/false in every row"
            )


def _candidates(rows: _Rows, measured: Measured, plan: Plan) -> tuple[Candidates, Places, Skips]:
    """The rows that can be chosen, their places among all rows, and the others by reason."""
    assert plan.measure is not None
    skips = Skips(max_share=plan.max_skipped_share, rows=len(rows.row_N))
    lost_N = np.isnan(measured.score_N) | (rows.targets_N == 0)
    for at in np.flatnonzero(lost_N).tolist():
        row, name = int(rows.row_N[at]), plan.measure.component.name
        skip = Skip(row=row, reason="not measured", detail=f"{name} gives no number for it")
        if rows.targets_N[at] == 0:
            skip = Skip(row=row, reason="no target", detail="it has no token to train on")
        skips.add(skip, f"row {row}")
    skips.check()
    index_N = np.flatnonzero(~lost_N).astype(np.int64)
    candidates = Candidates(
        score_N=measured.score_N[index_N],
        tokens_N=rows.targets_N[index_N].astype(np.int64),
        first_N=_first([rows.digest_N[at] for at in index_N]),
        stratum_N=None if rows.stratum_N is None else [rows.stratum_N[at] for at in index_N],
    )
    return candidates, index_N, skips


def _first(digest_N: list[bytes]) -> Places:
    """Place of the first row with the same hash, int64 (N,)."""
    import pyarrow as pa

    # Codes are given in the order in which values first appear.
    encoded = pa.array(digest_N, pa.binary(16)).dictionary_encode()
    code_N = encoded.indices.to_numpy()
    _, first = np.unique(code_N, return_index=True)
    first_N: Places = first[code_N].astype(np.int64)
    return first_N


def check_choice(choice: Choice, candidates: int, sampler: str) -> None:
    """Make sure that a sampler kept its contract.

    Raises:
        ValueError: what it chose is empty, not there, repeated within an epoch, or does not add up
            with what it says it left out; the sampler is named.
    """
    index_K = np.asarray(choice.index_K)
    whose = f"sampler {sampler!r}"
    if index_K.ndim != 1 or index_K.dtype.kind not in "iu" or not len(index_K):
        raise ValueError(f"{whose} chose no row; it must return the places of some, int64 (K,)")
    if index_K.min() < 0 or index_K.max() >= candidates:
        raise ValueError(f"{whose} chose a place outside 0 to {candidates - 1}")
    often = int(np.bincount(index_K).max())
    if often > choice.epochs:
        raise ValueError(f"{whose} chose a row {often} times in {choice.epochs} epoch(s)")
    left, told = candidates - len(np.unique(index_K)), sum(choice.left_out.values())
    if choice.left_out and left != told:
        raise ValueError(f"{whose} left out {left} rows, but tells of {told}: {choice.left_out}")


def _came_in(rows: _Rows, skips: Skips, choice: Choice) -> dict[str, Any]:
    # Rows that cannot be measured never reach the sampler, so its numbers lack them.
    return {
        "rows": len(rows.row_N),
        "targets": int(rows.targets_N.sum()),
        "left_out": dict(Counter(skips.reasons) + Counter(choice.left_out)),
        "not_measured": skips.numbers()["skipped_by_reason"],
    }


def _fingerprint(examples: Examples, measured: Measured, plan: Plan, catalog: Catalog) -> str:
    assert plan.choose is not None
    return fingerprint(
        {
            "data": examples.fingerprint(),
            "difficulty": measured.fingerprint,
            "choose": plan.choose.dump(),
            "seed": plan.seed,
            "max_skipped_share": plan.max_skipped_share,
            "version": version_of(catalog, "sampler", plan.choose.component.name),
        }
    )
