"""After a builder, the mask is for the golds: the model's own words keep every target."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from datasets import Dataset
from hypothesis import given
from hypothesis import strategies as st

from ppx_ext import pipeline
from ppx_ext.rows import canonical_rows
from tests.core import fakes
from tests.core.test_pipeline import LOOSE

SOURCES = ("own", "paraphrase", "gold")
LINE = 3.0


def golds_only(found: Any, **mask: Any) -> Any:
    return dataclasses.replace(fakes.parse(found, **{"line": LINE, **mask}), masked_rows="gold")


def mask(rows: Dataset, folder: Path, *, catalog: Any = None, **given: Any) -> pipeline.Masked:
    found = catalog or fakes.method()
    options = {key: given.pop(key) for key in ("state", "drop_rows") if key in given}
    return pipeline.mask_dataset(
        rows,
        plan=golds_only(found, **given),
        catalog=found,
        base=fakes.base(),
        tokenizer=fakes.tokenizer(),
        store=folder,
        **options,
    )


def by_hand(row: dict[str, Any], line: float = LINE) -> list[int]:
    """The score of an id is the id modulo 8; a gold's targets above the line lose their label."""
    if row["ppx_source"] != "gold":
        return list(row["labels"])
    return [
        label if i % 8 <= line else -100
        for i, label in zip(row["input_ids"], row["labels"], strict=True)
    ]


@LOOSE
@given(st.integers(0, 10**6), st.lists(st.sampled_from(SOURCES), min_size=1, max_size=9))
def test_only_golds_lose_targets_and_rows_stay_in_order(
    tmp_path: Path, seed: int, sources: list[str]
) -> None:
    rows = fakes.dataset(len(sources), seed=seed, ppx_source=sources)
    wanted = [by_hand(row) for row in rows]
    if all(label == -100 for labels in wanted for label in labels[1:]):
        with pytest.raises(ValueError, match="keeps no target"):
            mask(rows, tmp_path, drop_rows=False)
        return
    masked = mask(rows, tmp_path, drop_rows=False)
    assert masked.dataset["input_ids"] == rows["input_ids"]
    assert list(masked.dataset["labels"]) == wanted
    assert masked.scored == [at for at, source in enumerate(sources) if source == "gold"]
    numbers = masked.records[0].numbers
    assert numbers["rows"] == sources.count("gold")
    assert numbers["rows_left_alone"] == len(sources) - sources.count("gold")
    lost = sum(
        before != after
        for row, labels in zip(rows, wanted, strict=True)
        for before, after in zip(row["labels"], labels, strict=True)
    )
    assert numbers["masked"] == lost


def test_the_models_own_words_are_not_scored(tmp_path: Path) -> None:
    seen: list[int] = []

    def counting(settings: Any, examples: Any, tools: Any) -> Any:
        seen.extend(example.row for example in examples)
        return fakes.mod_score(settings, examples, tools)

    found = fakes.method(scorers=[dataclasses.replace(fakes.MOD, score=counting)])
    rows = fakes.dataset(6, ppx_source=["own", "gold", "own", "gold", "gold", "paraphrase"])
    mask(rows, tmp_path, catalog=found)
    assert sorted(seen) == [1, 3, 4]


def test_state_is_fitted_on_golds_alone(tmp_path: Path) -> None:
    fitted = dataclasses.replace(
        fakes.BELOW, fit=lambda s, scored: {"rows": [row.example.row for row in scored]}
    )
    rows = fakes.dataset(4, ppx_source=["own", "gold", "gold", "own"], ppx_row=[7, 5, 3, 1])
    masked = mask(rows, tmp_path, catalog=fakes.method(masks=[fitted]))
    assert masked.state == {"rows": [5, 3]}


def test_golds_that_lose_all_are_dropped_and_own_rows_stay(tmp_path: Path) -> None:
    rows = Dataset.from_dict(
        {
            "input_ids": [[5, 7], [5, 7], [5, 8], [5, 7]],
            "labels": [[-100, 7], [-100, 7], [-100, 8], [-100, 7]],
            "ppx_source": ["own", "gold", "gold", "paraphrase"],
        }
    )
    masked = mask(rows, tmp_path)
    assert masked.left == [0, 2, 3]
    assert list(masked.dataset["labels"]) == [[-100, 7], [-100, 8], [-100, 7]]
    assert masked.records[0].numbers["rows_without_targets"] == 1


