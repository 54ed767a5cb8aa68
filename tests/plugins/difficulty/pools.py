"""Candidates for samplers, made up by Hypothesis."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import strategies as st

import ppx_difficulty
from ppx_ext import Candidates, Choice, catalog
from ppx_ext.choose_stage import check_choice
from ppx_ext.contracts import Sampler

CATALOG = catalog.load([("ppx-ext", ppx_difficulty)])


def pool(scores: Any, *, tokens: Any = None, first: Any = None, strata: Any = None) -> Candidates:
    rows = len(scores)
    return Candidates(
        score_N=np.asarray(scores, dtype=np.float64),
        tokens_N=np.asarray(tokens if tokens is not None else [10] * rows, dtype=np.int64),
        first_N=np.asarray(first if first is not None else range(rows), dtype=np.int64),
        stratum_N=strata,
    )


@st.composite
def pools(draw: st.DrawFn, *, strata: bool = False, least: int = 2) -> Candidates:
    """Rows with ties, duplicates and rows of very different length; never all equally hard."""
    rows = draw(st.integers(least, 60))
    seed = draw(st.integers(0, 10**6))
    rng = np.random.default_rng(seed)
    first = np.arange(rows)
    copies = np.flatnonzero(rng.random(rows) < draw(st.sampled_from([0.0, 0.3])))
    for at in copies[copies > 0]:
        first[at] = first[rng.integers(0, at)]
    scores = rng.integers(0, draw(st.sampled_from([3, 1000])), rows).astype(float)
    scores = scores[first]
    if scores.min() == scores.max():
        scores[first == 0] += 1.0
    if scores.min() == scores.max():
        first, scores = np.arange(rows), np.arange(rows, dtype=float)
    tokens = rng.integers(1, 200, rows)[first]
    named = [["a", "b", "c"][at] for at in rng.integers(0, 3, rows)] if strata else None
    return pool(scores, tokens=tokens, first=first, strata=named)


def choose(name: str, candidates: Candidates, seed: int = 0, **settings: Any) -> Choice:
    """What a sampler chooses; its contract is checked as the stage does."""
    sampler = CATALOG.get("sampler", name, Sampler)
    checked = sampler.settings.model_validate(settings)
    choice = sampler.choose(checked, candidates, np.random.default_rng(seed))
    check_choice(choice, len(candidates), name)
    left = len(candidates) - len(np.unique(choice.index_K))
    assert sum(choice.left_out.values()) == left
    return choice


def alive(candidates: Candidates) -> Any:
    """Rows that are no duplicate of an earlier one."""
    return np.flatnonzero(candidates.first_N == np.arange(len(candidates)))
