"""Masks that read a second model: a tuned adapter (DPF), or another model of the family."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from datasets import Dataset
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import PreTrainedTokenizerFast

from ppx_ext import pipeline, plan
from ppx_ext.contracts import IGNORE
from ppx_ext.effects import base_from_path
from tests.models import tiny_model, tiny_tokenizer
from tests.plugins.stm.rows import CATALOG
from tests.reference.naive import naive_scores

PROMPT = 4


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerFast:
    return tiny_tokenizer()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, tokenizer: PreTrainedTokenizerFast) -> Path:
    """``base``, ``tuned`` (an adapter whose weights are far from zero) and ``bigger``."""
    root = tmp_path_factory.mktemp("models")
    for name, seed in {"base": 0, "bigger": 1}.items():
        tiny_model("llama", seed=seed).save_pretrained(root / name)
        tokenizer.save_pretrained(root / name)
    torch.manual_seed(3)
    config = LoraConfig(r=4, target_modules="all-linear", init_lora_weights=False)
    get_peft_model(tiny_model("llama", seed=0), config).save_pretrained(root / "tuned")
    return root


@pytest.fixture(scope="module")
def rows() -> Dataset:
    rng = np.random.default_rng(5)
    lengths = (19, 23, 34, 31)
    ids = [rng.integers(3, 300, size=length).tolist() for length in lengths]
    labels = [[IGNORE] * PROMPT + row[PROMPT:] for row in ids]
    return Dataset.from_dict({"input_ids": ids, "labels": labels})


def nlls(model: Any, rows: Dataset) -> list[Any]:
    """As stored (float16), from a loop over prefixes."""
    ids = [np.array(row, dtype=np.int32) for row in rows["input_ids"]]
    targets = [np.array(row) != IGNORE for row in rows["labels"]]
    scores = naive_scores(model, ids, targets)
    return [row["nll"].astype(np.float16).astype(np.float64) for row in scores]


def kept(mask: dict[str, Any], rows: Dataset, folder: Path, tokenizer: Any, store: Path) -> Any:
    chosen = plan.parse({"mask": {"mask_end_of_turn": True, **mask}}, CATALOG)
    masked = pipeline.mask_dataset(
        rows,
        plan=chosen,
        catalog=CATALOG,
        base=base_from_path(str(folder / "base"), scoring=chosen.scoring),
        tokenizer=tokenizer,
        store=store,
    )
    return [np.array(row)[PROMPT:] != IGNORE for row in masked.dataset["labels"]]


def test_dpf_keeps_what_tuning_made_likelier(
    rows: Dataset, folder: Path, tokenizer: PreTrainedTokenizerFast, tmp_path: Path
) -> None:
    base = nlls(tiny_model("llama", seed=0), rows)
    tuned = nlls(PeftModel.from_pretrained(tiny_model("llama", seed=0), folder / "tuned"), rows)
    found = kept({"use": "dpf", "tuned": str(folder / "tuned")}, rows, folder, tokenizer, tmp_path)
    expected = [after - before <= 0 for before, after in zip(base, tuned, strict=True)]
    assert [row.tolist() for row in found] == [row.tolist() for row in expected]
    assert 0 < np.concatenate(found).mean() < 1


def test_stm_dpf_masks_what_rose_or_was_hard(
    rows: Dataset, folder: Path, tokenizer: PreTrainedTokenizerFast, tmp_path: Path
) -> None:
    base = nlls(tiny_model("llama", seed=0), rows)
    tuned = nlls(PeftModel.from_pretrained(tiny_model("llama", seed=0), folder / "tuned"), rows)
    line = 3000.0
    mask = {"use": "stm_dpf", "tuned": str(folder / "tuned"), "ppl_threshold": line}
    found = kept(mask, rows, folder, tokenizer, tmp_path)
    expected = [
        (after <= before) & (before <= np.log(line))
        for before, after in zip(base, tuned, strict=True)
    ]
    assert [row.tolist() for row in found] == [row.tolist() for row in expected]
    risen = np.concatenate([b < a for b, a in zip(base, tuned, strict=True)])
    hard = np.concatenate(base) > np.log(line)
    assert (hard & ~risen).any()
    assert (risen & ~hard).any()


def test_another_model_of_the_family_scores(
    rows: Dataset, folder: Path, tokenizer: PreTrainedTokenizerFast, tmp_path: Path
) -> None:
    bigger = nlls(tiny_model("llama", seed=1), rows)
    line = float(np.exp(np.median(np.concatenate(bigger))))
    mask = {"use": "stm", "ppl_threshold": line, "scoring_model": str(folder / "bigger")}
    found = kept(mask, rows, folder, tokenizer, tmp_path)
    expected = [row <= np.log(line) for row in bigger]
    assert [row.tolist() for row in found] == [row.tolist() for row in expected]
