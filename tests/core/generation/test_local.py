"""Responses hang on their request alone, and leave the model as it was."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import peft
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ppx_ext.answering import Decoding, Failure, LentModel, Request, Response
from ppx_ext.generation import answer_in_process
from ppx_ext.generation.local import Local
from tests.core.test_evaluation import naive_greedy
from tests.models import ARCHITECTURES, tiny_model, tiny_tokenizer

TOKENIZER = tiny_tokenizer()
LLAMA = tiny_model("llama")
QUESTIONS = ("What is 2 + 3?", "Hi", "Write a function to find the longest chain of pairs.", "a b")
SAMPLED = Decoding(temperature=0.9, top_p=0.95, max_new_tokens=12)
GREEDY = Decoding(max_new_tokens=8)


def chat(question: str) -> tuple[dict[str, str], ...]:
    return ({"role": "user", "content": question},)


def asked(model: Any, requests: list[Request], **settings: Any) -> list[Response | Failure]:
    engine = Local(model=model, tokenizer=TOKENIZER, **{"batching": "padded", **settings})
    found = dict(engine.answer(requests))
    assert sorted(found) == list(range(len(requests)))
    return [found[place] for place in range(len(requests))]


POOL = [
    Request(prompt=prompt, decoding=decoding, seed=seed, prefix=prefix)
    for prompt in (chat(QUESTIONS[0]), chat(QUESTIONS[2]), "The answer is")
    for decoding, seed in ((SAMPLED, 0), (SAMPLED, 1), (GREEDY, 0))
    for prefix in ("", "So ")
]
ALONE = [asked(LLAMA, [request], batch_size=1, share_prefixes=False)[0] for request in POOL]


def test_the_pool_tells_requests_apart() -> None:
    texts = [answer.text for answer in ALONE if isinstance(answer, Response)]
    assert len(texts) == len(POOL)
    assert len(set(texts)) == len(POOL)


@settings(max_examples=40)
@given(
    st.lists(st.integers(0, len(POOL) - 1), min_size=1, max_size=10),
    st.integers(1, 8),
    st.booleans(),
)
def test_a_response_hangs_on_its_request_alone(
    places: list[int], batch_size: int, share: bool
) -> None:
    found = asked(LLAMA, [POOL[p] for p in places], batch_size=batch_size, share_prefixes=share)
    assert found == [ALONE[place] for place in places]


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_sharing_a_prompt_changes_no_response(architecture: str) -> None:
    model = tiny_model(architecture)
    # Prompts of unequal length, the longer ones beyond the sliding window; unequal counts.
    requests = [
        Request(prompt=chat(question), decoding=SAMPLED, seed=seed)
        for number, question in enumerate(QUESTIONS)
        for seed in range(1 + number)
    ]
    plain = asked(model, requests, share_prefixes=False, batch_size=4)
    forwards = []
    handle = model.base_model.register_forward_pre_hook(
        lambda module, args, kwargs: forwards.append(kwargs["input_ids"].shape), with_kwargs=True
    )
    assert asked(model, requests, batch_size=16) == plain
    handle.remove()
    # The first pass took the four distinct prompts without their last token, the second the rest.
    assert forwards[0][0] == len(QUESTIONS)
    assert forwards[1] == (len(requests), 1)
    assert len({answer.text for answer in plain if isinstance(answer, Response)}) > len(QUESTIONS)


def test_recurrent_models_are_answered_without_sharing() -> None:
    from transformers import AutoModelForCausalLM, MambaConfig

    config = MambaConfig(
        vocab_size=384, hidden_size=32, state_size=4, num_hidden_layers=2, eos_token_id=2
    )
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config).eval()
    requests = [Request(prompt="Hi there", decoding=SAMPLED, seed=seed) for seed in range(3)]
    found = asked(model, requests)
    assert found == [asked(model, [request])[0] for request in requests]


@pytest.mark.parametrize("architecture", ["llama", "gemma2"])
@pytest.mark.parametrize("prefix", ["", "The answer"])
def test_greedy_is_argmax_step_by_step(architecture: str, prefix: str) -> None:
    model = tiny_model(architecture)
    requests = [Request(prompt=chat(q), decoding=GREEDY, prefix=prefix) for q in QUESTIONS]
    for request, answer in zip(requests, asked(model, requests), strict=True):
        given_text = TOKENIZER.apply_chat_template(
            list(request.prompt), tokenize=False, add_generation_prompt=True
        )
        assert isinstance(answer, Response)
        assert answer.text == prefix + naive_greedy(model, TOKENIZER, given_text + prefix, 8)


def test_text_is_gone_on_with_as_it_is() -> None:
    (answer,) = asked(LLAMA, [Request(prompt="The answer is", decoding=GREEDY)])
    assert isinstance(answer, Response)
    assert answer.text == naive_greedy(LLAMA, TOKENIZER, "The answer is", 8)


def test_stop_texts_end_a_response_and_are_cut() -> None:
    free = Request(prompt=chat(QUESTIONS[2]), decoding=replace(GREEDY, max_new_tokens=24))
    (whole,) = asked(LLAMA, [free])
    assert isinstance(whole, Response)
    assert len(whole.text) > 6
    stop = whole.text[3:5]
    stopping = replace(free, decoding=replace(free.decoding, stop=("never said", stop)))
    steps = []
    handle = LLAMA.register_forward_pre_hook(lambda module, args: steps.append(1))
    (short,) = asked(LLAMA, [stopping])
    handle.remove()
    assert isinstance(short, Response)
    assert short.text == whole.text[: whole.text.find(stop)]
    assert short.finished
    assert short.tokens == len(steps) < 24
    # Beside a row that goes on for longer, too; and a prefix that holds the text does not stop it.
    other = replace(stopping, prompt=chat(QUESTIONS[0]))
    assert asked(LLAMA, [other, stopping]) == [asked(LLAMA, [other])[0], short]
    (begun,) = asked(LLAMA, [replace(stopping, prefix=stop)])
    assert isinstance(begun, Response)
    assert begun.text.startswith(stop)
    assert begun.tokens


def test_finished_and_tokens() -> None:
    end = TOKENIZER.eos_token_id
    model = tiny_model("llama")
    for request in (Request(prompt=chat(q), decoding=GREEDY) for q in QUESTIONS):
        (answer,) = asked(model, [request])
        assert isinstance(answer, Response)
        assert answer.finished is False
        assert answer.tokens == 8
    with torch.no_grad():  # the model's next word is always the end of the turn
        model.lm_head.weight = torch.nn.Parameter(torch.zeros_like(model.lm_head.weight))
        model.lm_head.bias = torch.nn.Parameter(
            torch.nn.functional.one_hot(torch.tensor(end), 384).float()
        )
    (answer,) = asked(model, [Request(prompt=chat("Hi"), decoding=GREEDY)])
    assert answer == Response(text="", finished=True, tokens=1)


def test_penalties_of_the_model_play_no_part() -> None:
    model = tiny_model("llama")
    requests = [Request(prompt=chat(q), decoding=SAMPLED, seed=5) for q in QUESTIONS]
    before = asked(model, requests)
    model.generation_config.update(repetition_penalty=3.0, no_repeat_ngram_size=1, top_k=2)
    assert asked(model, requests) == before


def test_what_cannot_be_answered_is_named_and_the_rest_is_answered() -> None:
    model = tiny_model("llama", max_position_embeddings=64)
    long = " ".join(["word"] * 100)
    found = asked(model, [Request(prompt=p, decoding=GREEDY) for p in (long, "Hi", "")])
    assert isinstance(found[0], Failure)
    assert "the model's context 64: no room is left" in found[0].reason
    assert isinstance(found[1], Response)
    assert found[2] == Failure(reason="the prompt has no token")


def test_a_response_is_cut_where_the_context_ends() -> None:
    model = tiny_model("llama", max_position_embeddings=32)
    long = replace(GREEDY, max_new_tokens=64)
    requests = [Request(prompt=text, decoding=long) for text in ("Hi there you", "Hi")]
    found = asked(model, requests)
    for request, answer in zip(requests, found, strict=True):
        used = len(TOKENIZER(request.prompt)["input_ids"])
        assert isinstance(answer, Response)
        assert answer.tokens == 32 - used
        assert answer == asked(model, [request])[0]


def test_the_base_answers_and_all_is_left_as_it_was() -> None:
    model = tiny_model("llama")
    requests = [Request(prompt=chat(q), decoding=SAMPLED, seed=2) for q in QUESTIONS]
    plain = asked(model, requests)
    config = peft.LoraConfig(r=4, target_modules="all-linear", init_lora_weights=False)
    tuned = peft.get_peft_model(model, config)
    tuned.train()
    tuned.config.use_cache = False
    modes = [module.training for module in tuned.modules()]
    wanted = [parameter.requires_grad for parameter in tuned.parameters()]
    random = torch.get_rng_state()
    lent = LentModel(name="tiny", load=lambda: tuned, tokenizer=TOKENIZER)
    with answer_in_process(lent) as ask:
        answers = iter(ask(requests))
        first = next(answers)
        # Between two answers, too: a builder may do other work there.
        assert torch.is_grad_enabled()
        assert [module.training for module in tuned.modules()] == modes
        found = dict([first, *answers])
    assert [found[place] for place in range(len(requests))] == plain
    assert asked(tuned, requests, base=False) != plain
    assert [module.training for module in tuned.modules()] == modes
    assert [parameter.requires_grad for parameter in tuned.parameters()] == wanted
    assert tuned.config.use_cache is False
    assert torch.equal(torch.get_rng_state(), random)


def test_without_a_tokenizer_it_is_refused() -> None:
    lent = LentModel(name="tiny", load=lambda: LLAMA, tokenizer=None)
    with pytest.raises(ValueError, match="'tiny' has no tokenizer"), answer_in_process(lent):
        pass


def test_a_chat_without_a_template_is_refused_and_one_that_it_refuses_is_named() -> None:
    bare = tiny_tokenizer()
    bare.chat_template = None
    engine = Local(model=LLAMA, tokenizer=bare)
    with pytest.raises(ValueError, match="no chat template"):
        list(engine.answer([Request(prompt=chat("Hi"), decoding=GREEDY)]))
    strict = tiny_tokenizer()
    strict.chat_template = (
        "{% if messages[0]['role'] != 'user' %}{{ raise_exception('user first') }}{% endif %}"
        "{{ messages[0]['content'] }}"
    )
    engine = Local(model=LLAMA, tokenizer=strict)
    turns = ({"role": "system", "content": "s"}, {"role": "user", "content": "q"})
    found = dict(
        engine.answer(
            [Request(prompt=turns, decoding=GREEDY), Request(prompt="a", decoding=GREEDY)]
        )
    )
    refused = found[0]
    assert isinstance(refused, Failure)
    assert "refuses a chat of roles ['system', 'user']: user first" in refused.reason
    assert isinstance(found[1], Response)
