"""What is lent to a builder, what it may not do with it, and what is told of it."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ppx_ext import hookimpl, plan
from ppx_ext.answering import (
    Builder,
    Built,
    Decoding,
    Dropped,
    Judge,
    Judgement,
    Request,
    Verdict,
    one_by_one,
)
from ppx_ext.contracts import StageRecord
from tests.core import builds, fakes
from tests.core.builds import lines


def test_judges_are_opened_before_anything_is_asked(tmp_path: Path) -> None:
    @contextlib.contextmanager
    def no_sandbox(settings: Any, tools: Any) -> Iterator[Any]:
        raise ValueError("no sandbox here; install bubblewrap")
        yield

    log = tmp_path / "log"
    cautious = dataclasses.replace(builds.WORDS, name="cautious", open=no_sandbox)
    with pytest.raises(ValueError, match="install bubblewrap"):
        builds.build(
            tmp_path / "out",
            catalog=builds.installed(cautious),
            judge="cautious",
            generator={"use": "script", "log": str(log)},
        )
    assert not log.exists()


def test_a_column_that_a_judge_reads_is_looked_for_before_anything_is_asked(tmp_path: Path) -> None:
    log = tmp_path / "log"
    reading = dataclasses.replace(builds.WORDS, name="reading", columns=lambda settings: ["tests"])
    given: dict[str, Any] = {
        "catalog": builds.installed(reading),
        "judge": "reading",
        "generator": {"use": "script", "log": str(log)},
    }
    with pytest.raises(ValueError, match="the judge reads the column 'tests', which no row has"):
        builds.build(tmp_path / "out", **given)
    assert not log.exists()
    builds.build(tmp_path / "out", [{**row, "tests": "1"} for row in builds.rows()], **given)


def test_an_engine_that_is_down_says_so(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="the engine is down; start it"):
        builds.build(tmp_path, generator={"use": "script", "address": "x", "down": True})
    assert not list(tmp_path.rglob("train.parquet"))


def asking_judge() -> Judge:
    @contextlib.contextmanager
    def opened(settings: Any, tools: Any) -> Iterator[Any]:
        def judge(answers: Any) -> Any:
            question = Request(prompt="is number 3 right?", decoding=Decoding(), seed=123)
            (said,) = tools.generate([question])
            assert said.text == "right 3 seed 123"
            return words(answers)

        with builds.WORDS.open(settings, tools) as words:
            yield judge

    return dataclasses.replace(builds.WORDS, name="asking", open=opened)


def test_a_judge_is_lent_the_builders_engine_or_its_own(tmp_path: Path) -> None:
    found = builds.installed(asking_judge())
    logs = [tmp_path / "builder", tmp_path / "judge"]
    engine, own = ({"use": "script", "log": str(log)} for log in logs)
    builds.build(tmp_path, catalog=found, judge="asking", generator=engine)
    assert [line.split()[1] for line in logs[0].read_text().splitlines()].count("123") == 1
    judge = {"use": "asking", "generator": {**own, "style": "strict"}}
    made = builds.build(tmp_path, catalog=found, judge=judge, generator=engine)
    assert [line.split()[1] for line in logs[1].read_text().splitlines()] == ["123"]
    assert made.record.numbers["requests"] == 20  # those of the judge are not the builder's
    assert made.record.settings["judge"][0]["generator"] == {"use": "script", "style": "strict"}


# ---------------------------------------------------------------------------- other builders


def test_dropped_rows_are_left_out_and_counted(tmp_path: Path) -> None:
    made = builds.build(tmp_path, use="self_output", samples=2, pick="first")
    assert [line["ppx_row"] for line in lines(made)] == [0, 3, 6, 9]
    assert made.record.numbers["composition"] == {"own": 4, "paraphrase": 0, "gold": 0}
    assert made.record.numbers["dropped"]["rows"] == 8
    assert made.record.numbers["dropped"]["first"][0].startswith("row 1: none of 2 samples taken")
    nothing = [row for at, row in enumerate(builds.rows()) if at % 6 == 2]
    with pytest.raises(ValueError, match=r"the builder dropped all 2 rows \(the first: none of 2"):
        builds.build(tmp_path, nothing, use="self_output", samples=2, pick="first")


def test_without_a_judge_rewrites_are_taken_as_they_are(tmp_path: Path) -> None:
    made = builds.build(tmp_path, use="rephrase", judge=None)
    numbers = made.record.numbers
    assert numbers["composition"] == {"own": 0, "paraphrase": 10, "gold": 2}
    assert numbers["verdicts"] == {}
    assert {line["ppx_verdict"] for line in lines(made)} == {None}


class Wrong:
    """Builders that do not keep their contract."""

    @staticmethod
    def short(settings: Any, rows: Any, tools: Any) -> list[Built | Dropped]:
        return [Built(row=row.row, response="x", source="own") for row in rows][1:]

    @staticmethod
    def unknown(settings: Any, rows: Any, tools: Any) -> list[Built | Dropped]:
        return [Built(row=row.row, response="x", source="teacher") for row in rows]

    @staticmethod
    def silent(settings: Any, rows: Any, tools: Any) -> list[Built | Dropped]:
        return [Built(row=row.row, response=" ", source="own") for row in rows]


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (Wrong.short, r"gave 2 results that are not theirs.*This is an error of the builder"),
        (Wrong.unknown, "names the source 'teacher' for row 0; there are own, paraphrase, gold"),
        (Wrong.silent, "gives an empty response for row 0"),
    ],
)
def test_a_builder_that_breaks_its_contract_is_named(
    tmp_path: Path, function: Callable[..., Any], message: str
) -> None:
    wrong = Builder(name="bad", paper="", settings=builds.WordSettings, build=function)
    found = builds.installed(ppx_register_builders=[wrong])
    with pytest.raises(ValueError, match=message):
        builds.build(tmp_path, catalog=found, use="bad")


def test_observers_hear_of_it_every_time(tmp_path: Path) -> None:
    heard: list[StageRecord] = []

    @hookimpl
    def ppx_stage_finished(record: StageRecord) -> None:
        heard.append(record)

    found = builds.installed(ppx_stage_finished=ppx_stage_finished)
    first = builds.build(tmp_path, catalog=found)
    builds.build(tmp_path, catalog=found)
    assert heard == [first.record, first.record]
    assert (heard[0].stage, heard[0].component) == ("build", "s3ft")
    assert heard[0].fingerprint == first.fingerprint
    assert heard[0].settings["prompts"]["paraphrase"]["user"].startswith("Below are")


def test_a_plan_without_a_builder_is_refused(tmp_path: Path) -> None:
    found = builds.installed()
    with pytest.raises(ValueError, match="the plan has no `build:` stage"):
        builds.build(tmp_path, catalog=found, plan=plan.parse({}, found))


def test_a_log_tells_the_rate_and_the_composition(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, logger="ppx_ext.progress"):
        builds.build(tmp_path)
    told = [record.message for record in caplog.records if record.name == "ppx_ext.progress"]
    assert told[-1].startswith("building s3ft (rows): 12 of 12 (20 answers, ")
    assert told[-1].endswith("/s, own 33% paraphrase 33% gold 33%)")


def test_the_card_tells_what_a_reader_needs(tmp_path: Path) -> None:
    import yaml

    base = dataclasses.replace(fakes.base(), name="someone/model-7b", revision="abc")
    made = builds.build(tmp_path, base=base, command="ppx build my.trl.yaml --rows 12")
    text = (made.folder / "README.md").read_text()
    _, header, body = text.split("---\n", 2)
    assert yaml.safe_load(header) == {
        "configs": [
            {"config_name": "default", "data_files": [{"split": "train", "path": "train.parquet"}]}
        ],
        "size_categories": ["n<1K"],
        "tags": ["ppx-ext", "self-response", "s3ft"],
    }
    for line in (
        "| model | `someone/model-7b` @ `abc` |",
        "| own answer | 4 | 33.3% | 49.5% | 30.2% | 66.0% |",
        "| gold | 4 | 33.3% | 8.4% | 37.4% | 8.1% |",
        "| judges | words (1) |",
        "ppx build my.trl.yaml --rows 12",
        "words 1 said: correct 8, wrong 8.",
        "- 4 of 20 requests were not answered; their rows did without.",
        '"use": "s3ft"',
        "Fill in `license:`",
    ):
        assert line in body


def test_an_engine_that_falls_silent_does_not_leave_golds(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"2 of 5 requests for rows 3 to 5.*2 times: the engine"):
        builds.build(tmp_path, max_skipped_share=0.01)
    made = builds.build(tmp_path, max_skipped_share=0.4)
    assert made.record.numbers["failures"] == {"the engine is tired": 4}


def test_a_request_that_fails_alone_is_counted_and_its_row_keeps_its_gold(tmp_path: Path) -> None:
    made = builds.build(
        tmp_path, builds.rows(9), use="rephrase", max_skipped_share=0.01, shard_rows=9
    )
    assert made.record.numbers["failures"] == {"the engine is tired": 1}


def test_an_engine_that_answers_nothing_stops_the_build_at_any_limit(tmp_path: Path) -> None:
    only = [row for row in builds.rows() if row["question"] == "What is number 5 ?"]
    with pytest.raises(ValueError, match="2 of 2 requests for rows 0 to 0 were not answered"):
        builds.build(tmp_path, only, max_skipped_share=1.0)


def test_a_judge_that_can_tell_nothing_stops_the_build(tmp_path: Path) -> None:
    blind = dataclasses.replace(
        builds.WORDS,
        name="blind",
        open=one_by_one(lambda *given: Verdict(judgement=Judgement.UNKNOWN, reason="too dark")),
    )
    found = builds.installed(blind)
    with pytest.raises(ValueError, match=r"blind 1\) can tell of none of \d+ .*first: too dark"):
        builds.build(tmp_path, catalog=found, judge="blind")
    made = builds.build(tmp_path, catalog=found, judge=["blind", "words"])
    assert made.record.numbers["composition"]["own"] == 4
