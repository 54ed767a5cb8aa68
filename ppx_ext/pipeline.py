"""The flow: tokenised rows -> chosen rows -> mask -> labels -> prepared data set with its records.

A newcomer reads this module first. The stages are functions of a data set that also yield a
`StageRecord`: a builder gives rows in the model's own words before they are tokenised
(`building`, which hosts call), a sampler chooses rows by their difficulty (`choose_stage`), the
mask decides which of their tokens are trained on (`mask_stage`).
"""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ppx_ext import manifest
from ppx_ext.catalog import Catalog
from ppx_ext.choose_stage import Chosen, choose_dataset
from ppx_ext.contracts import StageRecord
from ppx_ext.effects import Base
from ppx_ext.examples import Examples
from ppx_ext.files import write_json
from ppx_ext.mask_stage import Masked, mask_dataset
from ppx_ext.plan import Plan
from ppx_ext.prepared import Prepared, is_whole, load_prepared, write_dataset
from ppx_ext.tokens import end_of_turn_ids

if TYPE_CHECKING:
    from datasets import Dataset
    from transformers import PreTrainedTokenizerBase as Tokenizer

__all__ = [
    "Chosen",
    "Masked",
    "Prepared",
    "Tokenized",
    "choose_and_mask",
    "choose_dataset",
    "load_prepared",
    "mask_dataset",
    "prepare",
]

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Tokenized:
    """A recipe's training rows as its host tokenises them, and what is needed to mask them.

    Attributes:
        dataset: columns ``input_ids`` and ``labels``; others only where a stage reads them.
        tokenizer: of the run.
        base: the untouched model.
        plan: what the recipe asks for.
        catalog: the installed methods.
        records: of the stages before.
    """

    dataset: Dataset
    tokenizer: Tokenizer
    base: Base
    plan: Plan
    catalog: Catalog
    records: tuple[StageRecord, ...] = ()


def prepare(found: Tokenized, out: Path, *, overwrite: bool = False) -> Prepared:
    """Run all stages on tokenised rows and write the result to the folder ``out``.

    ``dataset/`` holds Parquet for both hosts, ``scores/`` each score, ``targets.arrow`` what plain
    fine-tuning would train on, ``tokenizer/`` the tokenizer, ``manifest.json`` every setting,
    fingerprint, version and record, ``timings.json`` the durations. All but the last are the same
    bytes however often the run was killed and begun again, and however many processes shared it.

    Raises:
        ValueError: ``out`` was prepared from other inputs (each is named) and ``overwrite`` is
            False; or as `choose_dataset` and `mask_dataset`.
        OSError: something cannot be written.
    """
    started = time.perf_counter()
    ends = end_of_turn_ids(found.tokenizer)
    inputs = _inputs(found, Examples(dataset=found.dataset, ends=ends))
    manifest.claim(out, inputs, overwrite=overwrite)
    chosen, masked = choose_and_mask(found, out / manifest.SCORES)
    scored = time.perf_counter()
    _write(found if chosen is None else replace(found, dataset=chosen.dataset), masked, inputs, out)
    seconds = {"stages": scored - started, "total": time.perf_counter() - started}
    write_json(out / manifest.TIMINGS, {"seconds": seconds})
    return load_prepared(out)


def choose_and_mask(found: Tokenized, store: Path) -> tuple[Chosen | None, Masked]:
    """Choose among the rows, where the plan asks for it, and mask what was chosen.

    The records of `Masked` tell of both. Nothing is scored twice.

    Raises:
        ValueError, OSError: as `choose_dataset` and `mask_dataset`.
    """
    lent: dict[str, Any] = {
        "plan": found.plan,
        "catalog": found.catalog,
        "base": found.base,
        "tokenizer": found.tokenizer,
        "store": store,
    }
    if found.plan.choose is None:
        return None, mask_dataset(found.dataset, **lent)
    chosen = choose_dataset(found.dataset, **lent)
    masked = mask_dataset(chosen.dataset, origin=chosen.origin, **lent)
    return chosen, replace(masked, records=(chosen.record, *masked.records))


def _inputs(found: Tokenized, examples: Examples) -> dict[str, Any]:
    """All that rows and scores hang on. The settings of choosing and masking are no part of it:
    another run with others reuses the scores, and writes the data set anew.
    """
    return {
        "schema": manifest.SCHEMA,
        "base": {
            "name": found.base.name,
            "revision": found.base.revision,
            "fingerprint": found.base.fingerprint(),
        },
        "tokenizer": {
            "name": found.tokenizer.name_or_path,
            "fingerprint": manifest.tokenizer_fingerprint(found.tokenizer),
        },
        "data": {"rows": len(examples), "fingerprint": examples.fingerprint()},
        "built": [record.fingerprint for record in found.records if record.stage == "build"],
        "scoring": {"dtype": found.plan.scoring.dtype},
    }


def _write(found: Tokenized, masked: Masked, inputs: dict[str, Any], out: Path) -> None:
    """Write data set, tokenizer and manifest; the first of several processes does, alone."""
    from filelock import FileLock

    with FileLock(out / manifest.LOCK):
        before = _manifest_or_none(out)
        about = {
            **inputs,
            "plan": found.plan.dump(),
            "state": dict(masked.state),
            "scores": {} if masked.scores is None else masked.scores.describe(),
            "records": manifest.dump_records([*found.records, *masked.records]),
            "seeds": {"plan": found.plan.seed},
            "versions": manifest.versions(),
        }
        if before is not None and _same(before, about) and is_whole(out, before):
            log.info("%s is prepared already, by the very same settings", out)
            return
        if before is not None:
            lines = manifest.differences(before["plan"], about["plan"], "ppx")
            log.info(
                "the scores of %s are reused; changed: %s", out, "; ".join(lines) or "versions"
            )
            (out / manifest.MANIFEST).unlink()
        about["dataset"] = write_dataset(masked, found.dataset, out)
        found.tokenizer.save_pretrained(str(out / manifest.TOKENIZER))
        write_json(out / manifest.MANIFEST, about)


def _same(before: dict[str, Any], now: dict[str, Any]) -> bool:
    return {**before, "dataset": None} == {**now, "dataset": None}


def _manifest_or_none(out: Path) -> dict[str, Any] | None:
    return manifest.read_manifest(out) if (out / manifest.MANIFEST).exists() else None
