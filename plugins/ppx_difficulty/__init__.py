"""Difficulty and budget: how hard a row is, which rows to train on, and in which order.

In a recipe::

    choose: {use: budget, by: response_length, max_examples: 4000, band: medium}

Measures (``by``; larger = harder): `response_length` (that of arXiv 2605.12906), `nll` and `ifd`
(under the base), `pass_rate` (of samples that a builder drew and a judge judged), `steps` (marks in
the response's text), `column` (yours). Samplers (``use``): `budget`, `curriculum`, `remove_tail`.
"""

from __future__ import annotations

from collections.abc import Sequence

from ppx_difficulty.budget import BUDGET
from ppx_difficulty.columns import COLUMN, PASS_RATE
from ppx_difficulty.curriculum import CURRICULUM
from ppx_difficulty.losses import IFD, NLL
from ppx_difficulty.sampling import PASS_RATE_BUILDER
from ppx_difficulty.tails import REMOVE_TAIL
from ppx_difficulty.texts import RESPONSE_LENGTH, STEPS
from ppx_ext import Builder, ExampleScorer, Sampler, hookimpl


@hookimpl
def ppx_register_scorers() -> Sequence[ExampleScorer]:
    """Measures of a row's difficulty."""
    return [RESPONSE_LENGTH, NLL, IFD, PASS_RATE, STEPS, COLUMN]


@hookimpl
def ppx_register_samplers() -> Sequence[Sampler]:
    """A budget within a band, a curriculum, and all but one tail."""
    return [BUDGET, CURRICULUM, REMOVE_TAIL]


@hookimpl
def ppx_register_builders() -> Sequence[Builder]:
    """Golds with the share of the model's own answers that a judge finds correct."""
    return [PASS_RATE_BUILDER]
