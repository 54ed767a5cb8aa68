"""Axolotl's own tokenised data set, with masked labels, and never a stale one.

Axolotl keeps prepared data under a hash of the config that says nothing of the *content* of files
and tokenizers. The content goes into the folder's name here, and masks are put on after Axolotl
has loaded, filtered, split and counted, so that they are in no cache of its at all.
"""

from __future__ import annotations

import contextlib
import dataclasses
import gc
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ppx_ext import pipeline
from ppx_ext.hosts import axolotl_edit, axolotl_hash
from ppx_ext.hosts.axolotl_base import base_of

if TYPE_CHECKING:
    from axolotl.utils.dict import DictDefault
    from datasets import Dataset
    from transformers import PreTrainedTokenizerBase as Tokenizer

    from ppx_ext.catalog import Catalog
    from ppx_ext.contracts import Numbers, StageRecord
    from ppx_ext.effects import Base
    from ppx_ext.plan import Plan

_COUNTS = ("total_num_tokens", "total_supervised_tokens", "sample_packing_eff_est")


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
    """Tokenise as Axolotl does, then score and mask. Every process calls this at once.

    Raises:
        ValueError: the data cannot be masked; the row or the key is named.
    """
    plain = tokenize(cfg, plan)
    if plan.mask is None or (plan.apply == "online" and not plan.mask_eval):
        return plain
    base = base_of(cfg, plan)
    _check_vocabulary(cfg, plan, plain.tokenizer)
    masked, evaluation = _mask(plain, plan, catalog, base)
    del base
    _free_memory()
    train = _without_scores(masked.dataset)
    steps = plain.steps if len(train) == len(plain.train) else _count_steps(cfg, train)
    cfg.total_supervised_tokens = kept = targets(train)
    return dataclasses.replace(
        plain,
        train=train,
        evaluation=evaluation,
        steps=steps,
        records=masked.records,
        state=masked.state,
        numbers={**plain.numbers, "rows_kept": len(train), "targets_kept": kept},
    )


def tokenize(cfg: DictDefault, plan: Plan) -> Prepared:
    """What Axolotl itself would train on, kept in a folder named after all it depends on."""
    from axolotl.common.const import DEFAULT_DATASET_PREPARED_PATH
    from axolotl.loaders import load_tokenizer
    from axolotl.utils.data import prepare_datasets

    tokenizer = load_tokenizer(cfg)
    root = Path(cfg.dataset_prepared_path or DEFAULT_DATASET_PREPARED_PATH)
    own = root / "ppx"
    content = axolotl_hash.content_hash(cfg, tokenizer)
    changes, edited = axolotl_edit.edited_datasets(cfg, plan, own / "edited", content, tokenizer)
    folder = root / f"ppx-{content}"
    _remove_torn(folder)
    # The real config and not a copy: Axolotl notes counts in it that its trainer needs.
    with _changed(cfg, dataset_prepared_path=str(folder), push_dataset_to_hub=None, **changes):
        train, evaluation, steps, _ = prepare_datasets(cfg, tokenizer)
    numbers = {
        "rows": len(train),
        "targets": targets(train),
        "evaluation_rows": len(evaluation) if evaluation is not None else 0,
        "edited_rows": edited,
    }
    return Prepared(
        train=train,
        evaluation=evaluation,
        steps=steps,
        tokenizer=tokenizer,
        scores=plan.cache_dir or own / "scores",
        numbers=numbers,
    )


def targets(dataset: Dataset) -> int:
    """How many tokens have a loss."""
    import pyarrow.compute as pc

    total = 0
    for start in range(0, len(dataset), 4096):
        chunk = dataset.with_format("arrow")[start : start + 4096].column("labels")
        flat = pc.list_flatten(chunk)
        total += pc.sum(pc.not_equal(flat, -100)).as_py() or 0
    return total


def _mask(
    plain: Prepared, plan: Plan, catalog: Catalog, base: Base
) -> tuple[pipeline.Masked, Dataset | None]:
    lent: dict[str, Any] = {
        "plan": plan,
        "catalog": catalog,
        "base": base,
        "tokenizer": plain.tokenizer,
        "store": plain.scores,
    }
    masked = pipeline.mask_dataset(plain.train, **lent)
    if not plan.mask_eval or plain.evaluation is None:
        return masked, _without_scores(plain.evaluation)
    evaluation = pipeline.mask_dataset(
        plain.evaluation,
        **{**lent, "plan": dataclasses.replace(plan, apply="baked")},
        state=masked.state if masked.records else None,
        drop_rows=False,
    )
    return masked, _without_scores(evaluation.dataset)


def _without_scores(dataset: Any) -> Any:
    """No collator can pad a list of floats for each token, which a mask may have read."""
    if dataset is None:
        return None
    numbers = [
        name
        for name, feature in dataset.features.items()
        if "float" in getattr(getattr(feature, "feature", None), "dtype", "")
    ]
    return dataset.remove_columns(numbers)


def _count_steps(cfg: DictDefault, train: Dataset) -> int | None:
    """Steps anew, since rows without a target left the data set."""
    from axolotl.utils.trainer import calculate_total_num_steps

    if os.environ.get("AXOLOTL_IS_PREPROCESS") == "1":
        return -1
    for key in _COUNTS:
        cfg[key] = None
    steps = int(calculate_total_num_steps(cfg, train))
    return min(steps, cfg.max_steps) if cfg.max_steps else steps


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
