"""Targets: those that TRL finds itself, under every kind of chat template."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ppx_ext import tokens
from ppx_ext.contracts import Example
from tests.models import tiny_tokenizer

USER, SYSTEM = (
    {"role": "user", "content": "What is 2+2?"},
    {"role": "system", "content": "Be kind."},
)
ANSWER = {"role": "assistant", "content": "It is 4."}
MULTI = [USER, ANSWER, {"role": "user", "content": "And 3+3?"}, {**ANSWER, "content": "It is 6."}]

GEMMA = (
    "{{ bos_token }}{% if messages[0]['role'] == 'system' %}"
    "{{ raise_exception('System role not supported') }}{% endif %}"
    "{% for message in messages %}"
    "{% set role = 'model' if message['role'] == 'assistant' else message['role'] %}"
    "{{ '<start_of_turn>' + role + '\n' + message['content'] | trim + '<end_of_turn>\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<start_of_turn>model\n' }}{% endif %}"
)
FORGETFUL = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' }}"
    "{% if message['role'] == 'assistant' and loop.last %}"
    "{{ '<think>\n\n</think>\n\n' }}{% endif %}"
    "{{ message['content'] + '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
TOOLS = (
    "{% if tools %}{{ '<|im_start|>system\n' }}{% for tool in tools %}{{ tool['name'] + '\n' }}"
    "{% endfor %}{{ '<|im_end|>\n' }}{% endif %}"
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' }}"
    "{{ message['content'] or '' }}"
    "{% for call in message['tool_calls'] or [] %}{{ '<call>' + call['name'] + '</call>' }}"
    "{% endfor %}{{ '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


def made(template: str | None = None, *, special: Any = (), bos: str | None = None) -> Any:
    tokenizer = tiny_tokenizer()
    if special:
        tokenizer.add_special_tokens({"extra_special_tokens": ["<|im_start|>", *special]})
    if bos:
        tokenizer.bos_token = bos
    if template is not None:
        tokenizer.chat_template = template
    return tokenizer


def one(row: Any, tokenizer: Any, **given: Any) -> Any:
    (found,) = tokens.tokenize([(0, row)], tokenizer, **given)
    return found


def trained(example: Example, tokenizer: Any) -> str:
    return str(tokenizer.decode(example.ids_T[example.target_T]))


def unmarked(template: str) -> str:
    return re.sub(r"\{%-?\s*(end)?generation\s*-?%\}", "", template)


def ours(rows: list[Any], tokenizer: Any, **given: Any) -> list[Example]:
    found = list(tokens.tokenize(enumerate(rows), tokenizer, **given))
    assert all(isinstance(example, Example) for example in found)
    return found  # type: ignore[return-value]


def test_prefixes_of_a_template_without_marks_equal_the_marks() -> None:
    marked = made()
    plain = made(unmarked(marked.chat_template))
    assert "generation %}" not in plain.chat_template
    for chat in (MULTI, [SYSTEM, USER, ANSWER], [*MULTI, USER]):
        for which in ("assistant", "last", "all"):
            first, second = (
                one({"messages": chat}, tokenizer, targets=which) for tokenizer in (marked, plain)
            )
            assert first.ids_T.tolist() == second.ids_T.tolist()
            assert trained(first, marked) == trained(second, plain)
            assert (first.end_T == second.end_T).all()


def test_every_turn_the_last_turn_or_everything() -> None:
    tokenizer = made()
    row = {"messages": MULTI}
    assert trained(one(row, tokenizer), tokenizer) == "It is 4.<|im_end|>It is 6.<|im_end|>"
    assert trained(one(row, tokenizer, targets="last"), tokenizer) == "It is 6.<|im_end|>"
    every = one(row, tokenizer, targets="all")
    assert every.target_T.tolist() == [False] + [True] * (len(every.ids_T) - 1)


texts = st.text(st.characters(codec="utf-8", exclude_characters="<>\0"), min_size=1, max_size=30)


@settings(deadline=None, max_examples=60)
@given(st.lists(st.tuples(texts, texts), min_size=1, max_size=3), st.booleans())
def test_targets_are_the_assistants_words_and_their_ends(pairs: Any, marked: bool) -> None:
    tokenizer = made(None if marked else unmarked(made().chat_template))
    chat = [
        {"role": role, "content": content}
        for question, answer in pairs
        for role, content in (("user", question), ("assistant", answer))
    ]
    example = one({"messages": chat}, tokenizer)
    assert trained(example, tokenizer) == "".join(answer + "<|im_end|>" for _, answer in pairs)
    assert example.end_T.sum() == len(pairs)
    assert not example.target_T[0]


def test_an_end_of_turn_that_is_not_the_end_of_sequence() -> None:
    tokenizer = made(GEMMA, special=["<start_of_turn>", "<end_of_turn>"], bos="<|endoftext|>")
    end = tokenizer.convert_tokens_to_ids("<end_of_turn>")
    assert tokens.end_of_turn_ids(tokenizer) == {end, tokenizer.eos_token_id}
    example = one({"messages": MULTI}, tokenizer)
    assert trained(example, tokenizer) == "It is 4.<end_of_turn>It is 6.<end_of_turn>"
    assert example.ids_T[example.end_T].tolist() == [end, end]
    assert example.ids_T[0] == tokenizer.bos_token_id
    assert (example.ids_T == tokenizer.bos_token_id).sum() == 1


def test_a_chat_that_the_template_refuses_names_the_row() -> None:
    tokenizer = made(GEMMA, special=["<start_of_turn>", "<end_of_turn>"], bos="<|endoftext|>")
    rows = [(7, {"messages": MULTI}), (8, {"messages": [SYSTEM, USER, ANSWER]})]
    with pytest.raises(ValueError, match=r"row 8: .*refuses this chat .*System role not supported"):
        list(tokens.tokenize(rows, tokenizer))


def test_a_template_that_rewrites_earlier_turns_is_skipped_by_name_not_guessed() -> None:
    tokenizer = made(FORGETFUL)
    skip = one({"messages": MULTI}, tokenizer)
    assert isinstance(skip, tokens.Skip)
    assert skip.reason == "template cannot mark the response"
    assert "rewrites earlier turns" in skip.detail
    last = one({"messages": MULTI}, tokenizer, targets="last")
    assert trained(last, tokenizer) == "<think>\n\n</think>\n\nIt is 6.<|im_end|>"
    assert isinstance(one({"messages": [USER, ANSWER]}, tokenizer), Example)


def test_tool_calls_are_trained_on_and_tool_answers_are_not() -> None:
    tokenizer = made(TOOLS, special=["<call>", "</call>"])
    chat = [
        USER,
        {"role": "assistant", "content": None, "tool_calls": [{"name": "add"}]},
        {"role": "tool", "content": "4"},
        ANSWER,
    ]
    example = one({"messages": chat, "tools": [{"name": "add"}]}, tokenizer)
    assert trained(example, tokenizer) == "<call>add</call><|im_end|>It is 4.<|im_end|>"
    assert "system\nadd" in tokenizer.decode(example.ids_T)


def test_a_token_across_the_border_is_trained() -> None:
    tokenizer = made("")
    ids = tokenizer("def add")["input_ids"]
    pieces = tokenizer.convert_ids_to_tokens(ids)
    wide = next(piece for piece in pieces if len(piece) >= 2)
    text = "".join(pieces).replace("Ġ", " ")
    cut = text.index(wide.replace("Ġ", " ")) + 1
    example = one({"prompt": text[:cut], "completion": text[cut:]}, tokenizer)
    at = pieces.index(wide)
    assert example.target_T.tolist() == [k >= max(at, 1) for k in range(len(ids) + 1)]


def test_plain_text_and_chats_may_be_mixed_and_keep_their_order() -> None:
    tokenizer = made()
    rows = [{"messages": [USER, ANSWER]}, {"prompt": "1+1=", "completion": "2"}] * 3
    found = ours(rows, tokenizer)
    assert [example.row for example in found] == list(range(6))
    assert [trained(example, tokenizer) for example in found[:2]] == [
        "It is 4.<|im_end|>",
        "2<|im_end|>",
    ]


def test_truncation_keeps_the_start_and_says_where_nothing_is_left() -> None:
    tokenizer = made()
    whole = one({"messages": MULTI}, tokenizer)
    first = int(np.argmax(whole.target_T))
    cut = one({"messages": MULTI}, tokenizer, max_length=first + 2)
    assert cut.ids_T.tolist() == whole.ids_T[: first + 2].tolist()
    assert cut.target_T.sum() == 2
    skip = one({"messages": MULTI}, tokenizer, max_length=first)
    assert skip.reason == "response truncated away"
    assert f"starts at token {first}" in skip.detail


def test_a_chat_that_begins_with_the_assistant_is_not_guessed() -> None:
    plain = made(unmarked(made().chat_template))
    assert isinstance(one({"messages": [ANSWER, *MULTI]}, plain), tokens.Skip)
    marked = made()
    assert trained(one({"messages": [ANSWER, USER, ANSWER]}, marked), marked) == (
        "It is 4.<|im_end|>It is 4.<|im_end|>"
    )


def test_labels_and_targets_are_two_ways_of_saying_one_thing() -> None:
    ids, labels = [2, 5, 6, 7, 2], [2, -100, 6, 7, 2]
    example = tokens.from_labels(3, ids, labels, frozenset({2}), {"k": 1})
    assert example.target_T.tolist() == [False, False, True, True, True]
    assert example.end_T.tolist() == [False, False, False, False, True]
    assert tokens.labels_of(example).tolist() == [-100, -100, 6, 7, 2]
    keep_T = np.array([True, True, False, True, True])
    assert tokens.labels_of(example, keep_T).tolist() == [-100, -100, -100, 7, 2]
    with pytest.raises(ValueError, match="row 3: 5 input_ids but 4 labels"):
        tokens.from_labels(3, ids, labels[1:], frozenset(), {})


def test_what_cannot_be_tokenised_is_refused_with_the_mend() -> None:
    with pytest.raises(ValueError, match="has no chat template"):
        one({"messages": MULTI}, made(""))
    assert one({"prompt": "a", "completion": ""}, made("")).ids_T.tolist()[-1] == 2

    class Slow:
        is_fast = False

    with pytest.raises(ValueError, match="slow tokenizer"):
        list(tokens.tokenize([], Slow()))  # type: ignore[arg-type]
