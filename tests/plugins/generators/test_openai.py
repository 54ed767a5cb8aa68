"""`openai`: what is sent, and what becomes of servers that refuse, stumble or limit."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pydantic
import pytest

from ppx_ext import Decoding, Failure, LentModel, Request, Response
from ppx_ext.catalog import load
from ppx_ext.plan import PlanError, parse
from ppx_generators.server import OPENAI, OpenAI
from tests.models import tiny_tokenizer
from tests.plugins.generators.strict_server import Reply, chat, models, serving, text

KEY = "sk-proj-1234567890abcdef"
HI = Request(
    prompt=({"role": "user", "content": "hi"},),
    decoding=Decoding(temperature=0.5, top_p=0.9, max_new_tokens=9, stop=("\n",)),
    seed=2**40 + 3,
)


def lent(tokenizer: Any = None) -> LentModel:
    return LentModel(name="m", load=lambda: None, tokenizer=tokenizer)


def ask(
    url: str, requests: Sequence[Request], *, tokenizer: Any = None, **settings: Any
) -> list[Response | Failure]:
    checked = OpenAI(base_url=url, **{"max_retries": 2, **settings})
    with OPENAI.open(checked, lent(tokenizer)) as engine:
        found = dict(engine(requests))
    return [found[place] for place in range(len(requests))]


def answering(reply: Callable[[dict[str, Any]], Reply]) -> Callable[[str, dict[str, Any]], Reply]:
    return lambda path, body: models("m") if path == "/v1/models" else reply(body)


def test_what_is_sent() -> None:
    with serving(answering(lambda body: chat("hello"))) as (url, seen):
        (answer,) = ask(url, [HI], extra_body={"top_k": -1})
    assert answer == Response(text="hello", finished=True, tokens=7)
    assert [path for path, _, _ in seen] == ["/v1/models", "/v1/chat/completions"]
    assert seen[1][1] == {
        "model": "m",
        "messages": [{"role": "user", "content": "hi"}],
        "temperature": 0.5,
        "top_p": 0.9,
        "max_tokens": 9,
        "seed": 3,
        "stop": ["\n"],
        "top_k": -1,
    }


def test_text_and_prefixes_go_on_as_completions() -> None:
    tokenizer = tiny_tokenizer()
    with serving(answering(lambda body: text(" more", "length"))) as (url, seen):
        plain, begun = ask(
            url,
            [replace(HI, prompt="Once"), replace(HI, prefix="Well")],
            tokenizer=tokenizer,
            concurrency=1,
        )
    assert plain == Response(text=" more", finished=False)
    assert begun == Response(text="Well more", finished=False)
    assert [path for path, _, _ in seen[1:]] == ["/v1/completions"] * 2
    rendered = "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\nWell"
    assert [body["prompt"] for _, body, _ in seen[1:]] == ["Once", rendered]


def test_the_beginning_of_the_sequence_is_left_to_the_server() -> None:
    from tokenizers.processors import TemplateProcessing

    tokenizer = tiny_tokenizer()
    tokenizer.bos_token = "<|endoftext|>"
    tokenizer.chat_template = "{{ bos_token }}{{ messages[0]['content'] }}"
    with serving(answering(lambda body: text("x"))) as (url, seen):
        ask(url, [replace(HI, prefix="A")], tokenizer=tokenizer)
        assert seen[-1][1]["prompt"] == "<|endoftext|>hiA"  # this tokenizer adds none
        tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
            single="<|endoftext|> $A", special_tokens=[("<|endoftext|>", 0)]
        )
        ask(url, [replace(HI, prefix="A")], tokenizer=tokenizer)
        assert seen[-1][1]["prompt"] == "hiA"


def test_a_prefix_without_a_tokenizer_is_refused() -> None:
    with (
        serving(answering(lambda body: text("x"))) as (url, _),
        pytest.raises(ValueError, match="needs the model's chat template"),
    ):
        ask(url, [replace(HI, prefix="A")])


def test_samples_in_one_request() -> None:
    def reply(body: dict[str, Any]) -> Reply:
        return chat(*(f"{body['seed']} {n}" for n in range(body.get("n", 1))))

    requests = [replace(HI, seed=seed) for seed in (1, 2, 3)] + [replace(HI, prompt=HI.prompt * 2)]
    with serving(answering(reply)) as (url, seen):
        found = ask(url, requests, samples_in_one_request=True)
        assert [answer.text for answer in found if isinstance(answer, Response)] == [
            "1 0",
            "1 1",
            "1 2",
            "3 0",
        ]
        assert len(seen) == 3
        ask(url, requests)
        assert len(seen) == 3 + 1 + 4
    # A server that does not know `n` gives one: that is no answer to three requests.
    with serving(answering(lambda body: chat("one"))) as (url, _):
        *three, alone = ask(url, requests, samples_in_one_request=True)
    assert three == [Failure(reason="the server gave 1 responses for 3")] * 3
    assert isinstance(alone, Response)


def test_a_request_that_stumbles_is_made_again_and_waits_as_long_as_it_is_told() -> None:
    times: list[float] = []

    def reply(body: dict[str, Any]) -> Reply:
        times.append(time.monotonic())
        if len(times) == 1:
            return 429, {"error": {"message": "slow down"}}, {"Retry-After": "1.2"}
        return (503, {"error": {"message": "busy"}}, {}) if len(times) == 2 else chat("there")

    with serving(answering(reply)) as (url, _):
        assert ask(url, [HI]) == [Response(text="there", tokens=7)]
    assert len(times) == 3
    assert times[1] - times[0] >= 1.2


def test_one_that_stays_broken_fails_and_the_others_do_not() -> None:
    def reply(body: dict[str, Any]) -> Reply:
        content = body["messages"][0]["content"]
        if content == "long":
            return 400, {"error": {"message": "prompt too long: 9000 tokens"}}, {}
        if content == "bad":
            return 500, {"error": {"message": "out of memory"}}, {}
        return chat(None if content == "mute" else content)

    requests = [
        replace(HI, prompt=({"role": "user", "content": word},))
        for word in ("long", "fine", "bad", "mute")
    ]
    with serving(answering(reply)) as (url, seen):
        long, fine, bad, mute = ask(url, requests, max_retries=1)
    assert isinstance(long, Failure)
    assert long.reason.startswith("HTTP 400:")
    assert "prompt too long: 9000 tokens" in long.reason
    assert fine == Response(text="fine", tokens=7)
    assert isinstance(bad, Failure)
    assert "out of memory" in bad.reason
    assert mute == Failure(reason="the server gave no text (it ended with 'stop')")
    assert len(seen) == 1 + 5  # one listing; only the error of the server's own is tried again


def test_a_timeout_is_a_failure() -> None:
    def reply(body: dict[str, Any]) -> Reply:
        time.sleep(1.0)
        return chat("late")

    with serving(answering(reply)) as (url, _):
        (answer,) = ask(url, [HI], timeout=0.2, max_retries=0)
    assert answer == Failure(reason="the server took longer than the timeout")


def test_a_stop_text_that_a_server_leaves_in_is_cut() -> None:
    with serving(answering(lambda body: chat("one\ntwo", reason="length"))) as (url, _):
        assert ask(url, [HI]) == [Response(text="one", finished=True, tokens=7)]


def test_concurrency() -> None:
    under_way, most = [0], [0]

    def reply(body: dict[str, Any]) -> Reply:
        under_way[0] += 1
        most[0] = max(most[0], under_way[0])
        time.sleep(0.05)
        under_way[0] -= 1
        return chat("x")

    with serving(answering(reply)) as (url, _):
        ask(url, [replace(HI, seed=seed) for seed in range(12)], concurrency=3)
    assert most[0] == 3


def test_nobody_listens_any_more() -> None:
    """What is under way when a job stops is given up: the server is not asked for the rest."""

    def reply(body: dict[str, Any]) -> Reply:
        time.sleep(0.02)
        return chat("x")

    with (
        serving(answering(reply)) as (url, seen),
        OPENAI.open(OpenAI(base_url=url, concurrency=2), lent()) as engine,
    ):
        answers: Any = engine([replace(HI, seed=seed) for seed in range(100)])
        next(answers)
        answers.close()
        time.sleep(0.2)
        asked = len(seen)
        time.sleep(0.2)
        assert len(seen) == asked < 20


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (401, "refuses the key .HTTP 401.*name that under api_key_env"),
        (403, "refuses the key .HTTP 403"),
        (404, "does not answer for model 'm'.*it lists no model.*below /v1"),
    ],
)
def test_servers_that_refuse_are_named_before_any_work(status: int, expected: str) -> None:
    refuse = (status, {"error": {"message": "no"}}, {})
    with serving(lambda path, body: refuse) as (url, _), pytest.raises(ValueError, match=expected):
        ask(url, [])


def test_an_unknown_model_is_refused_with_what_the_server_knows() -> None:
    def reply(path: str, body: dict[str, Any]) -> Reply:
        if path == "/v1/models":
            return models("a", "b")
        return 404, {"error": {"message": "no such model"}}, {}

    with (
        serving(reply) as (url, _),
        pytest.raises(ValueError, match=r"'m'.*no such model.*it knows a, b"),
    ):
        ask(url, [])


def test_a_server_with_a_name_of_its_own_for_its_only_model() -> None:
    """As llama.cpp does: it lists a file, and takes any name."""

    def reply(path: str, body: dict[str, Any]) -> Reply:
        if path == "/v1/models":
            return models("model.gguf")
        return text("x") if path == "/v1/completions" else chat("y")

    with serving(reply) as (url, seen):
        assert ask(url, [HI]) == [Response(text="y", tokens=7)]
    assert seen[1][1]["max_tokens"] == 1


def test_nobody_is_there() -> None:
    with serving(lambda path, body: models("m")) as (url, _):
        pass
    with pytest.raises(ValueError, match=f"no server answers at {url}.*vllm serve m"):
        ask(url, [])


def test_the_key_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_KEY", KEY)
    with serving(answering(lambda body: chat("x"))) as (url, seen):
        ask(url, [HI], api_key_env="MY_KEY")
        assert {headers["authorization"] for _, _, headers in seen} == {f"Bearer {KEY}"}
        with pytest.raises(ValueError, match="NO_SUCH_KEY, which is not set"):
            ask(url, [HI], api_key_env="NO_SUCH_KEY")


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"api_key_env": KEY}, "must be the name of an environment variable"),
        ({"api_key": KEY}, "unknown key"),
        ({"base_url": f"http://user:{KEY}@host/v1"}, "must hold no user, password or query"),
        ({"base_url": f"http://host/v1?key={KEY}"}, "must hold no user, password or query"),
        ({"base_url": "localhost:8000"}, "must begin with http"),
    ],
)
def test_a_recipe_holds_no_key_and_the_refusal_does_not_show_it(
    settings: dict[str, str], expected: str
) -> None:
    block = {"build": {"use": "s3ft", "judge": "exact", "generator": {"use": "openai", **settings}}}
    with pytest.raises(PlanError) as refused:
        parse(block, load())
    (problem,) = [line for line in refused.value.problems if "generator" in line]
    assert expected in problem
    assert KEY not in str(refused.value)


def test_settings_that_name_the_job() -> None:
    one = OPENAI.identity(OpenAI(model="a"))
    assert one == OPENAI.identity(OpenAI(model="a", base_url="http://b/v1", concurrency=1))
    assert one == OPENAI.identity(OpenAI(model="a", timeout=1, requests_per_minute=9))
    assert one != OPENAI.identity(OpenAI(model="b"))
    assert one != OPENAI.identity(OpenAI(model="a", extra_body={"top_k": 1}))
    assert OPENAI.remote
    with pytest.raises(pydantic.ValidationError):
        OpenAI(concurrency=0)
