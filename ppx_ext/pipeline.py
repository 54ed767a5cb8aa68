"""The flow: tokenised examples -> scores -> mask -> labels -> prepared data set with its records.

A newcomer reads this module first.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ppx_ext import masking, store, tokens
from ppx_ext.catalog import Catalog
from ppx_ext.contracts import Mask, Need, Numbers, Scored, StageRecord, TokenScorer
from ppx_ext.effects import Base, lend
from ppx_ext.examples import Examples
from ppx_ext.plan import Plan, Stage

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
    """

    dataset: Dataset
    records: tuple[StageRecord, ...]
    state: Numbers


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
) -> Masked:
    """Score and mask a tokenised data set (columns ``input_ids`` and ``labels``).

    Scores are kept under ``store``, by the fingerprint of all they depend on: a second call with
    another threshold reads them, and a call that was killed goes on at its last finished shard.
    Processes that call this at once share the work.

    With ``apply: baked`` the labels are rewritten; with ``collator`` they stay and the stored
    scores join as ``binary`` columns ``ppx_<score>``; with ``online`` nothing happens here.

    Args:
        dataset: the tokenised rows; a column ``ppx_row`` may hold their places in the user's data.
        plan: what the recipe asks for.
        catalog: the installed methods.
        base: the untouched model; not loaded where all scores are kept.
        tokenizer: of the run.
        store: folder of all scores.
        state: use this fitted state (that of the training set, for an evaluation set) instead of
            fitting one.
        drop_rows: leave out rows without a kept target (hosts drop them, or fail, as they choose);
            an evaluation set keeps them.

    Raises:
        ValueError: wrong columns or labels, a score that is no number, or no target is kept.
    """
    stage = plan.mask
    if stage is None or plan.apply == "online":
        return Masked(dataset=dataset, records=(), state={})
    examples = Examples(dataset=dataset, ends=tokens.end_of_turn_ids(tokenizer))
    scores = {
        need.score: _scores(need, examples, plan=plan, catalog=catalog, base=base, root=store)
        for need in stage.component.needs(stage.settings)
    }
    scored = _ScoredRows(examples=examples, scores=scores)
    fitted = masking.fit(stage, scored) if state is None else state
    keep = [masking.keep_targets(stage, fitted, row, seed=plan.seed) for row in scored]
    _check_any_kept(keep, stage)
    if plan.apply == "baked":
        masked = _with_labels(dataset, examples, keep)
    else:
        masked = _with_scores(dataset, scores)
    if drop_rows and not all(keep_R.any() for keep_R in keep):
        masked = masked.select([at for at, keep_R in enumerate(keep) if keep_R.any()])
    record = StageRecord(
        stage="mask", component=stage.component.name, fingerprint="", settings=stage.dump(), numbers={}
    )
    return Masked(dataset=masked, records=(record,), state=fitted)


@dataclass(frozen=True, kw_only=True)
class _ScoredRows:
    """Rows with their scores; may be walked over again and again."""

    examples: Examples
    scores: Mapping[str, store.Stored]

    def __iter__(self) -> Iterator[Scored]:
        names = list(self.scores)
        for example, *values in zip(self.examples, *self.scores.values(), strict=True):
            yield Scored(example=example, scores=dict(zip(names, values, strict=True)))


def _scores(
    need: Need, examples: Examples, *, plan: Plan, catalog: Catalog, base: Base, root: Path
) -> store.Stored:
    scorer = catalog.get("scorer", need.scorer, TokenScorer)
    settings = scorer.settings.model_validate(need.settings)
    tools = lend(base, scoring=plan.scoring, trust_remote_code=plan.trust_remote_code)
    ref = scorer.model(settings)
    key = store.Key(
        name=need.score,
        exact=scorer.exact,
        fields={
            "data": examples.fingerprint(),
            "scorer": scorer.name,
            "settings": settings.model_dump(mode="json"),
            "model": None if ref is None else base.fingerprint(),
            "dtype": plan.scoring.dtype,
        },
    )
    return store.fill(
        root,
        key,
        examples,
        lambda rows: scorer.score(settings, rows, tools),
        shard_rows=plan.shard_rows,
    )


def _check_any_kept(keep: list[Bools], stage: Stage[Mask]) -> None:
    if not any(keep_R.any() for keep_R in keep):
        raise ValueError(
            f"mask {stage.component.name!r} keeps no target of any row: there would be nothing to "
            f"train on. Its settings: {stage.dump()}"
        )


def _with_labels(dataset: Dataset, examples: Examples, keep: list[Bools]) -> Dataset:
    def rewrite(table: pa.Table, indices: list[int]) -> pa.Table:
        import pyarrow as pa

        rows = examples.between(indices[0], indices[-1] + 1)
        labels = [
            masking.masked_labels(tokens.labels_of(example), example, keep[at])
            for example, at in zip(rows, indices, strict=True)
        ]
        at = table.column_names.index("labels")
        kind = table.schema.field("labels").type
        offsets = np.cumsum([0, *map(len, labels)])
        column = pa.LargeListArray.from_arrays(offsets, np.concatenate(labels)).cast(kind)
        return table.set_column(at, table.schema.field("labels"), column)

    mapped = dataset.with_format("arrow").map(
        rewrite, batched=True, with_indices=True, load_from_cache_file=False
    )
    return mapped.with_format(**_format(dataset))


def _with_scores(dataset: Dataset, scores: Mapping[str, store.Stored]) -> Dataset:
    from datasets import concatenate_datasets

    columns = [stored.dataset(f"ppx_{name}") for name, stored in scores.items()]
    return concatenate_datasets([dataset, *columns], axis=1)


def _format(dataset: Dataset) -> dict[str, Any]:
    found = dataset.format
    return {"type": found["type"], **found["format_kwargs"]}
