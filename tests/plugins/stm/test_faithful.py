"""On the authors' own per-token perplexities the labels are those that their rule makes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from datasets import Dataset
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from transformers import PreTrainedTokenizerFast

from ppx_ext import masking, pipeline, plan, store, tokens
from ppx_ext.contracts import IGNORE, Scored
from ppx_ext.effects import Base
from tests.plugins.stm.rows import CATALOG, authors_rows, stage

THRESHOLDS = (1.5, 2.5, 25.0, 1000.0)
END_OF_TURN = 128009


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerFast:
    """A stand-in with Llama 3's ids (its words are their numbers), which are all that matters."""
    words = WordLevel({f"t{token}": token for token in range(128256)}, unk_token="t0")
    return PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer(words), eos_token=f"t{END_OF_TURN}", bos_token="t128000"
    )


@pytest.fixture(scope="module")
def rows(data_dir: Path) -> list[dict[str, Any]]:
    return authors_rows(data_dir)


def plain_labels(row: dict[str, Any]) -> list[int]:
    start = row["prompt_length"]
    return [IGNORE] * start + row["input_ids"][start:]


def authors_labels(row: dict[str, Any], threshold: float) -> list[int]:
    """Their collator: the prompt goes first, and then ``labels[ppl > threshold] = -100``."""
    labels = np.array(plain_labels(row))
    labels[np.array(row["ppl"]) > threshold] = IGNORE
    return labels.tolist()


def untouchable() -> Base:
    def never() -> Any:
        raise AssertionError("no model is needed where the scores are the user's own")

    return Base(name="none", load=never, fingerprint=never)


@pytest.mark.parametrize("threshold", THRESHOLDS)
def test_labels_equal_the_authors_token_by_token(
    rows: list[dict[str, Any]],
    threshold: float,
    tokenizer: PreTrainedTokenizerFast,
    tmp_path: Path,
) -> None:
    dataset = Dataset.from_list(
        [
            {"input_ids": row["input_ids"], "labels": plain_labels(row), "ppl": row["ppl"]}
            for row in rows
        ]
    )
    block = {"mask": {"use": "stm", "ppl_threshold": threshold, "scores_from": "ppl"}}
    masked = pipeline.mask_dataset(
        dataset,
        plan=plan.parse(block, CATALOG),
        catalog=CATALOG,
        base=untouchable(),
        tokenizer=tokenizer,
        store=tmp_path,
    )
    expected = [authors_labels(row, threshold) for row in rows]
    assert masked.dataset["labels"][:] == expected
    numbers = masked.records[0].numbers
    assert numbers["masked"] == sum(
        plain != kept
        for row, kept_T in zip(rows, expected, strict=True)
        for plain, kept in zip(plain_labels(row), kept_T, strict=True)
    )


def test_what_the_paper_says_of_them(
    rows: list[dict[str, Any]], tokenizer: PreTrainedTokenizerFast, tmp_path: Path
) -> None:
    """At 2.5 a fifth of the targets is masked and holds nearly all of the loss (section 3)."""
    dataset = Dataset.from_list(
        [{**row, "labels": plain_labels(row)} for row in rows]
    ).select_columns(["input_ids", "labels", "ppl"])
    masked = pipeline.mask_dataset(
        dataset,
        plan=plan.parse({"mask": {"use": "stm", "scores_from": "ppl"}}, CATALOG),
        catalog=CATALOG,
        base=untouchable(),
        tokenizer=tokenizer,
        store=tmp_path,
    )
    numbers = masked.records[0].numbers
    assert (numbers["targets"], numbers["masked"]) == (1173, 264)
    assert numbers["masked_share"] == pytest.approx(0.225, abs=5e-4)
    assert 1 - numbers["loss_kept"] == pytest.approx(0.941, abs=5e-4)
    assert numbers["by_kind"]["special"]["masked"] == 0


def test_the_column_is_aligned_with_the_ids(rows: list[dict[str, Any]]) -> None:
    """A token's own identity explains its perplexity best where the two are aligned."""

    def unexplained(shift: int) -> float:
        groups: dict[int, list[float]] = {}
        for row in rows:
            start, nll = row["prompt_length"], np.log(row["ppl"])
            for place in range(start, len(nll) - 1):
                groups.setdefault(row["input_ids"][place + shift], []).append(float(nll[place]))
        return sum(float(np.var(values)) * len(values) for values in groups.values())

    assert unexplained(0) < min(unexplained(-1), unexplained(1))


def test_half_precision_flips_none_of_the_authors_masks(rows: list[dict[str, Any]]) -> None:
    """Scores of a model are stored as float16; the authors' lie on a coarser grid of bf16."""
    flipped = {}
    for threshold in THRESHOLDS:
        chosen = stage(ppl_threshold=threshold)
        flipped[threshold] = 0
        for number, row in enumerate(rows):
            example = tokens.from_labels(
                number, row["input_ids"], plain_labels(row), frozenset({END_OF_TURN}), {}
            )
            nll_R = store.quantize(np.log(row["ppl"])[example.target_T])
            scored = Scored(example=example, scores={"nll": nll_R})
            keep_R = masking.keep_targets(chosen, {}, scored, seed=0)
            labels = tokens.labels_of(example, masking.expand(example, keep_R)).tolist()
            expected = authors_labels(row, threshold)
            flipped[threshold] += sum(a != b for a, b in zip(labels, expected, strict=True))
    assert flipped == dict.fromkeys(THRESHOLDS, 0)
