"""Engines that answer requests: in this process, from a server, over a cluster."""

from __future__ import annotations

from ppx_ext import Generator, hookimpl


@hookimpl
def ppx_register_generators() -> list[Generator]:
    """What this package offers."""
    return []
