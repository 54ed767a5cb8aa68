"""`ppx measure`, on a real recipe: numbers, correlations, the file and the page."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import yaml
from click.testing import CliRunner, Result

from ppx_ext import choice_numbers
from ppx_ext.cli import main
from ppx_ext.measuring.numbers import Measure, Table, pairs
from ppx_ext.measuring.page import axis_of, draw, number, render, show
from tests.models import tiny_model, tiny_tokenizer

ROWS = 30


def words(row: int) -> str:
    lines = [f"{n} times {row} is <<{n}*{row}={n * row}>>{n * row}." for n in range(row % 7 + 1)]
    return "\n".join([*lines, f"#### {row}"])


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("recipe")
    tiny_model("llama").save_pretrained(folder / "model")
    tiny_tokenizer().save_pretrained(folder / "model")
    rows = [
        {"prompt": f"Number {at}?", "response": words(at), "mine": (at * 11) % 30 + 0.5}
        for at in range(ROWS)
    ]
    (folder / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    settings = {
        "model_name_or_path": str(folder / "model"),
        "dataset_name": str(folder / "train.jsonl"),
        "output_dir": str(folder / "out"),
        "max_length": None,
        "ppx": {
            "choose": {"use": "budget", "max_examples": 10, "by": "response_length"},
            "cache_dir": str(folder / "scores"),
        },
    }
    path = folder / "mine.trl.yaml"
    path.write_text(yaml.safe_dump(settings))
    return path


def measure(recipe: Path, *arguments: object) -> Result:
    given = ["measure", str(recipe), *map(str, arguments)]
    return CliRunner().invoke(main, given, catch_exceptions=False)


def test_measures_side_by_side(recipe: Path, tmp_path: Path) -> None:
    out = tmp_path / "scores.parquet"
    steps = "{use: steps, pattern: gsm8k}"
    column = "{use: column, column: mine}"
    asked = ["response_length", "nll", steps, column]
    done = measure(recipe, *[part for by in asked for part in ("--by", by)], "--out", out)
    assert done.exit_code == 0, done.output
    found = pq.read_table(out).to_pydict()
    labels = ["response_length", "nll", "steps_gsm8k", "column_mine"]
    assert list(found) == ["ppx_row", "ppx_targets", *labels]
    assert found["ppx_row"] == list(range(ROWS))
    assert found["steps_gsm8k"] == [row % 7 + 1 for row in range(ROWS)]
    assert found["column_mine"] == [(row * 11) % 30 + 0.5 for row in range(ROWS)]
    lengths = [len(tiny_tokenizer()(words(row))["input_ids"]) for row in range(ROWS)]
    assert found["response_length"] == lengths
    assert found["ppx_targets"] == [length + 1 for length in lengths]
    page = (tmp_path / "scores.html").read_text()
    assert page.count("<svg") == 4
    assert not re.search(r"https?://|<script", page.replace("http://www.w3.org", ""))
    for label in labels:
        assert label in page
    # More steps are longer responses: the ranks all but agree.
    assert re.search(r"response_length\s+steps_gsm8k\s+\+0\.9", done.output)


def test_the_file_is_read_by_select(recipe: Path, tmp_path: Path) -> None:
    out, chosen = tmp_path / "scores.parquet", tmp_path / "hard.parquet"
    measure(recipe, "--by", "{use: steps, pattern: gsm8k}", "--out", out)
    given = [out, chosen, "--by", "steps_gsm8k", "--count", "4", "--hardest"]
    done = CliRunner().invoke(main, ["select", *map(str, given)])
    assert done.exit_code == 0, done.output
    assert pq.read_table(chosen).column("ppx_row").to_pylist() == [6, 13, 20, 27]


def test_the_recipes_own_measure_as_json(recipe: Path) -> None:
    done = measure(recipe, "--json")
    told = json.loads(done.stdout[done.stdout.index("{") :])
    (one,) = told["measures"]
    assert (one["measure"], one["unit"], one["rows"]) == ("response_length", "target tokens", ROWS)
    assert one["not_measured"] == 0
    assert told["correlations"] == []


def test_a_pass_rate_comes_from_its_builder(recipe: Path, tmp_path: Path) -> None:
    settings = yaml.safe_load(recipe.read_text())
    build = {"use": "pass_rate", "judge": "exact", "samples": 2, "max_tokens": 4}
    settings["ppx"]["build"] = build
    settings["ppx"]["choose"]["by"] = "pass_rate"
    path = tmp_path / "built.trl.yaml"
    path.write_text(yaml.safe_dump(settings))
    out = tmp_path / "rates.parquet"
    done = measure(path, "--out", out)
    assert done.exit_code == 0, done.output
    # A model of random weights never answers right.
    assert pq.read_table(out).column("pass_rate").to_pylist() == [1.0] * ROWS
    given = ["prepare", str(path), "--out", str(tmp_path / "prepared")]
    done = CliRunner().invoke(main, given)
    assert done.exit_code == 0, done.output
    settings["ppx"]["choose"] = {"use": "budget", "band": "easy", "by": "pass_rate"}
    path.write_text(yaml.safe_dump(settings))
    done = CliRunner().invoke(main, given)
    assert "every one of the 30 rows has the difficulty 1" in " ".join(done.output.split())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--by", "nlll"], "Did you mean 'nll'"),
        (["--by", "nll", "--by", "nll"], "nll is asked for twice"),
        (["--by", "[1]"], "give a name, or a mapping"),
        (["--by", "{use: steps, pattern: '('}"], "nor a regular expression"),
        (["--by", "pass_rate"], "build: {use: pass_rate, judge: ...}"),
        (["--by", "{use: column, column: nope}"], "reads the column 'nope'"),
        (["--out", "scores.csv"], "let it end in .parquet"),
    ],
)
def test_mistakes_are_named(recipe: Path, arguments: list[str], message: str) -> None:
    done = measure(recipe, *arguments)
    assert done.exit_code != 0
    assert message in " ".join(done.output.split())


def numbers(label: str, values: Any) -> Measure:
    return Measure(label=label, unit="", score_N=np.asarray(values, dtype=float))


def test_correlations_by_hand() -> None:
    x = numbers("x", [1, 2, 3, 4, np.nan])
    cubes = numbers("y", [1, 8, 27, 64, 5])
    back = numbers("z", [4, 3, np.nan, 1, 0])
    flat = numbers("c", [2, 2, 2, 2, 2])
    up, down, none, *_ = pairs([x, cubes, back, flat])
    assert (up.first, up.second, up.rows, up.spearman) == ("x", "y", 4, pytest.approx(1.0))
    # By the definition: covariance 26 (sums 104), deviations sqrt(5) and sqrt(2390).
    assert up.pearson == pytest.approx(104 / np.sqrt(5 * 2390))
    assert (down.rows, down.spearman, down.pearson) == (3, pytest.approx(-1), pytest.approx(-1))
    assert (none.spearman, none.pearson) == (None, None)


def test_an_axis_ends_before_a_few_rows_far_out() -> None:
    score_N = np.concatenate([np.linspace(0, 1, 1000), [500.0]])
    low, high = axis_of(score_N)
    assert 0 <= low < 0.01
    assert 0.99 < high < 1.1
    assert axis_of(np.linspace(0, 1, 50)) == (0.0, 1.0)


def test_a_narrow_terminal_shows_names_and_numbers_whole(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    spread_N = np.linspace(1e-7, 8e6, 50)
    table = Table(
        row_N=np.arange(50),
        targets_N=np.arange(50),
        measures=[
            Measure(label="response_length", unit="target tokens", score_N=spread_N),
            Measure(label="same", unit="", score_N=np.full(50, 0.1)),
            Measure(label="lost", unit="", score_N=np.full(50, np.nan)),
        ],
    )
    show(table)
    told = capsys.readouterr().out
    assert "\n response_length " in told
    assert all(number(value) in told for value in (1e-7, 4e6, 8e6))
    assert "100 %" in told
    assert "…" not in told


@pytest.mark.filterwarnings("error")
def test_a_constant_measure_has_a_histogram_of_one_bar() -> None:
    same = Measure(label="same", unit="", score_N=np.full(50, 0.1))
    table = Table(row_N=np.arange(50), targets_N=np.arange(50), measures=[same])
    assert ">easy<" not in draw(same)
    assert ">easy<" in draw(dataclasses.replace(same, score_N=np.arange(50.0)))
    assert render(table, title="x").count("<svg") == 1
    found: Any = choice_numbers.histogram(same.score_N, np.arange(50) < 20)
    assert found["edges"][0] < 0.1 < found["edges"][-1]
    assert (found["all"], found["chosen"]) == ([50], [20])
