"""Requests to a server, many at one time, and what can go wrong with them."""

from __future__ import annotations

import asyncio
import contextlib
import json
import queue
import threading
from collections.abc import Awaitable, Callable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import openai

from ppx_ext import Ask, Failure, LentModel, Request, Response, render

if TYPE_CHECKING:
    from ppx_generators.server import OpenAI

Answered: TypeAlias = tuple[int, "Response | Failure"]
MAX_SEED = 2**31  # llama.cpp reads 32 bits
PREFLIGHT_SECONDS = 30.0
SHOWN_CHARACTERS = 300


@contextlib.contextmanager
def connected(settings: OpenAI, model: LentModel, key: str) -> Iterator[Ask]:
    """Lend a server as an engine, after it was asked whether it is there and knows the model.

    Raises:
        ValueError: it is not, does not, or refuses the key; with the mend.
    """
    with _event_loop() as run:
        server = Server(settings, model, key)
        try:
            run(server.check()).result()
            yield lambda requests: _answers(run, server, requests)
        finally:
            run(server.client.close()).result()


@contextlib.contextmanager
def _event_loop() -> Iterator[Callable[[Any], Future[Any]]]:
    """Lend ``run(coroutine) -> Future`` on a loop in a thread of its own."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="ppx-openai", daemon=True)
    thread.start()
    try:
        yield lambda coroutine: asyncio.run_coroutine_threadsafe(coroutine, loop)
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


def _answers(
    run: Callable[[Any], Future[Any]], server: Server, requests: Sequence[Request]
) -> Iterator[Answered]:
    """Answers as they come; what is still under way is given up when nobody listens any more."""
    calls = server.calls(requests)
    arrived: queue.SimpleQueue[Answered | None] = queue.SimpleQueue()
    job = run(server.make(calls, arrived.put))
    job.add_done_callback(lambda done: arrived.put(None))
    try:
        while (answered := arrived.get()) is not None:
            yield answered
        job.result()
    finally:
        job.cancel()


@dataclass(frozen=True, kw_only=True)
class Call:
    """One HTTP request: the fields of its body, and the places of the requests it answers."""

    body: dict[str, Any]
    chat: bool
    prefix: str
    places: list[int]


class Server:
    """An OpenAI-compatible server, as one job sees it."""

    def __init__(self, settings: OpenAI, model: LentModel, key: str) -> None:
        self.settings = settings
        self.model = settings.model or model.name
        self.tokenizer = model.tokenizer
        hooks: dict[str, list[Callable[..., Any]]] = {
            "request": [Pace(settings.requests_per_minute)]
        }
        self.client = openai.AsyncOpenAI(
            api_key=key,
            base_url=settings.base_url,
            timeout=settings.timeout,
            max_retries=settings.max_retries,
            http_client=openai.DefaultAsyncHttpxClient(event_hooks=hooks),
        )

    # ------------------------------------------------------------------------------ preflight

    async def check(self) -> None:
        """Ask for the models; one that is not listed is asked for a token.

        Raises:
            ValueError: with the mend.
        """
        where = self.settings.base_url
        patient = self.client.with_options(max_retries=1, timeout=PREFLIGHT_SECONDS)
        known: list[str] = []
        try:
            # Not every server lists its models: the probe tells then.
            with contextlib.suppress(openai.NotFoundError, openai.InternalServerError):
                known = [model.id async for model in patient.models.list()]
            if self.model not in known:
                await patient.completions.create(model=self.model, prompt="Hi", max_tokens=1)
        except openai.APIConnectionError as error:
            raise ValueError(
                f"generator openai: no server answers at {where} ({_cause(error)}); start one, for "
                f"instance `vllm serve {self.model}`, or mend base_url"
            ) from error
        except (openai.AuthenticationError, openai.PermissionDeniedError) as error:
            raise ValueError(
                f"generator openai: {where} refuses the key (HTTP {error.status_code}); put the "
                "right one into an environment variable and name that under api_key_env"
            ) from error
        except openai.APIStatusError as error:
            listed = f"it knows {', '.join(known)}" if known else "it lists no model"
            raise ValueError(
                f"generator openai: {where} does not answer for model {self.model!r} "
                f"({_cause(error)}); {listed}. Set `model:` to the name it knows, or mend "
                "base_url, which most servers have below /v1"
            ) from error
        except openai.OpenAIError as error:
            raise ValueError(
                f"generator openai: what answers at {where} does not speak OpenAI's protocol "
                f"({_cause(error)}); mend base_url"
            ) from error

    # -------------------------------------------------------------------------------- requests

    def calls(self, requests: Sequence[Request]) -> list[Call]:
        """The HTTP requests to make.

        Raises:
            ValueError: a prefix for a chat, and no tokenizer to render it with.
        """
        found: dict[str, Call] = {}
        for place, request in enumerate(requests):
            call = self._call(place, request)
            alike = json.dumps({**call.body, "seed": None, "prefix": call.prefix}, default=repr)
            single = not self.settings.samples_in_one_request
            found.setdefault(f"{place} {alike}" if single else alike, call).places.append(place)
        return list(found.values())

    def _call(self, place: int, request: Request) -> Call:
        drawing = request.decoding
        body: dict[str, Any] = {
            "model": self.model,
            "temperature": drawing.temperature,
            "top_p": drawing.top_p,
            "max_tokens": drawing.max_new_tokens,
            "seed": request.seed % MAX_SEED,
        }
        if drawing.stop:
            body["stop"] = list(drawing.stop)
        if self.settings.extra_body:
            body["extra_body"] = self.settings.extra_body
        chat = not isinstance(request.prompt, str) and not request.prefix
        if chat:
            body["messages"] = [dict(message) for message in request.prompt]  # type: ignore[arg-type]
        else:
            body["prompt"] = self._text(request)
        return Call(body=body, chat=chat, prefix=request.prefix, places=[])

    def _text(self, request: Request) -> str:
        """What a completion goes on with: how a chat begins is not in OpenAI's protocol.

        A server adds the beginning of the sequence itself, so the template's own is left out.
        """
        if isinstance(request.prompt, str):
            return request.prompt + request.prefix
        if self.tokenizer is None:
            raise ValueError(
                "generator openai: a response that begins with a given text needs the model's "
                "chat template; give the run a tokenizer"
            )
        text = render(self.tokenizer, request.prompt, request.prefix).text
        begin = self.tokenizer.bos_token or ""
        adds = self.tokenizer("")["input_ids"][:1] == [self.tokenizer.bos_token_id]
        return text.removeprefix(begin) if adds else text

    async def make(self, calls: Sequence[Call], put: Callable[[Answered], None]) -> None:
        """Make all calls, so many at one time as is set, and hand each answer over at once."""
        waiting = iter(calls)

        async def work() -> None:
            for call in waiting:
                answers = await self._answer(call)
                for place, answer in zip(call.places, answers, strict=True):
                    put((place, answer))

        async with asyncio.TaskGroup() as tasks:
            for _ in range(min(self.settings.concurrency, len(calls))):
                tasks.create_task(work())

    async def _answer(self, call: Call) -> Sequence[Response | Failure]:
        many = {"n": len(call.places)} if len(call.places) > 1 else {}
        create: Callable[..., Awaitable[Any]] = (
            self.client.chat.completions.create if call.chat else self.client.completions.create
        )
        try:
            found = await create(**call.body, **many)
        except openai.OpenAIError as error:
            return [Failure(reason=_cause(error))] * len(call.places)
        choices = list(found.choices or [])
        if len(choices) != len(call.places):
            given = f"the server gave {len(choices)} responses for {len(call.places)}"
            return [Failure(reason=given)] * len(call.places)
        tokens = found.usage.completion_tokens if found.usage and len(choices) == 1 else None
        return [_response(choice, call, tokens) for choice in choices]


def _response(choice: Any, call: Call, tokens: int | None) -> Response | Failure:
    text = choice.message.content if call.chat else choice.text
    if text is None or choice.finish_reason == "content_filter":
        return Failure(reason=f"the server gave no text (it ended with {choice.finish_reason!r})")
    stops = [place for stop in call.body.get("stop", ()) if (place := text.find(stop)) >= 0]
    text = text[: min(stops)] if stops else text  # some servers leave the stop text in
    finished = bool(stops) or choice.finish_reason != "length"
    return Response(text=call.prefix + text, finished=finished, tokens=tokens)


def _cause(error: openai.OpenAIError) -> str:
    if isinstance(error, openai.APITimeoutError):
        return "the server took longer than the timeout"
    if isinstance(error, openai.APIConnectionError):
        return f"connection error: {error.__cause__ or error}"
    if isinstance(error, openai.APIStatusError):
        return f"HTTP {error.status_code}: {error.response.text[:SHOWN_CHARACTERS]}"
    return f"{type(error).__name__}: {error}"


class Pace:
    """Lets requests through one after the other, no more of them in a minute than is set."""

    def __init__(self, per_minute: float | None) -> None:
        self.gap = 60.0 / per_minute if per_minute else 0.0
        self.free_at = 0.0

    async def __call__(self, request: object) -> None:
        """Wait until it is this request's turn."""
        if not self.gap:
            return
        now = asyncio.get_running_loop().time()
        turn = max(now, self.free_at)
        self.free_at = turn + self.gap
        await asyncio.sleep(turn - now)
