"""The build stage: what is made of whose rows, where it is kept, and what is told of it."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from datasets import Dataset, load_dataset

from ppx_ext import building, hookimpl, plan
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
from ppx_ext.rows import Fields
from tests.core import builds, fakes
from tests.core.test_rows import canonical


def lines(built: building.BuiltRows) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = pq.read_table(built.path).to_pylist()
    return found


def target(line: dict[str, Any]) -> str:
    return str(line["messages"][-1]["content"])


def test_the_rule_by_hand(tmp_path: Path) -> None:
    made = builds.build(tmp_path)
    found = lines(made)
    # Of the numbers modulo 3, 0 is answered right at once, 1 with the gold shown, 2 never; and the
    # engine fails at 5 and 11.
    sources = ["own", "paraphrase", "gold"] * 4
    assert [line["ppx_source"] for line in found] == sources
    assert [line["ppx_row"] for line in found] == list(range(12))
    assert [line["ppx_attempts"] for line in found] == [1, 2, 2] * 4
    for line, source in zip(found, sources, strict=True):
        first = f"gold {line['ppx_row']}"
        if source != "gold":
            first = f"right {line['ppx_row']} seed {line['ppx_seed']}"
        assert target(line) == first
        assert (line["ppx_judge"], line["ppx_verdict"]) == (
            (None, None) if source == "gold" else ("words 1", "correct")
        )
    assert found[1]["ppx_reason"] == (
        "own answer not taken (wrong: it begins with 'wrong'); it begins with 'right'"
    )
    assert "no response: the engine is tired" in found[5]["ppx_reason"]
    numbers = made.record.numbers
    assert numbers["composition"] == {"own": 4, "paraphrase": 4, "gold": 4}
    assert numbers["shares"] == {"own": 1 / 3, "paraphrase": 1 / 3, "gold": 1 / 3}
    assert numbers["published"]["GSM8K"] == {"own": 0.495, "paraphrase": 0.421, "gold": 0.084}
    assert numbers["failures"] == {"the engine is tired": 4}
    assert numbers["verdicts"] == {"words 1": {"correct": 8, "wrong": 8}}
    assert (numbers["requests"], numbers["attempts"], numbers["rows"]) == (20, 20, 12)
    own = [len(target(line)) for line in found if line["ppx_source"] == "own"]
    assert numbers["mean_characters"]["own"] == {"response": sum(own) / 4, "gold": 6.0}


def test_the_users_columns_stay_as_they_are_and_the_hub_reads_the_file(tmp_path: Path) -> None:
    made = builds.build(tmp_path)
    kept = [{name: line[name] for name in ("question", "answer", "level")} for line in lines(made)]
    assert kept == builds.rows()
    names = pq.read_schema(made.path).names
    assert names[:4] == ["question", "answer", "level", "messages"]
    assert names[4] == "ppx_row"
    assert set(names[5:]) == {
        f"ppx_{name}"
        for name in ("source", "judge", "verdict", "reason", "attempts", "seed", "perplexity")
    }
    loaded = load_dataset(str(made.folder), split="train", cache_dir=str(tmp_path / "cache"))
    assert loaded.to_list() == lines(made)


def test_a_built_file_is_read_by_what_was_built(tmp_path: Path) -> None:
    made = builds.build(tmp_path)
    found = canonical(made.path)
    assert [row["messages"][-1]["content"] for row in found] == [target(x) for x in lines(made)]
    assert canonical(made.path, fields=Fields(messages="messages")) == found
    with pytest.raises(ValueError, match=r"these rows were built.*but question, answer are named"):
        canonical(made.path, fields=Fields(prompt="question", response="answer"))


def test_without_a_chat_template_it_is_text_that_is_built(tmp_path: Path) -> None:
    tokenizer = plain_tokenizer()
    made = builds.build(tmp_path, tokenizer=tokenizer)
    first, second = lines(made)[:2]
    assert first["prompt"] == "What is number 0 ?"
    assert first["completion"].startswith("right 0")
    assert second["ppx_source"] == "paraphrase"
    assert [row["completion"] for row in canonical(made.path, chat=False)] == [
        line["completion"] for line in lines(made)
    ]


def plain_tokenizer() -> Any:
    from tests.models import tiny_tokenizer

    tokenizer = tiny_tokenizer()
    tokenizer.chat_template = None
    return tokenizer


# ------------------------------------------------------------------------------ kinds of rows


def user(text: Any) -> dict[str, Any]:
    return {"role": "user", "content": text}


def gold(text: Any, **more: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": text, **more}


def test_of_a_chat_the_last_answer_is_the_gold_and_the_rest_stays(tmp_path: Path) -> None:
    system = {"role": "system", "content": "Be kind."}
    rows = [
        {"messages": [user("number 0 ?"), gold("zero"), user("number 3 ?"), gold("gold 3")]},
        {"messages": [system, user("number 1 ?"), gold("gold 1"), user("thanks")]},
    ]
    first, second = lines(builds.build(tmp_path, rows))
    assert first["messages"][:3] == rows[0]["messages"][:3]
    assert target(first).startswith("right 3")
    assert second["messages"][0] == system
    assert second["messages"][2]["content"].startswith("right 1")
    assert second["messages"][3] == user("thanks")
    assert second["ppx_source"] == "paraphrase"


def test_rows_that_cannot_be_put_to_a_model_keep_their_gold_and_are_named(tmp_path: Path) -> None:
    call = {"type": "function", "function": {"name": "add", "arguments": "{}"}}
    image = [{"type": "image", "text": None}, {"type": "text", "text": "what is it?"}]
    rows: list[dict[str, Any]] = [
        {"messages": [user("number 0 ?"), gold("gold 0")]},
        {"messages": [user("number 1 ?"), gold("", tool_calls=[call])]},
        {"messages": [user("number 2 ?"), gold("gold 2")], "tools": [call]},
        {"messages": [user("  "), gold("gold 3")]},
    ]
    made = builds.build(tmp_path, rows)
    sources = [line["ppx_source"] for line in lines(made)]
    assert sources == ["own", "gold", "gold", "gold"]
    assert made.record.numbers["not_asked"] == {
        "`tools` go into its prompt, which a generator is not given": {"rows": 1, "first": [2]},
        "its gold calls tools": {"rows": 1, "first": [1]},
        "there is no prompt": {"rows": 1, "first": [3]},
    }
    assert lines(made)[1]["ppx_reason"] == "not asked: its gold calls tools"
    assert lines(made)[1]["messages"][1]["tool_calls"][0]["function"]["name"] == "add"
    parts = [{"messages": [user(image), gold("a cat")]}]
    said = [[{"type": "text", "text": text}] for text in ("number 0 ?", "gold 0")]
    text = [{"messages": [user(said[0]), gold(said[1])]}]
    with pytest.raises(ValueError, match="none of the 1 rows can be put to a model: a turn holds"):
        builds.build(tmp_path, parts)
    (found,) = lines(builds.build(tmp_path, text))
    assert found["messages"][0]["content"] == said[0]
    assert found["messages"][1]["content"][0]["text"].startswith("right 0")


def test_text_without_a_prompt_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="none of the 2 rows can be put to a model: there is no"):
        builds.build(
            tmp_path, [{"text": "once upon"}, {"text": "a time"}], tokenizer=plain_tokenizer()
        )


def test_tokenised_rows_and_built_rows_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"row 0 is tokenised already.*needs prompts and golds"):
        builds.build(tmp_path, fakes.dataset(3))
    built = Dataset.from_parquet(str(builds.build(tmp_path).path))
    with pytest.raises(ValueError, match=r"row 0 was built already.*take `build:` out"):
        builds.build(tmp_path, built)


def test_unreadable_rows_are_counted_and_too_many_are_an_error(tmp_path: Path) -> None:
    rows = builds.rows()
    rows[2]["answer"] = ""
    with pytest.raises(ValueError, match=r"1 of 12 rows cannot be trained on.*max_skipped_share"):
        builds.build(tmp_path, rows, max_skipped_share=0.01)
    made = builds.build(tmp_path, rows)
    assert [line["ppx_row"] for line in lines(made)] == [0, 1, *range(3, 12)]
    assert made.record.numbers["read"]["skipped_by_reason"]["empty response"]["rows"] == 1


def test_a_column_of_two_kinds_is_named(tmp_path: Path) -> None:
    rows = [{**row, "level": "high" if at else 1} for at, row in enumerate(builds.rows())]
    with pytest.raises(ValueError, match="the column 'level' holds values of different kinds"):
        builds.build(tmp_path, rows)
    with pytest.raises(ValueError, match="row 0: a value of type object cannot be kept"):
        builds.build(tmp_path, [{**rows[0], "level": object()}])


def test_only_so_many_rows(tmp_path: Path) -> None:
    assert [line["ppx_row"] for line in lines(builds.build(tmp_path, max_rows=5))] == [
        0,
        1,
        2,
        3,
        4,
    ]


# ----------------------------------------------------------------------- where it is kept


def changed_template() -> Any:
    from tests.models import tiny_tokenizer

    tokenizer = tiny_tokenizer()
    tokenizer.chat_template = f"{tokenizer.chat_template} "
    return tokenizer


OTHERS: dict[str, dict[str, Any]] = {
    "a builder's setting": {"max_new_tokens": 99},
    "a prompt's words": {"prompts": "mbpp"},
    "another builder": {"use": "rephrase"},
    "a judge's setting": {"judge": {"use": "words", "right": "righ"}},
    "the engine": {"generator": {"use": "script", "style": "grand"}},
    "a judge's engine": {"judge": {"use": "words", "generator": "script"}},
    "the seed": {"seed": 7},
    "the model": {"base": fakes.base("other weights")},
    "the template": {"tokenizer": None},
    "the rows": {"source": builds.rows(11)},
    "a column": {"source": [{**row, "more": 1} for row in builds.rows()]},
    "skipped rows": {"source": [*builds.rows(), {"question": "x"}], "max_skipped_share": 0.5},
}


@pytest.mark.parametrize("what", OTHERS)
def test_whatever_is_changed_is_another_folder(tmp_path: Path, what: str) -> None:
    given = dict(OTHERS[what])
    if "tokenizer" in given:
        given["tokenizer"] = changed_template()
    before = builds.build(tmp_path)
    after = builds.build(tmp_path, given.pop("source", None), **given)
    assert after.fingerprint != before.fingerprint
    assert after.folder != before.folder
    assert after.path.exists()
    assert before.path.exists()


def test_the_judges_version_is_part_of_it(tmp_path: Path) -> None:
    newer = dataclasses.replace(builds.WORDS, name="newer", version=lambda: "2")
    older = dataclasses.replace(newer, version=lambda: "1")
    made = [
        builds.build(tmp_path, catalog=builds.installed(judge), judge="newer")
        for judge in (newer, older)
    ]
    assert made[0].folder != made[1].folder
    assert lines(made[0])[0]["ppx_judge"] == "newer 2"


def test_what_cannot_change_an_answer_is_the_same_folder(tmp_path: Path) -> None:
    log = tmp_path / "log"
    before = builds.build(tmp_path / "out")
    again = builds.build(
        tmp_path / "out",
        generator={"use": "script", "address": "elsewhere", "log": str(log)},
        shard_rows=5,
    )
    assert again == before
    assert not log.exists()


def test_answers_are_shared_by_builds_that_ask_the_same(tmp_path: Path) -> None:
    log = tmp_path / "log"
    generator = {"use": "script", "log": str(log)}
    builds.build(tmp_path / "out", generator=generator)
    asked = len(log.read_text().splitlines())
    stricter = {"use": "words", "right": "right 0"}
    builds.build(tmp_path / "out", generator=generator, judge=stricter)
    # Only the paraphrases of the three rows that are now judged wrong; and what failed, again.
    assert len(log.read_text().splitlines()) == asked + 3 + 4


def test_of_a_model_on_a_server_nothing_is_known_but_its_name(tmp_path: Path) -> None:
    def unknown() -> str:
        raise AssertionError("the weights are not here")

    found = builds.installed(engine=builds.script(remote=True))
    base = dataclasses.replace(fakes.base(), fingerprint=unknown)
    made = builds.build(tmp_path, catalog=found, base=base)
    inputs = json.loads((made.folder / "build.json").read_text())["inputs"]
    assert inputs["model"] == {"name": "fake-base", "revision": None}
    with pytest.raises(AssertionError, match="the weights are not here"):
        builds.build(tmp_path, catalog=found, base=base, use="self_output", samples=2)
    newer = dataclasses.replace(base, revision="v2")
    assert builds.build(tmp_path, catalog=found, base=newer).folder != made.folder


def test_a_built_file_as_the_source_is_found_as_it_is(tmp_path: Path) -> None:
    made = builds.build(tmp_path / "one")
    assert builds.build(tmp_path / "two", made.path) == made
    assert builds.build(tmp_path / "two", str(made.path)).record == made.record
    assert not (tmp_path / "two").exists()
    with pytest.raises(ValueError, match=r"was built otherwise:\n  build.top_p: 1.0 .* 0.5 now"):
        builds.build(tmp_path / "two", made.path, top_p=0.5)


def test_a_damaged_file_is_built_again_from_the_answers(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    log = tmp_path / "log"
    generator = {"use": "script", "log": str(log)}
    made = builds.build(tmp_path / "out", generator=generator)
    whole, asked = made.path.read_bytes(), len(log.read_text().splitlines())
    made.path.write_bytes(whole[:-9])
    with caplog.at_level(logging.WARNING):
        assert builds.build(tmp_path / "out", generator=generator) == made
    assert "is not what was written there: it is built again" in caplog.text
    assert made.path.read_bytes() == whole
    assert len(log.read_text().splitlines()) == asked + 4  # what failed before


# ------------------------------------------------------------------------ engines and judges


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
