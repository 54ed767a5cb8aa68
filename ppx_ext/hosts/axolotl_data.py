"""Axolotl's own tokenised data set, with masked labels, and never a stale one.

Axolotl keeps prepared data under a hash of the config that says nothing of the *content* of files
and tokenizers. The content goes into the folder's name here, and masks are put on after Axolotl
has loaded, filtered, split and counted, so that they are in no cache of its at all.
"""

from __future__ import annotations

import contextlib
import dataclasses
import gc
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ppx_ext import pipeline
from ppx_ext.examples import ROW, SOURCE
from ppx_ext.hosts import (
    axolotl_build,
    axolotl_edit,
    axolotl_hash,
    axolotl_order,
    axolotl_strategy,
    built,
    chosen,
)
from ppx_ext.hosts.axolotl_base import base_of

if TYPE_CHECKING:
    from axolotl.utils.dict import DictDefault
    from datasets import Dataset
    from transformers import PreTrainedTokenizerBase as Tokenizer

    from ppx_ext.building import BuiltRows
    from ppx_ext.catalog import Catalog
    from ppx_ext.contracts import Numbers, StageRecord
    from ppx_ext.effects import Base
    from ppx_ext.plan import Plan


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """What Axolotl trains on, and what was done to it.

    Attributes:
        train, evaluation: tokenised; the labels of ``train`` carry the mask where it is baked.
        steps: optimizer steps of the whole training; None or -1 where Axolotl leaves it open.
        tokenizer: of the run, with its chat template.
        scores: folder of all scores.
        records: one for each stage that ran.
        state: the mask's fitted state.
        numbers: rows and targets before and after, rows whose text was edited.
    """

    train: Dataset
    evaluation: Dataset | None
    steps: int | None
    tokenizer: Tokenizer
    scores: Path
    records: tuple[StageRecord, ...] = ()
    state: Numbers = dataclasses.field(default_factory=dict)
    numbers: Numbers = dataclasses.field(default_factory=dict)


def prepare(cfg: DictDefault, plan: Plan, catalog: Catalog) -> Prepared:
    """Build, tokenise as Axolotl does, then choose and mask. Every process calls this at once.

    Raises:
        PlanError: the config would undo the order of the chosen rows.
        ValueError: the data cannot be built, chosen or masked; the row or the key is named.
    """
    base = base_of(cfg, plan)
    plain = tokenize(cfg, plan, catalog, base)
    masks = plan.mask is not None and (plan.apply != "online" or plan.mask_eval)
    if not (masks or plan.choose):
        train, evaluation = (_for_collators(rows, plan) for rows in (plain.train, plain.evaluation))
        return dataclasses.replace(plain, train=train, evaluation=evaluation)
    masked, evaluation = _masked(plain, plan, catalog, base)
    del base
    _free_memory()
    train = _for_collators(masked.dataset, plan)
    steps = axolotl_order.steps_in_order(
        cfg, train, chosen.order_of(masked.records), before=(len(plain.train), plain.steps)
    )
    cfg.total_supervised_tokens = kept = targets(train)
    return dataclasses.replace(
        plain,
        train=train,
        evaluation=_for_collators(evaluation, plan),
        steps=steps,
        records=(*plain.records, *masked.records),
        state=masked.state,
        numbers={**plain.numbers, "rows_kept": len(train), "targets_kept": kept},
    )


def tokenize(cfg: DictDefault, plan: Plan, catalog: Catalog, base: Base) -> Prepared:
    """What Axolotl itself would train on, kept in a folder named after all it depends on.

    Where the plan has a builder, it builds first, and Axolotl reads the rows that it built.
    """
    from axolotl.loaders import load_tokenizer

    tokenizer = load_tokenizer(cfg)
    if plan.build or plan.choose or plan.mask:
        _check_vocabulary(cfg, plan, tokenizer)
    changes, records = axolotl_build.built_datasets(
        cfg, plan, catalog, base, tokenizer, _built_folder(cfg, plan)
    )
    if plan.choose and not (cfg.val_set_size or cfg.curriculum_sampling):
        # In the user's order, ties are broken as in other hosts. Rows are shuffled when drawn.
        changes["shuffle_merged_datasets"] = False
    with _changed(cfg, **changes):
        (train, evaluation, steps), edited = _read(cfg, plan, catalog, tokenizer)
    numbers = {
        "rows": len(train),
        "targets": targets(train),
        "evaluation_rows": len(evaluation) if evaluation is not None else 0,
        "evaluation_is_built": evaluation is not None and SOURCE in evaluation.column_names,
        "edited_rows": edited,
    }
    return Prepared(
        train=train,
        evaluation=evaluation,
        steps=steps,
        tokenizer=tokenizer,
        scores=plan.cache_dir or _root(cfg) / "ppx" / "scores",
        records=records,
        numbers=numbers,
    )


def build_only(
    cfg: DictDefault, plan: Plan, catalog: Catalog, base: Base, out: Path | None, **given: Any
) -> BuiltRows:
    """The one data set of a config in the model's own words; by default where training looks.

    ``given`` goes to `building.build`.

    Raises:
        ValueError: the config has several data sets.
    """
    from axolotl.loaders import load_tokenizer

    tokenizer = load_tokenizer(cfg)
    _check_vocabulary(cfg, plan, tokenizer)
    entries = axolotl_build.entries_of(cfg)
    if len(entries) > 1:
        paths = ", ".join(str(entry.path) for entry in entries)
        raise ValueError(
            f"`datasets:` names {len(entries)} data sets ({paths}), and one is built at a time: "
            "give one with --data. Training builds them all."
        )
    root = out or _built_folder(cfg, plan)
    return axolotl_build.build(entries[0], cfg, plan, catalog, base, tokenizer, root, **given)


