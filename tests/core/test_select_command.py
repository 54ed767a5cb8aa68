"""`ppx select`, on real files of each format."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner, Result
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ppx_ext.cli import main
from ppx_ext.selecting.sources import open_source
from ppx_ext.selecting.taking import write_chosen

ROWS = 500
FORMATS = ["parquet", "jsonl", "arrow", "arrow stream", "saved"]


def table() -> pa.Table:
    rng = np.random.default_rng(0)
    return pa.table(
        {
            "text": [f"row {at}" for at in range(ROWS)],
            "score": np.round(rng.exponential(2.0, ROWS), 1),
            "tokens": rng.integers(1, 30, ROWS),
            "topic": [["math", "code", "talk", "law"][at % 7 % 4] for at in range(ROWS)],
            "turns": [[{"role": "user", "content": str(at)}] * (at % 3) for at in range(ROWS)],
        }
    )


def written(rows: pa.Table, kind: str, folder: Path) -> Path:
    path = folder / f"data.{kind.split()[0]}"
    if kind == "parquet":
        pq.write_table(rows, path, row_group_size=60)
    elif kind == "jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows.to_pylist()))
    elif kind == "arrow":
        with pa.ipc.new_file(str(path), rows.schema) as writer:
            writer.write_table(rows, 60)
    elif kind == "arrow stream":
        with pa.ipc.new_stream(str(path), rows.schema) as writer:
            writer.write_table(rows, 60)
    else:
        from datasets import Dataset

        path = folder / "saved"
        Dataset(rows).save_to_disk(str(path), num_shards=3)
    return path


def ppx(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["select", *[str(argument) for argument in arguments]])


def again(*arguments: object) -> str:
    return done(*arguments, "--overwrite")


def done(*arguments: object) -> str:
    result = ppx(*arguments)
    assert result.exit_code == 0, result.output
    return result.output


def refused(*arguments: object) -> str:
    result = ppx(*arguments)
    assert result.exit_code == 1, result.output
    return " ".join(result.output.split())


@pytest.mark.parametrize("kind", FORMATS)
def test_the_easiest_rows_of_each_format(tmp_path: Path, kind: str) -> None:
    rows, out = table(), tmp_path / "new" / "out.parquet"
    shown = done(written(rows, kind, tmp_path), out, "--by", "score", "--count", 50)
    assert f"Wrote {out}: 50 of 500 rows." in shown
    found = pq.read_table(out)
    scores = rows["score"].to_numpy()
    assert sorted(found["score"].to_pylist()) == np.sort(scores)[:50].tolist()
    at = [int(text.removeprefix("row ")) for text in found["text"].to_pylist()]
    assert at == sorted(at)
    assert found.to_pylist() == rows.take(at).to_pylist()
    assert [path.name for path in out.parent.iterdir()] == ["out.parquet"]


@pytest.mark.parametrize("kind", FORMATS)
def test_all_formats_choose_the_same_rows(tmp_path: Path, kind: str) -> None:
    out = tmp_path / "out.parquet"
    source = written(table(), kind, tmp_path)
    shown = done(
        source, out, "--by", "score", "--tokens", 1000, "--length", "tokens",
        "--window", 0.2, 0.8, "--hardest", "--seed", 7, "--indexes",
    )  # fmt: skip
    rows = pq.read_table(out)["row"].to_numpy()
    tokens, scores = table()["tokens"].to_numpy(), table()["score"].to_numpy()
    taken = int(tokens[rows].sum())
    assert 970 < taken <= 1000
    assert f"{len(rows)} of 500 rows, {taken} tokens." in shown
    assert taken == 1000 or f"Short by {1000 - taken} tokens: the next row is longer" in shown
    low, high = np.quantile(scores, [0.2, 0.8], method="inverted_cdf")
    assert low <= scores[rows].min()
    assert scores[rows].max() == high
    write_chosen(open_source(source), rows, tmp_path / "again.parquet")
    assert pq.read_table(tmp_path / "again.parquet")["score"].to_numpy().tolist() == (
        scores[rows].tolist()
    )


def test_strata_equally_and_in_proportion(tmp_path: Path) -> None:
    rows, out = table(), tmp_path / "out.parquet"
    source = written(rows, "parquet", tmp_path)
    # 500 = 71 * 7 + 3: math and code have 2 * 71 + 1 each (and 1 more of the rest), ...
    sizes = dict(zip(*np.unique(rows["topic"].to_pylist(), return_counts=True), strict=True))
    assert sizes == {"math": 143, "code": 143, "talk": 143, "law": 71}
    done(source, out, "--strata", "topic", "--count", 40)
    found = np.unique(pq.read_table(out)["topic"].to_pylist(), return_counts=True)
    assert found[1].tolist() == [10, 10, 10, 10]
    again(source, out, "--strata", "topic", "--count", 100, "--proportional")
    found = np.unique(pq.read_table(out)["topic"].to_pylist(), return_counts=True)
    assert dict(zip(*found, strict=True)) == {"math": 29, "code": 29, "talk": 28, "law": 14}
    shown = again(source, out, "--strata", "topic", "--count", 400)
    assert "Short by 29 rows of 'law': it has 71." in shown
    assert pq.read_table(out).num_rows == 371
    window = ("--by", "score", "--window", 0, 0.5)
    again(source, out, "--strata", "topic", "--count", 40, *window)
    assert max(pq.read_table(out)["score"].to_pylist()) <= np.median(rows["score"])


def test_a_window_alone_and_a_shortfall(tmp_path: Path) -> None:
    out = tmp_path / "out.parquet"
    source = written(table(), "parquet", tmp_path)
    done(source, out, "--by", "score", "--window", 0.5, 0.75)
    assert pq.read_table(out).num_rows == 125
    shown = again(source, out, "--by", "score", "--window", 0.5, 0.75, "--count", 200)
    assert "Short by 75 rows: there are no more." in shown


NEEDS = {
    ("--count", 1): "--by is needed",
    ("--by", "score"): "give --count, --tokens or --window",
    ("--by", "score", "--count", 1, "--tokens", 1): "two budgets",
    ("--by", "score", "--tokens", 1): "--tokens needs --length",
    ("--by", "score", "--strata", "topic", "--count", 1): "--strata draws at random",
    ("--strata", "topic"): "give --count",
    ("--unique", "topic", "--by", "score"): "give --count",
    ("--unique", "topics"): "no column 'topics'",
    ("--by", "score", "--window", 0.5, 0.5001): "no row of 500 is in the window from 0.5 to 0.5001",
    ("--by", "score", "--window", 0, 1, "--hardest"): "--hardest is the order of a budget",
    ("--by", "score", "--count", 1, "--proportional"): "--proportional is about --strata",
    ("--by", "score", "--window", 0.5, 0.2): "0 <= low < high <= 1",
    ("--by", "scores", "--count", 1): "no column 'scores'; it has text, score",
    ("--by", "text", "--count", 1): "column 'text' holds string, and scores are numbers",
    ("--by", "score", "--tokens", 9, "--length", "score"): "lengths are whole numbers",
    ("--strata", "turns", "--count", 1): "a stratum is a string or a number, not list",
    ("--by", "score", "--tokens", 1, "--length", "big"): "no row was chosen of 500. Short by 1",
}


@pytest.mark.parametrize("kind", ["parquet", "jsonl"])
@pytest.mark.parametrize("arguments", NEEDS, ids=str)
def test_what_cannot_be_done_is_named(tmp_path: Path, kind: str, arguments: Any) -> None:
    rows = table().append_column("big", pa.array([5] * ROWS))
    out = tmp_path / "out.parquet"
    assert NEEDS[arguments] in refused(written(rows, kind, tmp_path), out, *arguments)
    assert not out.exists()


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("score", float("nan"), "row 77 (counted from 0): 'score' is not a number"),
        ("score", None, "row 77 (counted from 0): 'score' is null"),
        ("tokens", None, "row 77 (counted from 0): 'tokens' is null"),
        ("tokens", -1, "row 77 (counted from 0): 'tokens' is below 0"),
        ("text", None, "row 77 (counted from 0): 'text', which is to be unique, is null"),
    ],
)
@pytest.mark.parametrize("kind", ["parquet", "jsonl", "arrow"])
def test_a_bad_value_is_named_with_its_row(
    tmp_path: Path, kind: str, column: str, value: Any, message: str
) -> None:
    rows = table()
    values = rows[column].to_pylist()
    values[77] = value
    at = rows.schema.get_field_index(column)
    source = written(rows.set_column(at, column, pa.array(values)), kind, tmp_path)
    asked = ("--by", "score", "--tokens", 100, "--length", "tokens", "--unique", "text")
    assert message in refused(source, tmp_path / "out.parquet", *asked)


def test_bad_files_are_named(tmp_path: Path) -> None:
    broken = tmp_path / "broken.jsonl"
    broken.write_text('{"score": 1}\n{"score": \n')
    out = tmp_path / "out.parquet"
    asked = ("--by", "score", "--count", 1)
    assert "broken.jsonl:2 cannot be read" in refused(broken, out, *asked)
    broken.write_text("")
    assert "has no row" in refused(broken, out, *asked)
    broken.write_text('{"score": 1}\n{"score": "a"}\n')
    assert "rows 0 to 1: a column holds values of different kinds" in refused(broken, out, *asked)
    (tmp_path / "not.parquet").write_text("no")
    assert "not.parquet cannot be read" in refused(tmp_path / "not.parquet", out, *asked)
    assert "a folder without the state.json of save_to_disk" in refused(tmp_path, out, *asked)
    (tmp_path / "rows.csv").write_text("score\n1\n")
    assert "rows.csv is none of the kinds" in refused(tmp_path / "rows.csv", out, *asked)
    good = written(table(), "parquet", tmp_path)
    assert "written as Parquet" in refused(good, tmp_path / "out.csv", *asked)
    assert "is the data itself" in refused(good, good, *asked, "--overwrite")
    assert pq.read_table(good).num_rows == ROWS
    out.write_text("mine")
    assert "out.parquet is there already" in refused(good, out, *asked)
    assert out.read_text() == "mine"
    again(good, out, *asked)
    assert pq.read_table(out).num_rows == 1


def test_json_that_turns_from_whole_numbers_to_others(tmp_path: Path) -> None:
    source = tmp_path / "data.jsonl"
    scores = [2] * 9000 + [1.5, 0.5]
    text = "".join(json.dumps({"score": s, "at": at}) + "\n" for at, s in enumerate(scores))
    source.write_text(text + '{"score": 0.25, "more": {"a": 1}}\n')
    done(source, tmp_path / "out.parquet", "--by", "score", "--count", 3)
    found = pq.read_table(tmp_path / "out.parquet").to_pylist()
    assert [row["score"] for row in found] == [1.5, 0.5, 0.25]
    assert found[2]["at"] is None
    assert found[2]["more"] == {"a": 1}


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("suffix", ["parquet", "arrow"])
def test_rows_in_any_order(tmp_path: Path, kind: str, suffix: str) -> None:
    source = open_source(written(table(), kind, tmp_path))

    @given(st.lists(st.integers(0, ROWS - 1), min_size=1, max_size=40))
    @settings(max_examples=10, suppress_health_check=[HealthCheck.function_scoped_fixture])
    def check(rows: list[int]) -> None:
        out = tmp_path / f"chosen.{suffix}"
        write_chosen(source, np.array(rows), out)
        found = pq.read_table(out) if suffix == "parquet" else pa.ipc.open_stream(out).read_all()
        assert found.to_pylist() == table().take(rows).to_pylist()

    check()
    with pytest.raises(ValueError, match="lacks 1 of the rows 3 to 500"):
        write_chosen(source, np.array([3, ROWS]), tmp_path / "x.parquet")
    assert not (tmp_path / "x.parquet").exists()
    with pytest.raises(ValueError, match="no row to write"):
        write_chosen(source, np.array([], dtype=int), tmp_path / "x.parquet")
