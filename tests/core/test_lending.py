"""What is lent to a builder: the perplexity of a response under the base."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import Any

import pytest
import torch

from ppx_ext import effects
from ppx_ext.building import lending
from ppx_ext.contracts import Example, ModelRef, Tools
from ppx_ext.effects import base_from_model
from ppx_ext.plan import Scoring
from tests.core import fakes
from tests.models import tiny_model

PROMPT = ({"role": "user", "content": "How many clips in total?"},)
TEXT = "The answer is 72."


@functools.cache
def model() -> Any:
    return tiny_model("llama")


def lent() -> tuple[Any, list[int]]:
    """The tool, and how many rows each call of the scorer had."""
    scores = effects.lend(base_from_model(model()), scoring=Scoring())
    calls: list[int] = []

    def counted(examples: Sequence[Example], ref: ModelRef, names: Sequence[str]) -> Any:
        calls.append(len(examples))
        return scores.token_scores(examples, ref, names)

    return lending.perplexity(Tools(token_scores=counted), fakes.tokenizer()), calls


def by_hand(before: str, text: str) -> float:
    """exp of the mean of -log p over the tokens of ``text``, which are all that it is made of."""
    tokenizer = fakes.tokenizer()
    given = tokenizer(before, add_special_tokens=False)["input_ids"]
    whole = tokenizer(before + text, add_special_tokens=False)["input_ids"]
    assert whole[: len(given)] == given
    with torch.no_grad():
        log_p = model()(torch.tensor([whole])).logits[0].double().log_softmax(-1)
    first = max(len(given), 1)
    nll = [-log_p[at - 1, whole[at]].item() for at in range(first, len(whole))]
    return math.exp(sum(nll) / len(nll))


def test_given_the_prompt_it_is_that_of_the_response_under_the_chat_template() -> None:
    tool, _ = lent()
    before = f"<|im_start|>user\n{PROMPT[0]['content']}<|im_end|>\n<|im_start|>assistant\n"
    assert tool([(PROMPT, TEXT)], True) == pytest.approx([by_hand(before, TEXT)], rel=1e-4)


def test_alone_it_is_that_of_the_text_without_prompt_template_and_end() -> None:
    tool, _ = lent()
    # This tokenizer has no beginning of sequence, so that the first token is not measured.
    assert tool([(PROMPT, TEXT)], False) == pytest.approx([by_hand("", TEXT)], rel=1e-4)
    assert tool([("go on:\n", TEXT)], True) == pytest.approx([by_hand("go on:\n", TEXT)], rel=1e-4)


def test_equal_texts_are_scored_once_and_order_is_kept() -> None:
    tool, calls = lent()
    other = ({"role": "user", "content": "How many?"},)
    pairs = [(PROMPT, TEXT), (other, TEXT), (PROMPT, "No."), (PROMPT, TEXT)]
    given = tool(pairs, True)
    assert given[0] == given[3]
    assert len({round(value, 6) for value in given}) == 3
    alone = tool(pairs, False)
    assert alone[0] == alone[1] == alone[3] != alone[2]
    assert calls == [3, 2]
    assert [tool([pair], True)[0] for pair in pairs] == pytest.approx(given, rel=1e-4)


def test_a_text_with_nothing_to_measure_is_never_the_likeliest() -> None:
    tool, calls = lent()
    assert tool([(PROMPT, "a")], False) == [math.inf]
    assert tool([], True) == []
    assert calls == []
