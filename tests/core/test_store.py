"""Scores on disk: what is written is read back, at one precision, for these very rows only."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from datasets import Dataset, concatenate_datasets
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from ppx_ext import store
from ppx_ext.examples import Examples
from tests.core import fakes

KEY = store.Key(name="nll", exact=False, fields={"data": "d"})


def examples(rows: int = 10, **given: Any) -> Examples:
    return Examples(dataset=fakes.dataset(rows, **given), ends=frozenset({2}))


def score(rows: Any) -> list[Any]:
    return [example.ids_T[example.target_T] / 7 for example in rows]


@given(hnp.arrays(np.float64, st.integers(0, 50), elements=st.floats(-65000, 65000)))
def test_quantize_is_float16_and_settles_at_once(scores_R: Any) -> None:
    once = store.quantize(scores_R)
    assert once.dtype == np.float32
    np.testing.assert_array_equal(once, scores_R.astype(np.float16).astype(np.float32))
    np.testing.assert_array_equal(store.quantize(once), once)


@given(hnp.arrays(np.float64, st.integers(0, 50), elements=st.floats(allow_nan=False)))
def test_exact_scores_come_back_bit_by_bit(scores_R: Any) -> None:
    back = store.decode(store.encode(scores_R, exact=True), exact=True)
    assert back.dtype == np.float64
    assert back.tobytes() == scores_R.tobytes()


@pytest.mark.parametrize("shard_rows", [1, 3, 10, 99])
def test_what_is_filled_is_read_back_whatever_the_shards(tmp_path: Path, shard_rows: int) -> None:
    rows = examples()
    stored = store.fill(tmp_path, KEY, rows, score, shard_rows=shard_rows)
    assert len(stored.shards()) == -(-10 // shard_rows)
    expected = [store.quantize(scores_R) for scores_R in score(list(rows))]
    for found, wanted in zip(stored, expected, strict=True):
        np.testing.assert_array_equal(found, wanted)
    reopened = store.stored_in(stored.folder, 10)
    assert reopened.key == stored.key
    assert [a.tobytes() for a in reopened] == [a.tobytes() for a in stored]


def test_a_folder_keeps_its_own_shards_when_the_setting_changes(tmp_path: Path) -> None:
    store.fill(tmp_path, KEY, examples(), score, shard_rows=3)

    def again(rows: Any) -> Any:
        raise AssertionError("all is scored already")

    assert store.fill(tmp_path, KEY, examples(), again, shard_rows=5).shard_rows == 3


def test_the_column_joins_the_rows_as_binary(tmp_path: Path) -> None:
    rows = examples()
    stored = store.fill(tmp_path, KEY, rows, score, shard_rows=4)
    joined = concatenate_datasets([rows.dataset, stored.dataset("ppx_nll")], axis=1)
    assert joined.features["ppx_nll"].dtype == "binary"
    for row, values in zip(joined, stored, strict=True):
        assert isinstance(row["ppx_nll"], bytes)
        np.testing.assert_array_equal(store.decode(row["ppx_nll"]), values)


def test_a_shard_says_what_it_is(tmp_path: Path) -> None:
    import pyarrow as pa

    key = store.Key(name="nll", exact=False, fields={"data": "d", "model": "weights"})
    path = store.fill(tmp_path, key, examples(), score, shard_rows=99).shards()[0]
    found = pa.ipc.open_stream(path.read_bytes()).read_all().schema.metadata
    about = {name.decode(): value.decode() for name, value in found.items()}
    chunk = examples().chunk(0, 10)
    assert (
        about
        | {
            "ppx_score": "nll",
            "ppx_model": "weights",
            "ppx_dtype": "float16",
            "ppx_fingerprint": key.fingerprint,
            "ppx_rows": chunk.digest,
        }
        == about
    )


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (lambda rows: score(rows)[1:], "returned 9 results for 10 rows"),
        (lambda rows: [np.zeros(99)] * len(rows), r"row 0: .* returned shape \(99,\)"),
        (lambda rows: [np.zeros((1, 1))] * len(rows), r"row 0: .* returned shape \(1, 1\)"),
    ],
)
def test_a_scorer_that_breaks_its_contract_is_named(
    tmp_path: Path, values: Any, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        store.fill(tmp_path, KEY, examples(), values, shard_rows=99)


@pytest.mark.parametrize("name", ["a/b", "", "n ll", "../up"])
def test_a_name_that_could_leave_its_folder_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="only letters, digits and underscores"):
        store.Key(name=name, exact=False, fields={})


@given(st.integers(0, 9), st.sampled_from(["id", "target", "order", "row"]))
def test_every_change_of_a_row_changes_the_data_fingerprint(at: int, change: str) -> None:
    rows = fakes.dataset().to_dict()
    before = Examples(dataset=Dataset.from_dict(rows), ends=frozenset()).fingerprint()
    if change == "id":
        rows["input_ids"][at][-1] = rows["labels"][at][-1] = 299
    elif change == "target":
        rows["labels"][at][-1] = -100
    elif change == "order":
        for column in rows.values():
            column[at], column[at - 1] = column[at - 1], column[at]
    else:
        rows["ppx_row"] = [*range(9), 99]
    assert Examples(dataset=Dataset.from_dict(rows), ends=frozenset()).fingerprint() != before


def test_the_fingerprint_hangs_on_no_layout() -> None:
    rows = fakes.dataset(20)
    plain = Examples(dataset=rows, ends=frozenset()).fingerprint()
    halves = concatenate_datasets([rows.select(range(7)), rows.select(range(7, 20))])
    turned = rows.select(range(19, -1, -1)).select(range(19, -1, -1))
    other = rows.add_column("more", list(range(20)))
    for same in (halves, turned, other):
        assert Examples(dataset=same, ends=frozenset()).fingerprint() == plain


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([[-100, 5]], "row 0: 3 input_ids but 2 labels"),
        ([[-100, 6, 7]], "row 0: the label at token 1 is 6, but the id there is 5.*not shifted"),
    ],
)
def test_labels_that_do_not_fit_the_ids_are_refused(labels: Any, message: str) -> None:
    rows = Dataset.from_dict({"input_ids": [[4, 5, 7]], "labels": labels})
    with pytest.raises(ValueError, match=message):
        Examples(dataset=rows, ends=frozenset()).chunk(0, 1)


def test_a_missing_column_lists_those_that_are_there() -> None:
    with pytest.raises(ValueError, match="no column 'labels'; it has input_ids"):
        Examples(dataset=Dataset.from_dict({"input_ids": [[1]]}), ends=frozenset())
