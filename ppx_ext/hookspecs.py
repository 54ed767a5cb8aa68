"""The hooks through which a method joins. An implementation returns values and is called once,
when the catalog is loaded; it can be called bare in a test. It must not import torch at import.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pluggy

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from ppx_ext import answering as a
    from ppx_ext import contracts as c
    from ppx_ext import suites as s

hookspec = pluggy.HookspecMarker("ppx_ext")
hookimpl = pluggy.HookimplMarker("ppx_ext")


@hookspec
def ppx_register_scorers() -> Sequence[c.TokenScorer | c.ExampleScorer]:  # type: ignore[empty-body]
    """Scores of tokens or of whole rows; larger = harder."""


@hookspec
def ppx_register_masks() -> Sequence[c.Mask]:  # type: ignore[empty-body]
    """Masks: which targets keep their loss."""


@hookspec
def ppx_register_builders() -> Sequence[a.Builder]:  # type: ignore[empty-body]
    """Builders of data sets: rows -> rows."""


@hookspec
def ppx_register_judges() -> Sequence[a.Judge]:  # type: ignore[empty-body]
    """Judges of responses: correct, wrong or cannot tell."""


@hookspec
def ppx_register_generators() -> Sequence[a.Generator]:  # type: ignore[empty-body]
    """Engines that answer prompts."""


@hookspec
def ppx_register_samplers() -> Sequence[c.Sampler]:  # type: ignore[empty-body]
    """Samplers: which rows, in which order."""


@hookspec
def ppx_register_eval_suites() -> Sequence[s.EvalSuite]:  # type: ignore[empty-body]
    """Suites of tasks that measure target skill and forgetting."""


@hookspec
def ppx_register_recipes() -> Path:  # type: ignore[empty-body]
    """A folder of recipes, ``<method>/<model>/<task>.{axolotl,trl}.yaml``."""


@hookspec
def ppx_stage_finished(record: c.StageRecord) -> None:
    """Called after each stage of preparation with what it did. For observers; returns nothing."""
