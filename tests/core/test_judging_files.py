"""A file of responses, judged: columns, and kept work."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from ppx_ext import Judgement, Row, Tools, Verdict
from ppx_ext.judging import Columns, judge_file
from ppx_ext.stages import JudgeStage
from tests.core.judged import Settings, equal, stage


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def write(path: Path, rows: Sequence[Mapping[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


ROWS = [
    {
        "id": n,
        "response": f"r{n}",
        "gold": f"r{n if n % 3 else n + 1}",
        "more": {"deep": ["é"] * (n % 3)},
    }
    for n in range(200)
]


def test_every_column_is_kept_and_three_are_added(tmp_path: Path) -> None:
    source = write(tmp_path / "in.jsonl", ROWS)
    found = judge_file(source, tmp_path / "out.jsonl", [stage(equal)])
    made = lines(tmp_path / "out.jsonl")
    assert [{k: row[k] for k in ROWS[0]} for row in made] == ROWS
    assert [row["verdict"] for row in made] == ["correct" if n % 3 else "wrong" for n in range(200)]
    assert {row["judge"] for row in made} == {"mine 7"}
    assert {row["reason"] for row in made} == {"compared"}
    assert (found.rows, found.of(Judgement.WRONG)) == (200, 67)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.jsonl", "out.jsonl"]


def test_parquet_in_and_out_and_rows_in_memory(tmp_path: Path) -> None:
    judge_file(ROWS, tmp_path / "out.parquet", [stage(equal)])
    made = pq.read_table(tmp_path / "out.parquet").to_pylist()
    assert [{k: row[k] for k in ROWS[0]} for row in made] == ROWS
    judge_file(tmp_path / "out.parquet", tmp_path / "again.jsonl", [stage(equal)])
    assert lines(tmp_path / "again.jsonl") == made


def test_a_column_of_several_kinds_does_not_fit_into_parquet(tmp_path: Path) -> None:
    rows = [{"response": "a", "gold": "a", "odd": odd} for odd in (1, "one")]
    with pytest.raises(ValueError, match=r"'odd'.*\.jsonl"):
        judge_file(rows, tmp_path / "out.parquet", [stage(equal)])
    judge_file(rows, tmp_path / "out.jsonl", [stage(equal)])
    assert [row["odd"] for row in lines(tmp_path / "out.jsonl")] == [1, "one"]


def test_a_column_that_only_later_rows_have_is_kept(tmp_path: Path) -> None:
    rows = [{"response": "a", "gold": "a"}, {"response": "a", "gold": "b", "late": 1}]
    judge_file(rows, tmp_path / "out.parquet", [stage(equal)])
    assert pq.read_table(tmp_path / "out.parquet").column("late").to_pylist() == [None, 1]


def test_columns_are_found_or_named(tmp_path: Path) -> None:
    seen: list[Row] = []

    def noting(settings: Settings, row: Row, response: str) -> Verdict:
        seen.append(row)
        return equal(settings, row, response)

    turns = [{"role": "user", "content": "q?"}, {"role": "assistant", "content": "a"}]
    out = tmp_path / "out.jsonl"
    judge_file([{"response": "a", "answer": "a", "messages": turns}], out, [stage(noting)])
    assert (seen[-1]["gold"], seen[-1]["prompt"]) == ("a", "q?")
    names = Columns(response="said", gold="wanted", prompt="task")
    rows = [{"said": "a", "wanted": "a", "gold": "b", "task": "t", "answer": "c"}]
    judge_file(rows, out, [stage(noting)], columns=names)
    assert (seen[-1]["gold"], seen[-1]["prompt"], seen[-1]["answer"]) == ("a", "t", "c")
    assert lines(out)[0]["gold"] == "b"


@pytest.mark.parametrize(
    ("rows", "columns", "problem"),
    [
        ([{"answer": "a"}], Columns(), "'response'"),
        ([{"response": "a"}], Columns(), "--gold"),
        ([{"response": "a", "answer": "a"}], Columns(gold="wanted"), "'wanted'"),
        ([], Columns(), "no row"),
    ],
)
def test_what_cannot_be_judged_is_refused_before_a_judge_opens(
    tmp_path: Path, rows: list[Row], columns: Columns, problem: str
) -> None:
    with pytest.raises(ValueError, match=problem):
        judge_file(rows, tmp_path / "out.jsonl", [stage(equal)], columns=columns, lend=_never)
    assert list(tmp_path.iterdir()) == []


def _never(judge: JudgeStage) -> Tools:
    raise AssertionError("opened")


def test_unreadable_rows_are_left_out_and_named(tmp_path: Path) -> None:
    source = tmp_path / "in.jsonl"
    source.write_bytes(
        b'{"response": "a", "gold": "a"}\n{"respon\n'
        b'{"response": null, "gold": "a"}\n{"response": "\\ud800", "gold": "\\ud800"}\n'
    )
    found = judge_file(source, tmp_path / "out.jsonl", [stage(equal)])
    assert found.unreadable[0].startswith("in.jsonl:2")
    made = lines(tmp_path / "out.jsonl")
    assert [row["verdict"] for row in made] == ["correct", "unknown", "correct"]
    assert "no text" in made[1]["reason"]
    assert made[2]["response"] == "\ud800"


@pytest.mark.parametrize("name", ["out.csv", "out", "gone/out.jsonl", "in.jsonl"])
def test_an_output_that_cannot_be_is_refused(tmp_path: Path, name: str) -> None:
    source = write(tmp_path / "in.jsonl", ROWS)
    with pytest.raises(ValueError, match=r"out|in\.jsonl"):
        judge_file(source, tmp_path / name, [stage(equal)], lend=_never)
    assert lines(source) == ROWS


class _Killed(BaseException):
    pass


def test_a_killed_job_asks_for_nothing_twice(tmp_path: Path) -> None:
    asked: list[str] = []
    die_at = 150

    def dying(settings: Settings, row: Row, response: str) -> Verdict:
        if len(asked) == die_at:
            raise _Killed
        asked.append(response)
        return equal(settings, row, response)

    source, out = write(tmp_path / "in.jsonl", ROWS), tmp_path / "out.jsonl"
    out.write_text("old")
    with pytest.raises(_Killed):
        judge_file(source, out, [stage(dying)])
    assert out.read_text() == "old"
    (folder,) = (path for path in tmp_path.iterdir() if path.is_dir())
    kept = len((folder / "verdicts.jsonl").read_bytes().splitlines())
    assert 64 <= kept < die_at
    with (folder / "verdicts.jsonl").open("ab") as file:
        file.write(b'{"key": "torn')
    die_at = -1
    found = judge_file(source, out, [stage(dying)])
    assert found.kept == kept
    assert len(asked) == 150 + 200 - kept
    assert [row["verdict"] for row in lines(out)] == [
        "correct" if n % 3 else "wrong" for n in range(200)
    ]


def test_other_settings_and_changed_rows_are_judged_anew(tmp_path: Path) -> None:
    asked: list[str] = []

    def dying(settings: Settings, row: Row, response: str) -> Verdict:
        asked.append(response)
        if len(asked) == 199:
            raise _Killed
        return equal(settings, row, response)

    source, out = write(tmp_path / "in.jsonl", ROWS), tmp_path / "out.jsonl"
    with pytest.raises(_Killed):
        judge_file(source, out, [stage(dying)])
    changed = [{**ROWS[0], "gold": "r0"}, *ROWS[1:]]
    write(source, changed)
    judge_file(source, out, [stage(equal)])
    assert lines(out)[0]["verdict"] == "correct"
    judge_file(source, out, [stage(equal, "another")])
    assert {row["judge"] for row in lines(out)} == {"another 7"}
