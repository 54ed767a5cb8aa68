"""Self-response data sets: S3FT (arXiv 2502.08130), self-output and rephrase."""

from __future__ import annotations

from ppx_ext import Builder, hookimpl
from ppx_s3ft.rephrase import REPHRASE
from ppx_s3ft.s3ft import S3FT
from ppx_s3ft.self_output import SELF_OUTPUT


@hookimpl
def ppx_register_builders() -> list[Builder]:
    """S3FT, and the two ways that STM's paper compares with."""
    return [S3FT, SELF_OUTPUT, REPHRASE]
