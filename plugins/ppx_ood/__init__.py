"""Suites that measure target skill and forgetting on tasks outside the target's domain."""

from __future__ import annotations

from collections.abc import Sequence

from ppx_ext import EvalSuite, hookimpl
from ppx_ood.exact_match import EXACT_MATCH


@hookimpl
def ppx_register_eval_suites() -> Sequence[EvalSuite]:
    """The user's own tasks, graded by their final answers."""
    return [EXACT_MATCH]