def _root(cfg: DictDefault) -> Path:
    from axolotl.common.const import DEFAULT_DATASET_PREPARED_PATH

    return Path(cfg.dataset_prepared_path or DEFAULT_DATASET_PREPARED_PATH)


def _built_folder(cfg: DictDefault, plan: Plan) -> Path:
    return (plan.cache_dir or _root(cfg) / "ppx") / built.FOLDER


def _read(
    cfg: DictDefault, plan: Plan, catalog: Catalog, tokenizer: Any
) -> tuple[tuple[Dataset, Dataset | None, int | None], int]:
    """Training rows, evaluation rows and steps, as Axolotl makes them; and how many were edited."""
    from axolotl.utils.data import prepare_datasets

    columns = chosen.columns_read(plan, catalog)
    root, content = _root(cfg), axolotl_hash.content_hash(cfg, tokenizer, columns)
    edits = root / "ppx" / "edited"
    changes, edited = axolotl_edit.edited_datasets(cfg, plan, edits, content, tokenizer)
    if columns:
        entries = changes.get("datasets", cfg.datasets)
        changes["datasets"] = axolotl_strategy.carrying(entries, columns)
    folder = root / f"ppx-{content}"
    _remove_torn(folder)
    # The real config and not a copy: Axolotl notes counts in it that its trainer needs.
    with _changed(cfg, dataset_prepared_path=str(folder), push_dataset_to_hub=None, **changes):
        train, evaluation, steps, _ = prepare_datasets(cfg, tokenizer)
    return (train, evaluation, steps), edited


def targets(dataset: Dataset) -> int:
    """How many tokens have a loss."""
    import pyarrow.compute as pc

    total = 0
    for start in range(0, len(dataset), 4096):
        chunk = dataset.with_format("arrow")[start : start + 4096].column("labels")
        flat = pc.list_flatten(chunk)
        total += pc.sum(pc.not_equal(flat, -100)).as_py() or 0
    return total


def _masked(
    plain: Prepared, plan: Plan, catalog: Catalog, base: Base
) -> tuple[pipeline.Masked, Dataset | None]:
    """Training rows, chosen and masked; evaluation rows, masked where that is asked for."""
    lent: dict[str, Any] = {"catalog": catalog, "base": base, "tokenizer": plain.tokenizer}
    found = pipeline.Tokenized(dataset=plain.train, plan=plan, **lent)
    _, masked = pipeline.choose_and_mask(found, plain.scores)
    if not plan.mask_eval or plain.evaluation is None:
        return masked, plain.evaluation
    # A share of the training rows is built like them; rows of `test_datasets` are all golds.
    which = plan.masked_rows if SOURCE in plain.evaluation.column_names else "all"
    evaluation = pipeline.mask_dataset(
        plain.evaluation,
        plan=dataclasses.replace(plan, apply="baked", masked_rows=which),
        store=plain.scores,
        **lent,
        state=masked.state,
        drop_rows=False,
    )
    return masked, evaluation.dataset


def _for_collators(dataset: Any, plan: Plan) -> Any:
    """No collator can pad words, or what a stage read of a row, or floats for each token."""
    if dataset is None:
        return None
    numbers = [
        name
        for name, feature in dataset.features.items()
        if "float" in getattr(getattr(feature, "feature", None), "dtype", "")
    ]
    places = [] if plan.mask is not None and plan.apply == "collator" else [ROW]
    read = {SOURCE, *chosen.row_columns(plan), *places} - {"input_ids", "labels"}
    return dataset.remove_columns(
        [*numbers, *(name for name in dataset.column_names if name in read - set(numbers))]
    )


def _check_vocabulary(cfg: DictDefault, plan: Plan, tokenizer: Tokenizer) -> None:
    if not (cfg.tokens or cfg.special_tokens) or _brings_scores(plan):
        return
    from axolotl.loaders.utils import load_model_config

    config = load_model_config(cfg)
    known = getattr(getattr(config, "text_config", config), "vocab_size", None)
    if known is not None and len(tokenizer) > known:
        raise ValueError(
            f"`tokens` or `special_tokens` add {len(tokenizer) - known} token(s) beyond the "
            f"{known} that {cfg.base_model} knows. The untouched base cannot score text with "
            "tokens that it has no embedding for: use tokens of the base, or save a base with "
            "resized embeddings and name it under `base_model`."
        )


def _brings_scores(plan: Plan) -> bool:
    return bool(getattr(plan.mask and plan.mask.settings, "scores_from", None))


def _free_memory() -> None:
    import torch

    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


@contextlib.contextmanager
def _changed(cfg: DictDefault, **changes: Any) -> Iterator[None]:
    before = {key: cfg[key] for key in changes if key in cfg}
    try:
        for key, value in changes.items():
            cfg[key] = value
        yield
    finally:
        for key in changes:
            del cfg[key]
        for key, value in before.items():
            cfg[key] = value


def _remove_torn(folder: Path) -> None:
    """Take away what a killed process left half written; Axolotl would fail on it for ever."""
    from axolotl.utils.data.lock import LOCK_FILE_NAME
    from filelock import FileLock

    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(str(folder / LOCK_FILE_NAME)):
        for found in folder.iterdir():
            if found.is_dir() and any(found.iterdir()) and not (found / "state.json").is_file():
                shutil.rmtree(found)
