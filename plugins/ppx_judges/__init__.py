"""Judges of responses: mathematics, code in a sandbox, questions, choices, a model as the judge."""

from __future__ import annotations

from ppx_ext import Judge, hookimpl


@hookimpl
def ppx_register_judges() -> list[Judge]:
    """What this package offers."""
    return []
