"""`openai` against a real server: `transformers serve` on loopback."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ppx_ext import Decoding, Failure, Request, Response
from ppx_ext.generation import local, open_generator
from ppx_ext.stages import Stage
from ppx_generators.server import OPENAI, OpenAI
from tests.models import tiny_tokenizer
from tests.plugins.generators.served import Served, save_model, serve

GREEDY = Decoding(max_new_tokens=6)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("served") / "model"


@pytest.fixture(scope="module")
def model(folder: Path) -> Any:
    return save_model(folder)


@pytest.fixture(scope="module")
def served(folder: Path, model: Any) -> Iterator[Served]:
    with serve(folder) as server:
        yield server


def asking(server: Served, jobs: Path, **settings: Any) -> Any:
    block = {"base_url": server.base_url, "concurrency": 4, "max_retries": 1, **settings}
    stage = Stage(component=OPENAI, settings=OpenAI(**block))
    return open_generator(stage, server.lent, jobs, fingerprint="tiny")


def chats(number: int, decoding: Decoding = GREEDY) -> list[Request]:
    return [
        Request(
            prompt=({"role": "user", "content": f"What is 2 + {place}?"},),
            decoding=decoding,
            seed=place,
        )
        for place in range(number)
    ]


@pytest.mark.slow
def test_it_answers_as_the_model_does_in_this_process(
    served: Served, model: Any, tmp_path: Path
) -> None:
    requests = [
        *chats(6),
        *(replace(request, prefix="The answer") for request in chats(3)),
        Request(prompt="The answer is", decoding=GREEDY),
        Request(prompt="The answer is", decoding=GREEDY, prefix=" of"),
    ]
    engine = local.Local(model=model, tokenizer=tiny_tokenizer(), batching="padded")
    here = dict(engine.answer(requests))
    expected = [here[place] for place in range(len(requests))]
    with asking(served, tmp_path) as ask:
        assert ask(requests) == expected
        seen = served.requests_seen("/v1/chat/completions")
        assert ask(requests) == expected
    with asking(served, tmp_path, concurrency=1, timeout=7) as ask:
        assert ask(requests) == expected  # another number of connections is the same job
    assert served.requests_seen("/v1/chat/completions") == seen
    texts = {answer.text for answer in expected if isinstance(answer, Response)}
    assert len(texts) > 6


@pytest.mark.slow
def test_stop_texts_are_cut(served: Served, tmp_path: Path) -> None:
    (free,) = chats(1)
    with asking(served, tmp_path) as ask:
        (whole,) = ask([free])
        stop = whole.text[2:4]
        (short,) = ask([replace(free, decoding=replace(GREEDY, stop=(stop,)))])
    assert short.text == whole.text[: whole.text.find(stop)]
    assert short.finished


@pytest.mark.slow
def test_samples_of_one_prompt_differ(served: Served, tmp_path: Path) -> None:
    drawn = Decoding(temperature=1.0, max_new_tokens=12)
    requests = [replace(chats(1)[0], decoding=drawn, seed=seed) for seed in range(4)]
    with asking(served, tmp_path) as ask:
        found = ask(requests)
    assert len({answer.text for answer in found}) == 4


@pytest.mark.slow
def test_a_rate_limit_is_kept(served: Served, tmp_path: Path) -> None:
    with asking(served, tmp_path, requests_per_minute=600) as ask:
        ask.preflight()
        began = time.monotonic()
        assert all(isinstance(answer, Response) for answer in ask(chats(12)))
        assert time.monotonic() - began >= 11 * 0.1


@pytest.mark.slow
def test_a_model_that_is_not_there_is_refused_at_once(served: Served, tmp_path: Path) -> None:
    with (
        asking(served, tmp_path, model="other") as ask,
        pytest.raises(ValueError, match=r"does not answer for model 'other' .HTTP 400.*pinned"),
    ):
        ask.preflight()


@pytest.mark.slow
def test_a_server_that_dies_costs_what_was_under_way_and_no_more(
    folder: Path, model: Any, tmp_path: Path
) -> None:
    requests = chats(30, Decoding(max_new_tokens=24))
    jobs = tmp_path / "jobs"
    with serve(folder) as server:
        stage = Stage(
            component=OPENAI,
            settings=OpenAI(base_url=server.base_url, concurrency=2, max_retries=1),
        )
        answered: list[object] = []

        def killing(answer: object) -> None:
            answered.append(answer)
            if len(answered) == 10:
                server.process.kill()

        lent = open_generator(stage, server.lent, jobs, fingerprint="tiny", advance=killing)
        with lent as ask:
            first = ask(requests)
        failed = [answer for answer in first if isinstance(answer, Failure)]
        kept = len(requests) - len(failed)
        assert 10 <= kept < 20
        assert ask.numbers()["requests_failed"] == len(failed)
        assert all("onnection" in answer.reason or "erver" in answer.reason for answer in failed)
    with serve(folder) as server, asking(server, jobs) as ask:
        second = ask(requests)
        assert ask.numbers()["requests_kept"] == kept
        assert server.requests_seen("/v1/chat/completions") == len(failed)
    assert all(isinstance(answer, Response) for answer in second)
    both = zip(first, second, strict=True)
    assert all(one == other for one, other in both if isinstance(one, Response))
