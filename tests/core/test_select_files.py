"""`ppx select`: broken files, constant scores, duplicates."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ppx_ext.selecting import distinct
from tests.core.test_select_command import FORMATS, ROWS, again, done, refused, table, written


@pytest.mark.parametrize("kind", ["parquet", "arrow", "arrow stream", "saved"])
def test_a_broken_file_is_named(tmp_path: Path, kind: str) -> None:
    source = written(table(), kind, tmp_path)
    file = min(source.glob("*.arrow")) if kind == "saved" else source
    whole = file.read_bytes()
    middle = whole.find(b"row 77")  # in the text, which is read as the chosen rows are written
    for broken in (whole[:-5], whole[: middle // 2], b"", whole[: middle - 99] + bytes(8999)):
        file.write_bytes(broken)
        asked = ("--by", "score", "--count", 450)
        shown = refused(source, tmp_path / "new" / "out.parquet", *asked)
        assert f"{source} cannot be read" in shown
        assert not list(tmp_path.glob("new/*"))


def test_several_data_sets_are_named(tmp_path: Path) -> None:
    from datasets import Dataset, DatasetDict

    both = DatasetDict({name: Dataset(table()) for name in ("test", "train")})
    both.save_to_disk(str(tmp_path / "both"))
    asked = ("--by", "score", "--count", 1)
    shown = refused(tmp_path / "both", tmp_path / "out.parquet", *asked)
    assert "Give one: " in shown
    assert f"{tmp_path}/both/train" in shown.replace(" ", "")
    done(tmp_path / "both" / "train", tmp_path / "out.parquet", *asked)


def test_a_constant_score_is_told(tmp_path: Path) -> None:
    rows = table().append_column("same", pa.array([2.5] * ROWS))
    source = written(rows, "parquet", tmp_path)
    told = "All scores are 2.5: which rows are chosen hangs on the seed alone."
    for name, seed in (("one", 1), ("two", 2)):
        out = tmp_path / f"{name}.parquet"
        assert told in done(source, out, "--by", "same", "--count", 50, "--seed", seed)
        assert pq.read_table(out).num_rows == 50
    assert not pq.read_table(tmp_path / "one.parquet").equals(pq.read_table(out))
    assert "All scores" not in again(source, out, "--by", "score", "--count", 50)


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("column", ["topic", "turns", "score"])
def test_duplicates_are_left_out_first(tmp_path: Path, kind: str, column: str) -> None:
    rows, out = table(), tmp_path / "out.parquet"
    rows = rows.set_column(4, "turns", pa.array([row[:1] for row in rows["turns"].to_pylist()]))
    source = written(rows, kind, tmp_path)
    seen: set[str] = set()
    first = []
    for at, value in enumerate(rows[column].to_pylist()):
        if repr(value) not in seen:
            first.append(at)
        seen.add(repr(value))
    told = f"Left out {ROWS - len(first)} rows whose '{column}' an earlier row has."
    assert told in done(source, out, "--unique", column, "--indexes")
    assert pq.read_table(out)["row"].to_pylist() == first
    again(source, out, "--unique", column, "--by", "score", "--count", 3, "--hardest")
    found = pq.read_table(out)["score"].to_pylist()
    scores = rows["score"].to_numpy()[first]
    assert sorted(found) == np.sort(scores)[-3:].tolist()
    if column == "score":
        again(source, out, "--unique", column, "--by", "score", "--window", 0.5, 1)
        assert pq.read_table(out).num_rows == len(first) - round(len(first) / 2)
        shown = again(source, out, "--unique", column, "--strata", "topic", "--count", 999)
        assert pq.read_table(out).num_rows == len(first)
        assert shown.count("Short by") == 4


def test_equal_keys_are_found_in_any_part(monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.random.default_rng(0).integers(0, 700, 5000)
    wanted = np.sort(np.unique(values, return_index=True)[1])
    keys = distinct.keys_of(pa.array(values))
    assert distinct.firsts(keys).tolist() == wanted.tolist()
    monkeypatch.setattr(distinct, "PART", 300)
    monkeypatch.setattr(distinct, "CHUNK", 64)
    assert distinct.firsts(keys).tolist() == wanted.tolist()
    assert distinct.firsts(keys[:0]).tolist() == []
    kinds = [1, "1", 1.5, True, None, "", [], ["1"], {"a": 1}, {"a": "1"}, {"a": [1]}]
    found = np.concatenate([distinct.keys_of(pa.array([kind])) for kind in kinds])
    assert len(np.unique(found)) == len(kinds)
    fields = pa.array([{"a": 1, "b": None}, {"a": 1, "b": 2}])
    assert distinct.keys_of(fields)[0] == distinct.keys_of(pa.array([{"a": 1}]))[0]
