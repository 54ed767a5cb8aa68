"""Any server that speaks OpenAI's protocol: vLLM, SGLang, llama.cpp, `transformers serve`."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import pydantic

from ppx_ext import Ask, Decoding, Generator, LentModel

_NAME_OF_VARIABLE = re.compile(r"[A-Z_][A-Z0-9_]*")


class OpenAI(pydantic.BaseModel):
    """Settings of `openai`. What a server adds of its own (vLLM: the ``top_k`` in a model's
    generation config, unless started with ``--generation-config vllm``) can be set in
    ``extra_body``.

    Attributes:
        base_url: of the API; most servers have it below ``/v1``.
        model: the name that the server knows the model by; by default the run's.
        api_key_env: name of the environment variable that holds the key, never the key itself;
            None for a server that wants none.
        concurrency: requests that are under way at one time.
        timeout: seconds that one request may take.
        max_retries: of one request, with growing pauses; a server's Retry-After is honoured.
        requests_per_minute: no more than so many are sent, retries included.
        samples_in_one_request: ask for all samples of one prompt at once (``n``). Some servers are
            faster then; a sample's seed is then that of the first.
        extra_body: further fields of each request, for instance ``{top_k: -1}``.
    """

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    base_url: str = "http://localhost:8000/v1"
    model: str | None = None
    api_key_env: str | None = None
    concurrency: int = pydantic.Field(default=32, gt=0)
    timeout: float = pydantic.Field(default=600.0, gt=0)
    max_retries: int = pydantic.Field(default=5, ge=0)
    requests_per_minute: float | None = pydantic.Field(default=None, gt=0)
    samples_in_one_request: bool = False
    extra_body: dict[str, Any] = {}

    @pydantic.field_validator("base_url")
    @classmethod
    def _address_without_a_secret(cls, value: str) -> str:
        parts = urlsplit(value)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("must begin with http:// or https:// and name a host")
        if parts.username or parts.password or parts.query:
            raise ValueError(
                "must hold no user, password or query: a recipe is kept and shared. Put the key "
                "into an environment variable, and its name under api_key_env"
            )
        return value.rstrip("/")

    @pydantic.field_validator("api_key_env")
    @classmethod
    def _name_and_no_key(cls, value: str | None) -> str | None:
        if value is not None and not _NAME_OF_VARIABLE.fullmatch(value):
            raise ValueError(
                "must be the name of an environment variable, such as OPENAI_API_KEY, and never "
                "the key itself: a recipe is kept and shared"
            )
        return value


def api_key(settings: OpenAI) -> str:
    """The key in the environment, or a word for servers that want none.

    Raises:
        ValueError: the variable is not set.
    """
    if settings.api_key_env is None:
        return "none"
    key = os.environ.get(settings.api_key_env)
    if not key:
        raise ValueError(
            f"generator openai: api_key_env names {settings.api_key_env}, which is not set in the "
            "environment; export it before the run"
        )
    return key


@contextlib.contextmanager
def _open(settings: OpenAI, model: LentModel) -> Iterator[Ask]:
    try:
        import openai  # noqa: F401
    except ImportError as error:
        raise ValueError(
            "generator openai: the client library is not installed; run: "
            "pip install 'ppx-ext[server]'"
        ) from error
    from ppx_generators.connection import connected

    with connected(settings, model, api_key(settings)) as ask:
        yield ask


def _identity(settings: OpenAI) -> dict[str, Any]:
    named = ("model", "samples_in_one_request", "extra_body")
    return settings.model_dump(mode="json", include=set(named))


def _reproducible(settings: Any, decoding: Decoding) -> bool:
    return False


OPENAI = Generator(
    name="openai",
    paper="",
    settings=OpenAI,
    open=_open,
    identity=_identity,
    remote=True,
    reproducible=_reproducible,
)
"""Each request's seed is sent, but no server promises that its batches leave a token as it is; and
which weights are behind a name is the server's affair. What it answered is kept, so that a build
that goes on, or is made again, reads the same."""
