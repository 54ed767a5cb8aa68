"""The flow: what a mask decides reaches the labels, and nothing stale is ever served."""

from __future__ import annotations

import dataclasses
import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from datasets import Dataset, load_dataset
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ppx_ext import catalog, effects, pipeline, plan, store, testing, tokens
from ppx_ext.contracts import Mask, Scored
from ppx_ext.tokenized import tokenize_rows
from tests.core import fakes
from tests.models import tiny_model, tiny_tokenizer

LOOSE = settings(
    deadline=None, max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def mask(rows: Dataset, folder: Path, **given: Any) -> pipeline.Masked:
    found = given.pop("catalog", None) or fakes.method()
    options = {key: given.pop(key) for key in ("state", "drop_rows") if key in given}
    which = given.pop("base", None) or fakes.base()
    return pipeline.mask_dataset(
        rows,
        plan=given.pop("plan", None) or fakes.parse(found, **given),
        catalog=found,
        base=which,
        tokenizer=fakes.tokenizer(),
        store=folder,
        **options,
    )


@LOOSE
# Lines that float16 can hold, so that a plain comparison here is the one that is made there.
@given(st.integers(0, 10**6), st.floats(0, 7, width=16), st.integers(1, 12))
def test_labels_lose_exactly_the_targets_that_the_mask_drops(
    tmp_path: Path, seed: int, line: float, shard_rows: int
) -> None:
    rows = fakes.dataset(8, seed=seed)
    wanted = [
        [label if i % 8 <= line else -100 for i, label in zip(ids, labels, strict=True)]
        for ids, labels in zip(rows["input_ids"], rows["labels"], strict=True)
    ]
    # Token 0 has no context: its label stays, but there is nothing to train on.
    if all(label == -100 for labels in wanted for label in labels[1:]):
        with pytest.raises(ValueError, match="keeps no target of any of the 8 rows"):
            mask(rows, tmp_path, line=line, shard_rows=shard_rows, drop_rows=False)
        return
    masked = mask(rows, tmp_path, line=line, shard_rows=shard_rows, drop_rows=False)
    assert masked.dataset["input_ids"] == rows["input_ids"]
    assert list(masked.dataset["labels"]) == wanted


def test_masks_are_decided_on_the_stored_precision(tmp_path: Path) -> None:
    # 7/3 lies between two float16 numbers: what is decided must not change on the second run.
    line = float(np.float16(7 / 3))
    assert line != 7 / 3
    rows = fakes.dataset(10)
    first = mask(rows, tmp_path, factor=1 / 3, line=line)
    assert sum(label == -100 for row in first.dataset["labels"] for label in row) == sum(
        label == -100 or i % 8 / 3 > 7 / 3 + 1e-3
        for row, labels in zip(rows["input_ids"], rows["labels"], strict=True)
        for i, label in zip(row, labels, strict=True)
    )
    assert mask(rows, tmp_path, factor=1 / 3, line=line).dataset[:] == first.dataset[:]


def test_features_format_and_other_columns_stay(tmp_path: Path) -> None:
    rows = fakes.dataset(6, text=list("abcdef")).with_format("numpy", columns=["input_ids"])
    masked = mask(rows, tmp_path, drop_rows=False).dataset
    assert masked.features == rows.features
    assert masked.format == rows.format
    assert masked.with_format(None)["text"] == list("abcdef")


def test_rows_that_lose_all_are_dropped_and_counted_but_kept_for_evaluation(
    tmp_path: Path,
) -> None:
    rows = Dataset.from_dict(
        {"input_ids": [[5, 7], [5, 8], [5, 7]], "labels": [[-100, 7], [-100, 8], [-100, 7]]}
    )
    masked = mask(rows, tmp_path, line=3)
    assert masked.dataset["input_ids"] == [[5, 8]]
    assert masked.records[0].numbers["rows_without_targets"] == 2
    assert masked.left == [1]
    kept = mask(rows, tmp_path, line=3, drop_rows=False)
    assert kept.dataset["labels"] == [[-100, -100], [-100, 8], [-100, -100]]


def test_a_mask_that_keeps_nothing_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"keeps no target of any of the 10 rows"):
        mask(fakes.dataset(), tmp_path, line=-1)


