"""Results of pilots from files: every format, and every mistake with its place and key."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from click.testing import CliRunner
from pyarrow import parquet

from ppx_ext.advising.pilots import Pilot, read
from ppx_ext.cli import main

ROWS: list[dict[str, Any]] = [
    {"examples": 250, "low": 0.0, "high": 0.5, "seed": 0, "value": 0.25, "kind": "band"},
    {"examples": 250, "low": 0.0, "high": 1.0, "seed": 0, "value": 0.5, "kind": "random"},
    {"examples": 0, "low": 0.0, "high": 1.0, "seed": 0, "value": 0.125, "kind": "base"},
]
ROWS = [{**row, "lower_is_better": False} for row in ROWS]


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    """A file of the format that its name ends in."""
    if path.suffix == ".parquet":
        parquet.write_table(pa.Table.from_pylist(rows), path)
    elif path.suffix == ".csv":
        names = list(dict.fromkeys(name for row in rows for name in row))
        lines = [",".join(names), *(",".join(str(row.get(n, "")) for n in names) for row in rows)]
        path.write_text("\n".join(lines) + "\n")
    elif path.suffix == ".json":
        path.write_text(json.dumps(rows))
    else:
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.mark.parametrize("ending", ["csv", "json", "jsonl", "parquet"])
def test_every_format_gives_the_same(ending: str, tmp_path: Path) -> None:
    found = read(write(tmp_path / f"pilots.{ending}", ROWS))
    assert [one.model_dump() for one in found] == ROWS
    assert found[0].middle == 0.25


def test_losses_and_others_do_not_mix(tmp_path: Path) -> None:
    mixed = [ROWS[0], {**ROWS[1], "lower_is_better": True}]
    with pytest.raises(ValueError, match="true in some rows and not in others"):
        read(write(tmp_path / "pilots.csv", mixed))


def test_the_kind_is_told_by_the_rest(tmp_path: Path) -> None:
    bare = [{key: row[key] for key in row if key != "kind"} for row in ROWS[:2]]
    found = read(write(tmp_path / "pilots.csv", bare))
    assert [one.kind for one in found] == ["band", "random"]
    base = Pilot.model_validate({"kind": "base", "value": 0.1})
    assert (base.examples, base.low, base.high) == (0, 0.0, 1.0)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"value": "high"}, r"pilots.csv:2.value: .*number.*'high'"),
        ({"value": "nan"}, r"pilots.csv:2.value: .*finite"),
        ({"value": ""}, r"pilots.csv:2.value: Field required"),
        ({"low": 1.5}, r"pilots.csv:2.low: .*less than or equal to 1"),
        ({"low": 0.5}, r"pilots.csv:2: low 0.5 is not below high 0.5"),
        ({"examples": 250.5}, r"pilots.csv:2.examples: .*integer"),
        ({"kind": "bands"}, r"pilots.csv:2.kind: .*'band', 'random', 'all' or 'base'"),
        ({"kind": "all"}, r"kind 'all' has low 0 and high 1"),
        ({"kind": "base"}, "examples is at least 1, and 0 for kind 'base' alone"),
        ({"kind": "", "seed": ""}, r"pilots.csv:2: seed: missing"),
        ({"high": 1.0, "kind": "random"}, r"pilots.csv:3: seed 0 of 250 .* at pilots.csv:2"),
    ],
)
def test_mistakes_are_named(change: dict[str, Any], said: str, tmp_path: Path) -> None:
    path = write(tmp_path / "pilots.csv", [ROWS[0] | change, *ROWS[1:]])
    with pytest.raises(ValueError, match=said):
        read(path)


def test_all_mistakes_are_told_at_once(tmp_path: Path) -> None:
    path = write(tmp_path / "pilots.jsonl", [row | {"value": None} for row in ROWS])
    with pytest.raises(ValueError, match="3 wrong row") as caught:
        read(path)
    assert "pilots.jsonl:3.value" in str(caught.value)


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("pilots.txt", "", "are read from .csv"),
        ("pilots.csv", "", "holds no pilot"),
        ("pilots.csv", 'low\n"' + "x" * 140_000, "cannot be read as CSV: field larger"),
        ("pilots.jsonl", "{\n", "pilots.jsonl:1: Expecting"),
        ("pilots.parquet", "no", "cannot be read as Parquet"),
    ],
)
def test_files_that_are_none(name: str, content: str, said: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(ValueError, match=said):
        read(tmp_path / name)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--bands", "2"], "--bands is about pilots that are run here"),
        (["--max-failures", "2"], "--max-failures is about pilots"),
        (["--model", "x"], "--model is about a recipe"),
        (["r.yaml", "--grid", "8", "--lower-is-better"], "--lower-is-better is about a file"),
    ],
)
def test_an_option_that_plays_no_part_is_refused(options: list[str], words: str) -> None:
    told = CliRunner().invoke(main, ["budget", "--examples", "400", "--rows", "900", *options])
    assert told.exit_code == 2
    assert words in told.output
