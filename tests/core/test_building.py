"""The build stage: what is made of whose rows, where it is kept, and what is told of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from datasets import Dataset, load_dataset

from ppx_ext.rows import Fields
from tests.core import builds, fakes
from tests.core.builds import lines, target
from tests.core.test_rows import canonical


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
    kept_too = ("source", "judge", "verdict", "reason", "attempts", "seed", "perplexity")
    assert set(names[5:]) == {f"ppx_{name}" for name in (*kept_too, "pass_rate")}
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
