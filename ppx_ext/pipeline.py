"""The flow: tokenised examples -> scores -> mask -> labels -> prepared data set with its records.

A newcomer reads this module first.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ppx_ext.catalog import Catalog
from ppx_ext.contracts import Numbers, StageRecord
from ppx_ext.effects import Base
from ppx_ext.plan import Plan

if TYPE_CHECKING:
    from datasets import Dataset
    from transformers import PreTrainedTokenizerBase as Tokenizer


@dataclass(frozen=True, kw_only=True)
class Masked:
    """A tokenised data set whose labels carry the mask.

    Attributes:
        dataset: the same rows and columns in the same order; only ``labels`` differ.
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
) -> Masked:
    """Score and mask a tokenised data set (columns ``input_ids`` and ``labels``).

    Scores are kept under ``store``, by the fingerprint of all they depend on: a second call with
    another threshold reads them, and a call that was killed goes on at its last finished shard.
    Processes that call this at once share the work.
    """
    raise NotImplementedError