def test_the_collator_gets_scores_and_row_numbers_beside_whole_labels(tmp_path: Path) -> None:
    rows = fakes.dataset()
    masked = mask(rows, tmp_path, apply="collator", drop_rows=False).dataset
    assert masked["labels"] == rows["labels"]
    assert masked["ppx_row"] == list(range(10))
    for row in masked:
        ids = [i for i, label in zip(row["input_ids"], row["labels"], strict=True) if label >= 0]
        np.testing.assert_array_equal(store.decode(row["ppx_nll"]), np.array(ids) % 8)


def test_online_does_nothing_here(tmp_path: Path) -> None:
    online = dataclasses.replace(fakes.BELOW, online=lambda settings: True)
    found = fakes.method(masks=[online])
    rows = fakes.dataset()
    masked = mask(rows, tmp_path, catalog=found, apply="online")
    assert masked.dataset is rows
    assert not list(tmp_path.iterdir())


def test_an_evaluation_set_takes_the_state_of_the_training_set(tmp_path: Path) -> None:
    def keep(settings: Any, state: Any, scored: Scored, rng: Any) -> Any:
        return scored.scores["nll"] <= state["line"]

    fitted: Mask = dataclasses.replace(
        fakes.BELOW,
        keep=keep,
        fit=lambda settings, scored: {
            "line": float(np.mean([row.scores["nll"].max() for row in scored]))
        },
    )
    found = fakes.method(masks=[fitted])
    train = mask(fakes.dataset(8), tmp_path, catalog=found)
    other = mask(fakes.dataset(8, seed=5), tmp_path, catalog=found, state=train.state)
    assert other.state == train.state
    assert mask(fakes.dataset(8, seed=6), tmp_path, catalog=found).state != train.state


def test_random_masks_hang_on_no_order_and_no_shard(tmp_path: Path) -> None:
    drawn = dataclasses.replace(
        fakes.BELOW, keep=lambda s, state, scored, rng: rng.random(len(scored.scores["nll"])) < 0.7
    )
    found = fakes.method(masks=[drawn])
    rows = fakes.dataset(9, ppx_row=list(range(9)))
    order = [4, 0, 8, 2, 6, 1, 3, 7, 5]
    given: dict[str, Any] = {"catalog": found, "drop_rows": False}
    plain = mask(rows, tmp_path, shard_rows=2, **given).dataset["labels"]
    mixed = mask(rows.select(order), tmp_path, shard_rows=5, **given).dataset["labels"]
    assert [plain[at] for at in order] == list(mixed)
    other = plan.parse({"mask": {"use": "below"}, "seed": 1}, found)
    assert mask(rows, tmp_path, plan=other, **given).dataset["labels"] != plain


CHANGES: dict[str, Any] = {
    "same": lambda given: given,
    "text of a row": lambda given: given | {"rows": fakes.dataset(6, seed=1)},
    "order": lambda given: given | {"rows": given["rows"].select([1, 0, 2, 3, 4, 5])},
    "model": lambda given: given | {"base": fakes.base("other weights")},
    "dtype": lambda given: given | {"scoring": {"dtype": "float32"}},
    "scorer settings": lambda given: given | {"factor": 2.0},
    "threshold": lambda given: given | {"line": 2.0},
    "shards": lambda given: given | {"shard_rows": 3},
}


@pytest.mark.parametrize("change", CHANGES)
def test_what_changes_a_score_makes_a_new_one_and_nothing_else_does(
    tmp_path: Path, change: str
) -> None:
    calls: list[int] = []

    def score(settings: Any, examples: Any, tools: Any) -> Any:
        calls.extend(example.row for example in examples)
        return fakes.mod_score(settings, examples, tools)

    found = fakes.method(scorers=[dataclasses.replace(fakes.MOD, score=score)])

    def run(given: dict[str, Any]) -> dict[str, str]:
        given = dict(given)
        rows, scoring = given.pop("rows"), given.pop("scoring", {})
        block = {key: given.pop(key) for key in ("line", "factor") if key in given}
        asked = {
            "mask": {"use": "below", **block},
            "scoring": scoring,
            "shard_rows": given.pop("shard_rows", 4),
        }
        made = mask(rows, tmp_path, catalog=found, plan=plan.parse(asked, found), **given)
        assert made.scores is not None
        return made.scores.fingerprints()

    given = {"rows": fakes.dataset(6)}
    first = run(given)
    assert sorted(calls) == list(range(6))
    calls.clear()
    again = run(CHANGES[change](given))
    reused = change in ("same", "threshold", "shards")
    assert (again == first) is reused
    assert sorted(calls) == ([] if reused else list(range(6)))


