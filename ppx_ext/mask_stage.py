"""The mask stage: scores -> kept targets -> labels, the same for both hosts."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ppx_ext import masking, tokens
from ppx_ext.catalog import Catalog
from ppx_ext.contracts import Mask, Numbers, Scored, StageRecord
from ppx_ext.effects import Base
from ppx_ext.examples import GOLD, ROW, SOURCE, Examples
from ppx_ext.files import fingerprint
from ppx_ext.plan import Plan
from ppx_ext.scored import Origin, ScoredRows, score_rows, version_of
from ppx_ext.stages import Stage

if TYPE_CHECKING:
    import pyarrow as pa
    from datasets import Dataset
    from transformers import PreTrainedTokenizerBase as Tokenizer

    from ppx_ext.contracts import Bools

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Masked:
    """A tokenised data set whose labels carry the mask.

    Attributes:
        dataset: the same columns and rows in the same order, less the rows that the mask left
            without a target; only ``labels`` differ.
        records: one for each stage that ran.
        state: the mask's fitted state.
        scores: the scores that were read, aligned with the rows that were scored; None where there
            were none.
        scored: which of the rows that came in were scored; None where all were.
        left: which of the rows that came in are there; None where all are.
    """

    dataset: Dataset
    records: tuple[StageRecord, ...]
    state: Numbers
    scores: ScoredRows | None = None
    scored: list[int] | None = None
    left: list[int] | None = None


def mask_dataset(
    dataset: Dataset,
    *,
    plan: Plan,
    catalog: Catalog,
    base: Base,
    tokenizer: Tokenizer,
    store: Path,
    state: Numbers | None = None,
    drop_rows: bool = True,
    origin: Origin | None = None,
) -> Masked:
    """Score and mask a tokenised data set (columns ``input_ids`` and ``labels``).

    Scores are kept under ``store``, by all that they depend on: a second call with another
    threshold reads them, a call that was killed goes on at its last finished shard, and processes
    that call this at once share the work.

    With ``apply: baked`` the labels are rewritten; with ``collator`` they stay, and the stored
    scores join as ``binary`` columns ``ppx_<score>`` beside the row's number; with ``online``
    nothing happens here. With ``rows: gold`` only rows whose column ``ppx_source`` says ``gold``
    are scored and masked; the others, in the model's own words, keep all their labels.

    Args:
        dataset: the tokenised rows; a column ``ppx_row`` may hold their places in the user's data.
        plan, catalog: what the recipe asks for, and the installed methods.
        base, tokenizer: of the run; the base is not loaded where all scores are kept.
        store: folder of all scores.
        state: the training set's fitted state, for an evaluation set; None or {} fits one.
        drop_rows: leave out rows without a kept target (hosts differ); an evaluation set has all.
        origin: what the rows were chosen from (`choose_stage.Chosen.origin`), so that nothing is
            scored again.

    Raises:
        ValueError: wrong columns or labels, a score that is no number, or no target is kept.
        OSError: the scores cannot be written.
    """
    stage = plan.mask
    if stage is None or plan.apply == "online":
        return Masked(dataset=dataset, records=(), state={})
    examples = Examples(dataset=dataset, ends=tokens.end_of_turn_ids(tokenizer))
    chosen = _golds(dataset) if plan.masked_rows == "gold" else None
    lent = {"catalog": catalog, "base": base, "tokenizer": tokenizer, "root": store}
    scored = _score(examples, chosen, origin, plan=plan, **lent)
    fitted = state or _fitted(stage, scored)
    decided, numbers = _decide(stage, fitted, scored, seed=plan.seed, tokenizer=tokenizer)
    keep = decided if chosen is None else _spread(decided, chosen, len(dataset))
    left = _rows_with_targets(keep, stage)
    record = StageRecord(
        stage="mask",
        component=stage.component.name,
        fingerprint=_fingerprint(stage, fitted, scored, examples, plan=plan, catalog=catalog),
        settings={**stage.dump(), "apply": plan.apply, "rows": plan.masked_rows},
        numbers={**numbers, **_counts(decided, keep, left)},
    )
    masked = _applied(examples, scored, keep, apply=plan.apply, fingerprint=record.fingerprint)
    catalog.stage_finished(record)
    whole = Masked(dataset=masked, records=(record,), state=fitted, scores=scored, scored=chosen)
    return _less(whole, left) if drop_rows and len(left) < len(keep) else whole


def _counts(decided: Sequence[Any], keep: Sequence[Any], left: Sequence[int]) -> dict[str, int]:
    return {
        "rows": len(decided),
        "rows_left_alone": len(keep) - len(decided),
        "rows_without_targets": len(keep) - len(left),
    }


def _golds(dataset: Dataset) -> list[int]:
    """Places of the rows whose target is the user's gold."""
    import pyarrow.compute as pc

    if SOURCE not in dataset.column_names:
        raise ValueError(
            f"the mask is for the user's golds (`rows: gold`), but the data set has no column "
            f"{SOURCE!r} that tells them from the model's own words; it has "
            f"{', '.join(dataset.column_names)}"
        )
    sources = dataset.select_columns([SOURCE]).with_format("arrow")[:].column(SOURCE)
    if sources.null_count:
        raise ValueError(f"column {SOURCE!r} is empty in {sources.null_count} rows")
    places: list[int] = pc.indices_nonzero(pc.equal(sources, GOLD)).to_pylist()
    return places


