"""Self-response data sets: S3FT (arXiv 2502.08130), self-output and rephrase."""

from __future__ import annotations

from ppx_ext import Builder, hookimpl


@hookimpl
def ppx_register_builders() -> list[Builder]:
    """What this package offers."""
    return []
