"""Suites that measure target skill and forgetting on tasks outside the target's domain."""

from __future__ import annotations

from collections.abc import Sequence

from ppx_ext import EvalSuite, hookimpl
from ppx_ood.code import CODE
from ppx_ood.harness import LM_EVAL
from ppx_ood.perplexity import PERPLEXITY
from ppx_ood.tasks import TASKS


@hookimpl
def ppx_register_eval_suites() -> Sequence[EvalSuite]:
    """Tasks of lm-evaluation-harness and the user's own, programs, and held-out texts."""
    return [CODE, LM_EVAL, PERPLEXITY, TASKS]
