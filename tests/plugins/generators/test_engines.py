"""Every engine keeps the contract; the ones that cannot be had here say how to get them."""

from __future__ import annotations

import importlib.util
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ppx_ext import Ask, Decoding, LentModel, Request, Response, testing
from ppx_ext.catalog import load
from ppx_generators.in_process import TRANSFORMERS
from ppx_generators.in_vllm import VLLM, Vllm, engine_arguments, sampling_arguments
from ppx_generators.server import OPENAI
from tests.models import tiny_model, tiny_tokenizer
from tests.plugins.generators.served import save_model, serve

CHAT = ({"role": "user", "content": "What is 2 + 3?"},)


def tiny() -> LentModel:
    return LentModel(name="tiny", load=lambda: tiny_model("llama"), tokenizer=tiny_tokenizer())


def test_all_are_in_the_catalog() -> None:
    assert {"transformers", "openai", "vllm"} <= set(load().names("generator"))


@pytest.mark.parametrize(
    "settings",
    [{}, {"batch_size": 2}, {"batching": "continuous"}, {"share_prefixes": False}],
)
def test_transformers_keeps_the_contract(settings: dict[str, Any]) -> None:
    testing.check_generator(TRANSFORMERS, settings, model=tiny(), prompts=("The answer", CHAT))


@pytest.mark.slow
def test_openai_keeps_the_contract(tmp_path: Path) -> None:
    save_model(tmp_path / "model")
    with serve(tmp_path / "model") as server:
        testing.check_generator(
            OPENAI,
            {"base_url": server.base_url, "concurrency": 2},
            model=server.lent,
            prompts=("The answer", CHAT),
        )


def changed(ask: Any) -> Any:
    """`transformers`, its answers bent by ``ask(answers) -> answers``."""
    import contextlib
    from collections.abc import Iterator

    @contextlib.contextmanager
    def opened(settings: Any, model: LentModel) -> Iterator[Ask]:
        with TRANSFORMERS.open(settings, model) as engine:
            yield lambda requests: ask(list(engine(requests)), requests)

    return replace(TRANSFORMERS, open=opened)


def without_prefix(answers: Any, requests: Any) -> Any:
    return [
        (place, replace(answer, text=answer.text.removeprefix(requests[place].prefix)))
        for place, answer in answers
    ]


def moody(answers: Any, requests: Any) -> Any:
    return [(place, replace(a, text=f"{a.text}{len(requests)}")) for place, a in answers]


@pytest.mark.parametrize(
    ("bend", "expected"),
    [
        (lambda answers, requests: answers[1:], "answered:"),
        (lambda answers, requests: answers + answers[:1], "answered:"),
        (without_prefix, "the prefix of"),
        (moody, "had different responses"),
        (
            lambda answers, requests: [(p, replace(a, text=a.text + "\n")) for p, a in answers],
            "the stop text",
        ),
    ],
)
def test_the_check_finds_engines_that_break_it(bend: Any, expected: str) -> None:
    with pytest.raises(AssertionError, match=expected):
        testing.check_generator(changed(bend), model=tiny())


def test_where_vllm_is_not_there_it_is_refused_with_the_mend() -> None:
    if importlib.util.find_spec("vllm"):
        pytest.skip("vLLM is installed")
    with (
        pytest.raises(ValueError, match=r"pip install 'ppx-ext\[vllm\]', or start it as a server"),
        VLLM.open(Vllm(), tiny()),
    ):
        pass


def test_what_vllm_is_given() -> None:
    arguments = engine_arguments(Vllm(engine={"seed": 3}), replace(tiny(), revision="abc"))
    assert arguments["model"] == "tiny"
    assert arguments["revision"] == "abc"
    assert arguments["trust_remote_code"] is False
    assert arguments["seed"] == 3
    decoding = Decoding(temperature=0.5, top_p=0.9, max_new_tokens=7, stop=("\n",))
    assert sampling_arguments(decoding, 5, [2]) == {
        "temperature": 0.5,
        "top_p": 0.9,
        "max_tokens": 7,
        "stop": ["\n"],
        "stop_token_ids": [2],
        "seed": 5,
    }


def test_the_models_own_settings_reach_the_engine() -> None:
    requests = [
        Request(prompt=CHAT, decoding=Decoding(temperature=1.0, max_new_tokens=6), seed=seed)
        for seed in range(5)
    ]
    shapes: list[int] = []
    model = tiny_model("llama")
    model.register_forward_pre_hook(
        lambda module, args, kwargs: shapes.append(len(kwargs["input_ids"])), with_kwargs=True
    )
    lent = replace(tiny(), load=lambda: model)
    settings = TRANSFORMERS.settings.model_validate({"batch_size": 2, "share_prefixes": False})
    with TRANSFORMERS.open(settings, lent) as ask:
        assert all(isinstance(answer, Response) for _, answer in ask(requests))
    assert set(shapes) == {2, 1}
