"""Rows of any form -> tokens -> masked labels, as TRL wants them, before any trainer is there."""

from __future__ import annotations

import copy
import dataclasses
from typing import TYPE_CHECKING, Any, Literal

from ppx_ext import pipeline
from ppx_ext.examples import SOURCE
from ppx_ext.hosts import built, chosen, trl_state, trl_text
from ppx_ext.rows import Fields
from ppx_ext.tokenized import TokenizedRows, tokenize_rows

if TYPE_CHECKING:
    from pathlib import Path

    from datasets import Dataset

    from ppx_ext.building import BuiltRows
    from ppx_ext.catalog import Catalog
    from ppx_ext.contracts import Numbers
    from ppx_ext.effects import Base
    from ppx_ext.plan import Plan
    from ppx_ext.readers import Source

_CUTS_LATER = ("wrapped", "bfd_split")


def built_rows(
    source: Source,
    tokenizer: Any,
    plan: Plan,
    catalog: Catalog,
    base: Base,
    *,
    fields: Fields,
    split: str,
    out: Path | None = None,
    **given: Any,
) -> BuiltRows:
    """Rows of any form in the model's own words; made once, however many processes ask for them."""
    from ppx_ext import building

    return building.build(
        source,
        plan=plan,
        catalog=catalog,
        base=base,
        tokenizer=tokenizer,
        root=out or trl_state.store_of(plan) / built.FOLDER,
        fields=fields,
        split=split,
        **given,
    )


def tokens_of_training(
    source: Source,
    tokenizer: Any,
    args: Any,
    plan: Plan,
    catalog: Catalog,
    base: Base,
    *,
    fields: Fields,
    split: str,
) -> pipeline.Tokenized:
    """The training rows, built first where the plan says so; only then is the base loaded."""
    records: tuple[Any, ...] = ()
    if plan.build is not None:
        made = built_rows(source, tokenizer, plan, catalog, base, fields=fields, split=split)
        source, fields, records = made.path, built.fields_of(tokenizer), (made.record,)
    rows = tokens_of(source, tokenizer, args, plan, catalog, fields=fields, split=split)
    return pipeline.Tokenized(
        dataset=rows.dataset,
        tokenizer=tokenizer,
        base=base,
        plan=plan,
        catalog=catalog,
        records=(*records, rows.record),
    )


def tokens_of(
    source: Source,
    tokenizer: Any,
    args: Any,
    plan: Plan,
    catalog: Catalog,
    *,
    fields: Fields,
    split: str,
) -> TokenizedRows:
    """Rows of any form as tokens, cut and labelled as TRL's arguments say.

    Chats are trained on in the assistant's turns. ``completion_only_loss: false`` without
    ``assistant_only_loss`` asks for every token.
    """
    whole = args.packing and args.packing_strategy in _CUTS_LATER
    targets: Literal["assistant", "all"] = "assistant"
    if args.completion_only_loss is False and not args.assistant_only_loss:
        targets = "all"
    return tokenize_rows(
        source,
        tokenizer,
        fields=fields,
        max_length=None if whole or args.truncation_mode == "keep_end" else args.max_length,
        targets=targets,
        edit=None if plan.mask is None else trl_text.editor_of(plan.mask),
        max_skipped_share=plan.max_skipped_share,
        split=split,
        keep=[*chosen.columns_read(plan, catalog), *([SOURCE] if plan.build else [])],
    )


def of_evaluation(plan: Plan) -> Plan:
    """The plan for rows that are evaluated on: all of the user's own, none chosen, all golds."""
    own = dataclasses.replace(plan, build=None, choose=None, measure=None)
    return dataclasses.replace(own, apply="baked", masked_rows="all")


def prepare(found: pipeline.Tokenized) -> pipeline.Masked:
    """Choose among the training rows, and mask what was chosen."""
    _, masked = pipeline.choose_and_mask(found, trl_state.store_of(found.plan))
    return dataclasses.replace(masked, records=(*found.records, *masked.records))


def mask_evaluation(found: pipeline.Tokenized, rows: Dataset, state: Numbers) -> Dataset:
    """Mask evaluation rows, all of which stay, with the state that was fitted on training rows."""
    return pipeline.mask_dataset(
        rows,
        plan=of_evaluation(found.plan),
        catalog=found.catalog,
        base=found.base,
        tokenizer=found.tokenizer,
        store=trl_state.store_of(found.plan),
        state=state,
        drop_rows=False,
    ).dataset


def first_pass(args: Any, max_length: int | None) -> Any:
    """Arguments of the pass that only tokenises, and cuts what no score or fragment will need."""
    first = copy.copy(args)
    first.max_length = max_length
    first.shuffle_dataset = False
    first.use_liger_kernel = False
    return first


def cut(dataset: Dataset, max_length: int) -> Dataset:
    """Rows as `bfd` will cut them, so that no token is scored that is never trained on."""
    part = slice(max_length)
    return dataset.map(lambda row: {name: row[name][part] for name in ("input_ids", "labels")})