@LOOSE
@given(st.integers(0, 5), st.floats(0, 9))
def test_a_changed_column_of_the_users_own_scores_is_never_served_from_before(
    tmp_path: Path, row: int, value: float
) -> None:
    rows = fakes.dataset(6)
    sizes = [sum(label != -100 for label in labels) for labels in rows["labels"]]
    before = mask(rows.add_column("mine", [[1.5] * n for n in sizes]), tmp_path, column="mine")
    changed = [[1.5] * n for n in sizes]
    changed[row][-1] = value
    after = mask(rows.add_column("mine", changed), tmp_path, column="mine", drop_rows=False)
    assert before.scores is not None
    assert after.scores is not None
    assert (before.scores.fingerprints() == after.scores.fingerprints()) is (value == 1.5)
    assert (after.dataset["labels"][row][-1] == -100) is (float(np.float16(value)) > 4.0)


def test_the_fakes_keep_their_own_contract() -> None:
    testing.check_token_scorer(fakes.MOD)
    testing.check_mask(fakes.BELOW)


def test_checks_find_what_breaks_the_contract() -> None:
    rng = np.random.default_rng(0)
    fickle = dataclasses.replace(
        fakes.BELOW, keep=lambda s, state, scored, r: rng.random(len(scored.scores["nll"])) < 0.5
    )
    with pytest.raises(AssertionError, match="another answer on the second call"):
        testing.check_mask(fickle)
    short = dataclasses.replace(fakes.BELOW, keep=lambda s, state, scored, r: np.ones(1, bool))
    with pytest.raises(ValueError, match="must return bool"):
        testing.check_mask(short)
    nosy = dataclasses.replace(
        fakes.MOD,
        score=lambda s, rows, tools: [np.full(r.target_T.sum(), len(rows), float) for r in rows],
    )
    with pytest.raises(AssertionError, match="another score without its neighbours"):
        testing.check_token_scorer(nosy)


@pytest.mark.slow
def test_real_rows_a_real_model_and_the_method_itself(
    data_dir: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    import ppx_stm

    found = catalog.load([("ppx-ext", ppx_stm)])
    tokenizer = tiny_tokenizer()
    tiny_model("llama", max_position_embeddings=4096).save_pretrained(tmp_path / "base")
    rows = tokenize_rows(data_dir / "mbpp_train.jsonl", tokenizer)
    assert len(rows.dataset) == 374

    def run(threshold: float) -> pipeline.Prepared:
        asked = plan.parse(
            {"mask": {"use": "stm", "ppl_threshold": threshold}, "shard_rows": 100}, found
        )
        base = effects.base_from_path(str(tmp_path / "base"), scoring=asked.scoring)
        made = pipeline.Tokenized(
            dataset=rows.dataset,
            tokenizer=tokenizer,
            base=base,
            plan=asked,
            catalog=found,
            records=(rows.record,),
        )
        return pipeline.prepare(made, tmp_path / "out")

    first = run(500.0)
    shards = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").glob("scores/*/*.arrow")}
    with caplog.at_level(logging.INFO):
        second = run(900.0)
    assert "ppx.mask.ppl_threshold: 500.0 before, 900.0 now" in caplog.text
    assert shards == {
        path: path.stat().st_mtime_ns for path in (tmp_path / "out").glob("scores/*/*.arrow")
    }
    assert len(shards) == 4
    assert first.manifest["scores"] == second.manifest["scores"]
    seen = 0
    for row, tokens_of in zip(second.rows(), rows.dataset, strict=True):
        seen += 1
        example = row.scored.example
        assert example.ids_T.tolist() == tokens_of["input_ids"]
        assert tokens.labels_of(example).tolist() == tokens_of["labels"]
        hard_T = np.zeros(len(example.ids_T), dtype=bool)
        hard_T[example.target_T] = row.scored.scores["nll"] > np.log(900.0)
        np.testing.assert_array_equal(row.keep_T, example.target_T & (~hard_T | example.end_T))
    assert seen == 374
    loaded = load_dataset(str(tmp_path / "out" / "dataset"), split="train")
    assert loaded["labels"][:] == second.dataset["labels"][:]
    assert json.loads((tmp_path / "out" / "manifest.json").read_text()) == second.manifest
