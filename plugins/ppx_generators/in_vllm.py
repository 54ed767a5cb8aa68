"""vLLM in this process. WRITTEN AGAINST ITS DOCUMENTED INTERFACE, AND NEVER RUN BY OUR TESTS.

vLLM needs an accelerator and gigabytes of libraries; the names of all arguments below were compared
with the source of its release 0.33. A server, asked by `openai`, is tested for real, and keeps
vLLM's own torch out of the training environment.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any, Literal

import pydantic

from ppx_ext import Ask, Decoding, Failure, Generator, LentModel, Request, Response, end_ids, render

CHUNK = 1024
"""Requests handed over at one time: what is answered is kept when a chunk is done."""


class Vllm(pydantic.BaseModel):
    """Settings of `vllm`.

    Attributes:
        dtype: of the weights; it can turn a token.
        tensor_parallel_size: accelerators that share one copy of the model.
        gpu_memory_utilization: share of the memory that vLLM may take, in (0, 1].
        max_model_len: tokens of prompt and response; None for what the model can hold.
        engine: further arguments of ``vllm.LLM``.
    """

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True)

    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    tensor_parallel_size: int = pydantic.Field(default=1, gt=0)
    gpu_memory_utilization: float = pydantic.Field(default=0.9, gt=0.0, le=1.0)
    max_model_len: int | None = pydantic.Field(default=None, gt=0)
    engine: dict[str, Any] = {}


@contextlib.contextmanager
def _open(settings: Vllm, model: LentModel) -> Iterator[Ask]:
    try:
        import vllm
    except ImportError as error:
        raise ValueError(
            "generator vllm: vLLM is not installed; run: pip install 'ppx-ext[vllm]', or start it "
            f"as a server elsewhere, `vllm serve {model.name}`, and ask that: "
            "`generator: {use: openai, base_url: http://HOST:8000/v1}`"
        ) from error
    if model.tokenizer is None:
        raise ValueError(f"generator vllm: {model.name!r} has no tokenizer to render prompts with")
    engine = vllm.LLM(**engine_arguments(settings, model))
    yield lambda requests: _answers(vllm, engine, model.tokenizer, requests)


def engine_arguments(settings: Vllm, model: LentModel) -> dict[str, Any]:
    """What ``vllm.LLM`` is made with."""
    return {
        "model": model.name,
        "revision": model.revision,
        "trust_remote_code": model.trust_remote_code,
        "dtype": settings.dtype,
        "tensor_parallel_size": settings.tensor_parallel_size,
        "gpu_memory_utilization": settings.gpu_memory_utilization,
        "max_model_len": settings.max_model_len,
        "generation_config": "vllm",  # how to draw is the request's affair, not the model's
        **settings.engine,
    }


def sampling_arguments(decoding: Decoding, seed: int, ends: Sequence[int]) -> dict[str, Any]:
    """What ``vllm.SamplingParams`` is made with, for one request."""
    return {
        "temperature": decoding.temperature,
        "top_p": decoding.top_p,
        "max_tokens": decoding.max_new_tokens,
        "stop": list(decoding.stop),
        "stop_token_ids": list(ends),
        "seed": seed,
    }


def _answers(
    vllm: Any, engine: Any, tokenizer: Any, requests: Sequence[Request]
) -> Iterator[tuple[int, Response | Failure]]:
    ends, room = end_ids(tokenizer), engine.model_config.max_model_len
    for start in range(0, len(requests), CHUNK):
        fitting = []
        for place, request in enumerate(requests[start : start + CHUNK], start=start):
            ids = _ids(tokenizer, request)
            if 0 < len(ids) < room:
                fitting.append((place, request, ids))
            else:  # one such prompt makes vLLM refuse the whole call
                yield place, Failure(reason=f"the prompt has {len(ids)} tokens, room is for {room}")
        outputs = engine.generate(
            [{"prompt_token_ids": ids} for _, _, ids in fitting],
            [
                vllm.SamplingParams(**sampling_arguments(request.decoding, request.seed, ends))
                for _, request, _ in fitting
            ],
            use_tqdm=False,
        )
        for (place, request, _), output in zip(fitting, outputs, strict=True):
            yield place, _response(request, output.outputs[0])


def _response(request: Request, found: Any) -> Response:
    return Response(
        text=request.prefix + found.text,
        finished=found.finish_reason == "stop",
        tokens=len(found.token_ids),
    )


def _ids(tokenizer: Any, request: Request) -> list[int]:
    text = render(tokenizer, request.prompt, request.prefix)
    return list(tokenizer(text.text, add_special_tokens=text.special)["input_ids"])


def _identity(settings: Vllm) -> dict[str, Any]:
    return settings.model_dump(mode="json", include={"dtype", "max_model_len", "engine"})


def _reproducible(settings: Any, decoding: Decoding) -> bool:
    return False


VLLM = Generator(
    name="vllm",
    paper="",
    settings=Vllm,
    open=_open,
    identity=_identity,
    reproducible=_reproducible,
)
"""Each request has its own seed, but vLLM promises the same tokens only for the same batches."""