def test_without_any_gold_nothing_is_masked(tmp_path: Path) -> None:
    rows = fakes.dataset(3, ppx_source=["own"] * 3)
    masked = mask(rows, tmp_path)
    assert list(masked.dataset["labels"]) == list(rows["labels"])
    numbers = masked.records[0].numbers
    assert (numbers["rows"], numbers["rows_left_alone"], numbers["masked"]) == (0, 3, 0)
    assert not list(tmp_path.iterdir())
    # An evaluation set then has no fitted state to take.
    other = fakes.dataset(3, seed=1, ppx_source=["gold"] * 3)
    assert mask(other, tmp_path, state=masked.state).state == {"nll_threshold": LINE}


def test_another_source_is_another_mask(tmp_path: Path) -> None:
    prints = {
        mask(fakes.dataset(2, ppx_source=sources), tmp_path).records[0].fingerprint
        for sources in (["own", "gold"], ["gold", "own"], ["gold", "gold"])
    }
    assert len(prints) == 3


def test_rows_without_their_source_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no column 'ppx_source'"):
        mask(fakes.dataset(2), tmp_path)
    with pytest.raises(ValueError, match="empty in 1 rows"):
        mask(fakes.dataset(2, ppx_source=["own", None]), tmp_path)


def test_a_prepared_folder_aligns_scores_with_golds(tmp_path: Path) -> None:
    found = fakes.method()
    sources = ["gold", "own", "gold", "paraphrase", "gold", "own"]
    rows = Dataset.from_dict(
        {
            "input_ids": [[5, 7], [5, 7], [5, 9], [5, 6], [5, 10, 7], [5, 1]],
            "labels": [[-100, 7], [-100, 7], [-100, 9], [-100, 6], [-100, 10, 7], [-100, 1]],
            "ppx_source": sources,
            "ppx_row": [10, 11, 12, 13, 14, 15],
        }
    )
    prepared = pipeline.prepare(
        fakes.tokenized(rows, found, plan=golds_only(found)), tmp_path / "out"
    )
    assert "ppx_source" not in prepared.dataset.column_names
    seen = list(prepared.rows())
    # Row 10 lost its only target, so it left.
    assert [row.scored.example.row for row in seen] == [11, 12, 13, 14, 15]
    assert [row.source for row in seen] == sources[1:]
    scores = [row.scored.scores.get("nll") for row in seen]
    assert [None if score is None else score.tolist() for score in scores] == [
        None, [1.0], None, [2.0, 7.0], None
    ]  # fmt: skip
    assert [row.keep_T.tolist() for row in seen] == [
        [False, True], [False, True], [False, True], [False, True, False], [False, True]
    ]  # fmt: skip


def test_edits_are_of_golds_only() -> None:
    words = {"prompt": "q", "completion": "A\r\nB"}
    rows = [words, {**words, "ppx_source": "gold"}, {**words, "ppx_source": "own"}]
    found = canonical_rows(rows, chat=False, edit=lambda text: text.replace("\r", ""))
    assert [row["completion"] for _, row in found] == ["A\nB", "A\nB", "A\r\nB"]


def test_random_masks_of_golds_hang_on_no_order(tmp_path: Path) -> None:
    drawn = dataclasses.replace(
        fakes.BELOW, keep=lambda s, state, scored, rng: rng.random(len(scored.scores["nll"])) < 0.7
    )
    found = fakes.method(masks=[drawn])
    sources = ["gold", "own", "gold", "gold", "own", "gold", "gold", "gold"]
    rows = fakes.dataset(8, ppx_source=sources, ppx_row=list(range(8)))
    order = [3, 0, 7, 1, 6, 2, 5, 4]
    plain = mask(rows, tmp_path, catalog=found, drop_rows=False).dataset["labels"]
    shuffled = mask(rows.select(order), tmp_path, catalog=found, drop_rows=False).dataset["labels"]
    assert list(shuffled) == [plain[at] for at in order]
    # Without row numbers, a row is where it stands among all of them, not among the golds.
    unnamed = mask(rows.remove_columns("ppx_row"), tmp_path, catalog=found, drop_rows=False)
    assert list(unnamed.dataset["labels"]) == list(plain)
    assert np.any([a != b for a, b in zip(plain, rows["labels"], strict=True)])
