"""Engines that answer requests: in this process, from a server, over a cluster."""

from __future__ import annotations

from ppx_ext import Generator, hookimpl
from ppx_generators.in_process import TRANSFORMERS
from ppx_generators.in_vllm import VLLM
from ppx_generators.server import OPENAI


@hookimpl
def ppx_register_generators() -> list[Generator]:
    """The model itself, in transformers or in vLLM, or a server that speaks OpenAI's protocol."""
    return [TRANSFORMERS, OPENAI, VLLM]
