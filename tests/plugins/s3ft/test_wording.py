"""Prompts: the papers' words, and a recipe's own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pydantic
import pytest
import yaml

from ppx_ext import GoldRow
from ppx_s3ft.settings import S3ftSettings
from ppx_s3ft.wording import SHIPPED, Prompts, Template, read

CHAT = (
    {"role": "user", "content": "first?"},
    {"role": "assistant", "content": "first."},
    {"role": "user", "content": "second?"},
)


def shipped(name: str) -> Prompts:
    return Prompts.model_validate(read(name))


def gold_row(prompt: Any = CHAT, **columns: Any) -> GoldRow:
    return GoldRow(row=7, prompt=prompt, gold="the gold", columns=columns)


def test_what_is_shipped() -> None:
    assert SHIPPED == ("gsm8k", "math", "mbpp", "plain", "qa", "sdft")
    assert all(shipped(name).wording for name in SHIPPED)


def test_the_stm_authors_prompt_is_word_for_word_theirs() -> None:
    prompt = ({"role": "user", "content": "Add 1 and 1."},)
    (turn,) = shipped("plain").paraphrase.ask(gold_row(prompt))
    assert turn == {
        "role": "user",
        "content": "Below are an instruction that describes a task along with a reference answer. "
        "Using the reference answer as a guide, write your own response.\n### Instruction:\n"
        "Add 1 and 1.\n### Reference Answer:\nthe gold\n### Response:",
    }


def test_mathematics_is_asked_for_as_the_stm_authors_test_it() -> None:
    prompt = ({"role": "user", "content": "Given a mathematics problem ..."},)
    math = shipped("math")
    (turn,) = math.answer.ask(gold_row(prompt, problem="What is $1 + 1$?"))
    assert turn["content"] == (  # type: ignore[index]
        "Solve the following math problem step by step. The last line of your response should be "
        "of the form Answer: $ANSWER (without quotes) where $ANSWER is the answer to the problem."
        "\n\nWhat is $1 + 1$?\n\n"
        'Remember to put your answer on its own line after "Answer:", and you do not need to use '
        "a \\boxed command."
    )
    assert math.paraphrase == shipped("plain").paraphrase


def test_sdfts_templates_are_word_for_word_theirs() -> None:
    prompt = ({"role": "user", "content": "Add 1 and 1."},)
    system, user = shipped("sdft").paraphrase.ask(gold_row(prompt))
    assert user["content"] == (  # type: ignore[index]
        "### Instruction:\nAdd 1 and 1.\n\n### Reference Answer:\nthe gold\n\n### Response:\n"
    )
    gsm8k = shipped("gsm8k")
    system, user = gsm8k.paraphrase.ask(gold_row(prompt))
    assert system["content"] == (  # type: ignore[index]
        "You are an expert in math. Below are a math question and its reference answer. Refer to "
        "the reference answer and write a response that appropriately answers the question."
    )
    assert user["content"] == "Add 1 and 1.\n\nthe gold"  # type: ignore[index]
    assert gsm8k.paraphrase.prefix == "Great! Let's think step by step. "
    system, user = gsm8k.answer.ask(gold_row(prompt))
    assert str(system["content"]).endswith(  # type: ignore[index]
        "Your final answer should be an integer at the end of your response, formatted as: The "
        "answer is {answer}."
    )
    assert user["content"] == "Add 1 and 1."  # type: ignore[index]


@pytest.mark.parametrize("name", ["plain", "mbpp", "qa", "sdft"])
@pytest.mark.parametrize("prompt", [CHAT, "go on from here"])
def test_the_question_is_asked_as_the_data_have_it(name: str, prompt: Any) -> None:
    assert shipped(name).answer.ask(gold_row(prompt)) == prompt


def test_only_the_last_question_changes_and_a_system_turn_is_joined() -> None:
    template = Template(system="Be brief.", user="{question} ({gold})")
    first, *rest, last = template.ask(gold_row())
    assert first == {"role": "system", "content": "Be brief."}
    assert (tuple(rest), last) == (CHAT[:2], {"role": "user", "content": "second? (the gold)"})
    before = ({"role": "system", "content": "Be kind."}, *CHAT)
    assert template.ask(gold_row(before))[0] == {
        "role": "system",
        "content": "Be kind.\n\nBe brief.",
    }
    assert template.ask(gold_row("what?")) == "Be brief.\n\nwhat? (the gold)"


def test_columns_and_braces() -> None:
    template = Template(user="{question} {tests} {{x}}")
    (turn,) = template.ask(gold_row(CHAT[2:], tests=["assert 1", "assert 2"]))
    assert turn["content"] == "second? assert 1\nassert 2 {x}"  # type: ignore[index]
    with pytest.raises(ValueError, match=r"row 7: .*\{tests\} names nothing there.*gold, question"):
        template.ask(gold_row())
    (turn,) = Template(user="{gold}").ask(gold_row(CHAT[2:], gold="not this"))
    assert turn["content"] == "the gold"  # type: ignore[index]


@pytest.mark.parametrize("bad", ["{}", "{0}", "{gold.real}", "{gold[0]}", "{gold!r}", "{gold:9}"])
def test_placeholders_are_plain_names(bad: str) -> None:
    with pytest.raises(pydantic.ValidationError, match="is no placeholder"):
        Template(user=bad)


def test_a_recipes_own_file_is_part_of_the_settings(tmp_path: Path) -> None:
    own = {"wording": "mine", "paraphrase": {"user": "Say again: {gold}"}}
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump(own))
    settings = S3ftSettings(prompts=str(path))  # type: ignore[arg-type]
    assert settings.model_dump(mode="json")["prompts"]["paraphrase"]["user"] == "Say again: {gold}"
    assert S3ftSettings.model_validate(settings.model_dump(mode="json")) == settings
    path.write_text(yaml.safe_dump({**own, "paraphrase": {"user": "Again: {gold}"}}))
    assert S3ftSettings(prompts=str(path)) != settings  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "word"),
    [
        (None, "no such prompts: give one of gsm8k, math, mbpp"),
        ("- a list", "must hold `wording`"),
        ("{", "not readable as YAML"),
        ("wording: x", "Field required"),
        ("{wording: x, paraphrase: {user: x, usr: y}}", "Extra inputs"),
    ],
)
def test_a_file_that_is_wrong_says_how(tmp_path: Path, text: str | None, word: str) -> None:
    path = tmp_path / "mine.yaml"
    if text is not None:
        path.write_text(text)
    with pytest.raises(pydantic.ValidationError, match=word):
        S3ftSettings(prompts=str(path))  # type: ignore[arg-type]
