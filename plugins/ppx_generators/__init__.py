"""Engines that answer requests: in this process, from a server, over a cluster."""

from __future__ import annotations

from ppx_ext import Generator, hookimpl
from ppx_generators.in_process import TRANSFORMERS
from ppx_generators.in_ray import RAY
from ppx_generators.in_vllm import VLLM
from ppx_generators.server import OPENAI


@hookimpl
def ppx_register_generators() -> list[Generator]:
    """The model itself, here (transformers, vLLM) or over a cluster (Ray), or a server."""
    return [TRANSFORMERS, OPENAI, VLLM, RAY]
