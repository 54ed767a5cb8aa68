"""Continuous batching gives what padded batches give, and hides no error."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from ppx_ext.answering import Decoding, Failure, LentModel, Request, Response
from ppx_ext.generation import answer_in_process, local
from tests.core.generation.test_local import QUESTIONS, TOKENIZER, asked, chat
from tests.models import tiny_model

GREEDY = Decoding(max_new_tokens=6)


def requests(number: int) -> list[Request]:
    return [
        Request(prompt=chat(f"{QUESTIONS[place % 4]} {place}"), decoding=GREEDY)
        for place in range(number)
    ]


@pytest.mark.parametrize("architecture", ["llama", "mistral", "qwen2", "olmo2"])
def test_it_gives_what_padded_batches_give(architecture: str) -> None:
    model = tiny_model(architecture)
    implementation = model.config._attn_implementation
    wanted = [*requests(7), requests(1)[0]]
    found = asked(model, wanted, batching="continuous", batch_size=3)
    assert found == asked(model, wanted, batching="padded")
    assert model.config._attn_implementation == implementation


def test_soft_capped_models_are_refused_or_stay_padded() -> None:
    model = tiny_model("gemma2")
    lent = LentModel(name="gemma", load=lambda: model, tokenizer=TOKENIZER)
    with (
        pytest.raises(ValueError, match="'gemma': the attention of this model is soft-capped"),
        answer_in_process(lent, batching="continuous"),
    ):
        pass
    with answer_in_process(lent, batching="auto", batch_size=2) as ask:
        found = dict(ask(requests(20)))
    assert [found[place] for place in range(20)] == asked(model, requests(20))
    # Should this fail, the paged attention has learnt to soft-cap: allow it then.
    assert asked(model, requests(7), batching="continuous") != asked(model, requests(7))


def test_stop_texts_and_sampling_stay_padded(monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny_model("llama")
    monkeypatch.setattr(model, "generate_batch", None)
    for decoding in (Decoding(max_new_tokens=4, stop=("x",)), Decoding(temperature=1.0)):
        (answer,) = asked(model, [Request(prompt="Hi", decoding=decoding)], batching="continuous")
        assert isinstance(answer, Response)


def test_lost_requests_are_failures(monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny_model("llama")
    whole = model.generate_batch

    def losing(**given: Any) -> Any:
        results = whole(**given)
        lost, broken = list(results)[:2]
        del results[lost]
        results[broken].error = "no room"
        results[broken].generated_tokens = []
        return results

    monkeypatch.setattr(model, "generate_batch", losing)
    found = asked(model, requests(3), batching="continuous")
    reasons = sorted(answer.reason for answer in found if isinstance(answer, Failure))
    assert len(reasons) == 2
    assert reasons[0] == "continuous batching lost the request; see its log"
    assert reasons[1] == "continuous batching: no room"


def engine(model: Any) -> local.Local:
    return local.Local(model=model, tokenizer=TOKENIZER, batch_size=2, batching="auto")


def test_auto_tries_both_once_and_keeps_the_faster(caplog: pytest.LogCaptureFixture) -> None:
    model = tiny_model("llama")
    expected = asked(model, requests(20), batching="padded")
    choosing = engine(model)
    with caplog.at_level(logging.INFO, logger="ppx_ext.generation.local"):
        found = dict(choosing.answer(requests(20)))
        assert [found[place] for place in range(20)] == expected
        dict(choosing.answer(requests(20)))
    assert choosing.batching in ("padded", "continuous")
    (line,) = [text for text in caplog.messages if "going on" in text]
    assert line.endswith(f"going on {choosing.batching}")
    share = float(line.split("takes ")[1].split()[0])
    assert (share < 1) == (choosing.batching == "continuous") or share == 1.0


def test_auto_goes_on_padded_where_the_other_cannot(monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny_model("llama")
    expected = asked(model, requests(20), batching="padded")

    def refuse(**given: Any) -> Any:
        raise NotImplementedError("no paged attention")

    monkeypatch.setattr(model, "generate_batch", refuse)
    choosing = engine(model)
    found = dict(choosing.answer(requests(20)))
    assert [found[place] for place in range(20)] == expected
    assert choosing.batching == "padded"


def test_little_work_is_not_tried_both_ways(monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny_model("llama")
    monkeypatch.setattr(model, "generate_batch", None)
    choosing = engine(model)
    assert len(dict(choosing.answer(requests(16)))) == 16
    assert choosing.batching == "auto"