def _score(
    examples: Examples,
    chosen: list[int] | None,
    origin: Origin | None,
    *,
    plan: Plan,
    **lent: Any,
) -> ScoredRows:
    assert plan.mask is not None
    needs = plan.mask.component.needs(plan.mask.settings)
    if chosen is None:
        return score_rows(needs, examples, plan=plan, origin=origin, **lent)
    part = examples.dataset.select(chosen)
    if ROW not in part.column_names:
        part = part.add_column(ROW, np.asarray(chosen, dtype=np.int64))
    golds = dataclasses.replace(examples, dataset=part)
    if not chosen:
        return ScoredRows(examples=golds, stored={})
    known = None if origin is None else origin.part(chosen)
    return score_rows(needs, golds, plan=plan, origin=known, **lent)


def _fitted(stage: Stage[Mask], scored: ScoredRows) -> Numbers:
    return masking.fit(stage, scored) if len(scored.examples) else {}


def _spread(decided: list[Bools], chosen: list[int], rows: int) -> list[Bools | None]:
    """What was decided, at the places of the rows that it is about; None elsewhere."""
    keep: list[Bools | None] = [None] * rows
    for place, keep_R in zip(chosen, decided, strict=True):
        keep[place] = keep_R
    return keep


def _less(whole: Masked, left: list[int]) -> Masked:
    log.info("%d rows have no target left and are dropped", len(whole.dataset) - len(left))
    name = fingerprint([whole.records[0].fingerprint, "left"])
    dataset = whole.dataset.select(left, new_fingerprint=name)
    return dataclasses.replace(whole, dataset=dataset, left=left)


def _rows_with_targets(keep: Sequence[Bools | None], stage: Stage[Mask]) -> list[int]:
    left = [at for at, keep_R in enumerate(keep) if keep_R is None or keep_R.any()]
    if not left:
        raise ValueError(
            f"mask {stage.component.name!r} keeps no target of any of the {len(keep)} rows: there "
            f"would be nothing to train on. Its settings: {stage.dump()}"
        )
    return left


def _decide(
    stage: Stage[Mask], state: Numbers, scored: ScoredRows, *, seed: int, tokenizer: Tokenizer
) -> tuple[list[Bools], Numbers]:
    """Which targets each row keeps, bool (R,), and what the record tells of them."""
    from ppx_ext.statistics import tally

    keep: list[Bools] = []

    def decided() -> Iterator[tuple[Scored, Bools]]:
        for row in scored:
            keep.append(masking.keep_targets(stage, state, row, seed=seed))
            yield row, keep[-1]

    return keep, tally(decided(), tokenizer=tokenizer, state=state)


def _fingerprint(
    stage: Stage[Mask],
    state: Numbers,
    scored: ScoredRows,
    examples: Examples,
    *,
    plan: Plan,
    catalog: Catalog,
) -> str:
    return fingerprint(
        {
            "scores": scored.fingerprints(),
            "data": examples.fingerprint(),
            "scored": scored.examples.fingerprint(),
            "mask": stage.dump(),
            "state": state,
            "seed": plan.seed,
            "apply": plan.apply,
            "version": version_of(catalog, "mask", stage.component.name),
        }
    )


def _applied(
    examples: Examples,
    scored: ScoredRows,
    keep: Sequence[Bools | None],
    *,
    apply: str,
    fingerprint: str,
) -> Dataset:
    if apply == "baked":
        return _with_labels(examples, keep, fingerprint)
    from datasets import concatenate_datasets

    dataset = examples.dataset
    columns = [stored.dataset(f"ppx_{name}") for name, stored in scored.stored.items()]
    if ROW not in dataset.column_names:
        dataset = dataset.add_column(ROW, np.arange(len(dataset)))
    return concatenate_datasets([dataset, *columns], axis=1)


def _with_labels(examples: Examples, keep: Sequence[Bools | None], fingerprint: str) -> Dataset:
    dataset = examples.dataset

    def rewrite(table: pa.Table, indices: list[int]) -> pa.Table:
        first, last = indices[0], indices[-1] + 1
        chunk = examples.chunk(first, last)
        labels = _masked_labels(chunk.examples(examples.ends), keep[first:last], chunk.labels)
        field = table.schema.field("labels")
        at = table.column_names.index("labels")
        return table.set_column(at, field, _list_column(labels, chunk.lengths_N, field.type))

    mapped = dataset.with_format("arrow").map(
        rewrite,
        batched=True,
        with_indices=True,
        load_from_cache_file=False,
        new_fingerprint=fingerprint,
    )
    shown = dataset.format
    return mapped.with_format(
        shown["type"],
        columns=shown["columns"],
        output_all_columns=shown["output_all_columns"],
        **shown["format_kwargs"],
    )


def _masked_labels(examples: Iterable[Any], keep: Sequence[Bools | None], labels: Any) -> Any:
    """The rows' own labels, one row after the other, with -100 where the mask took the loss."""
    start, parts = 0, []
    for example, keep_R in zip(examples, keep, strict=True):
        stop = start + len(example.ids_T)
        own = labels[start:stop]
        parts.append(own if keep_R is None else masking.masked_labels(own, example, keep_R))
        start = stop
    return np.concatenate(parts)


def _list_column(values: Any, lengths_N: Any, kind: Any) -> pa.Array:
    import pyarrow as pa

    starts = np.concatenate([[0], np.cumsum(lengths_N)])
    return pa.LargeListArray.from_arrays(pa.array(starts), pa.array(values)).cast(kind)
