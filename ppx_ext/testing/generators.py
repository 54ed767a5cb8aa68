"""What every engine promises."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from ppx_ext.answering import Decoding, Failure, Generator, LentModel, Request, Response


def check_generator(
    generator: Generator,
    settings: Mapping[str, Any] | None = None,
    *,
    model: LentModel,
    prompts: Sequence[Any] = ("Once upon a time", "The answer is"),
) -> None:
    """Check that an engine keeps its contract.

    Each request is answered once, in any order, also where a request is there twice; a prefix is
    a part of the response, and a stop text is not; an answer is not longer than was asked for; the
    engine can be asked again, and nothing is answered where nothing is asked; its identity is
    plain JSON; and where it says that it is reproducible, the same request gives the same
    response, alone, among others and after opening it anew.

    Args:
        generator: the component.
        settings: what a recipe would give.
        model: what answers.
        prompts: of two requests or more that the model can answer.

    Raises:
        AssertionError: it does not; the message says how.
    """
    checked = generator.settings.model_validate(dict(settings or {}))
    identity = generator.identity(checked)
    assert json.loads(json.dumps(identity)) == identity, f"identity is no plain JSON: {identity!r}"
    requests = _requests(prompts)
    with generator.open(checked, model) as ask:
        assert list(ask([])) == [], "something was answered, and nothing was asked"
        together = _answers(ask, [*requests, requests[0]])
        alone = [_answers(ask, [request])[0] for request in requests]
    with generator.open(checked, model) as ask:
        anew = _answers(ask, list(reversed(requests)))[::-1]
    for request, *answers in zip(requests, together, alone, anew, strict=False):
        for answer in answers:
            _check_answer(request, answer)
        if generator.reproducible(checked, request.decoding):
            assert answers.count(answers[0]) == 3, f"{request} had different responses: {answers}"


def _requests(prompts: Sequence[Any]) -> list[Request]:
    greedy, drawn = Decoding(max_new_tokens=8), Decoding(temperature=0.8, max_new_tokens=8)
    plain = [
        Request(prompt=prompt, decoding=decoding, seed=seed)
        for prompt in prompts
        for decoding, seed in ((greedy, 0), (drawn, 0), (drawn, 1))
    ]
    stopping = [
        replace(request, decoding=replace(request.decoding, stop=("e", "\n")))
        for request in plain[:2]
    ]
    return [*plain, *(replace(request, prefix="So") for request in plain[:2]), *stopping]


def _answers(ask: Any, requests: Sequence[Request]) -> list[Response | Failure]:
    answered = list(ask(requests))
    places = sorted(place for place, _ in answered)
    assert places == list(range(len(requests))), f"{len(requests)} requests, answered: {places}"
    found = dict(answered)
    return [found[place] for place in range(len(requests))]


def _check_answer(request: Request, answer: Response | Failure) -> None:
    assert isinstance(answer, Response), f"{request} was not answered: {answer}"
    assert answer.text.startswith(request.prefix), f"the prefix of {request} is not in {answer}"
    said = answer.text.removeprefix(request.prefix)
    for stop in request.decoding.stop:
        assert stop not in said, f"the stop text {stop!r} is in {answer}"
    if answer.tokens is not None:
        most = request.decoding.max_new_tokens
        assert answer.tokens <= most, f"{answer.tokens} tokens where {most} were asked for"
