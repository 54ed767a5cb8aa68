"""Checks of what measures and samplers promise."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ppx_ext import codec
from ppx_ext.choose_stage import check_choice
from ppx_ext.contracts import (
    Candidates,
    Choice,
    Example,
    ExampleScorer,
    ModelRef,
    Sampler,
    Scored,
    Tools,
)
from ppx_ext.testing.masks import fake_examples, fake_scores, fake_tools

STRATA = ("a", "b", "c")


def fake_candidates(rows: int = 60, *, seed: int = 0, strata: bool = True) -> Candidates:
    """Rows with ties, duplicates, strata, and lengths from 1 to 199 targets."""
    rng = np.random.default_rng(seed)
    first = np.arange(rows)
    for at in range(7, rows, 7):
        first[at] = first[rng.integers(0, at)]
    score_N = np.round(rng.exponential(2.0, rows), 1)[first]
    names = [STRATA[at] for at in rng.integers(0, len(STRATA), rows)]
    return Candidates(
        score_N=score_N,
        tokens_N=rng.integers(1, 200, rows)[first].astype(np.int64),
        first_N=first.astype(np.int64),
        stratum_N=names if strata else None,
    )


def check_measure(
    measure: ExampleScorer,
    settings: Mapping[str, Any] | None = None,
    *,
    rows: Sequence[Example] | None = None,
    tools: Tools | None = None,
) -> None:
    """Check that a measure keeps its contract.

    One float for each row, NaN or finite, and finite for one at least; the same whatever rows are
    beside it and however often it is asked; scores are left as they were; only declared columns
    are read, and only the declared model is asked.

    Args:
        measure: the component.
        settings: what a recipe would give.
        rows: with the columns that the measure declares; made up where they are not given.
        tools: effects; fakes where they are not given (text is then the ids in words).

    Raises:
        AssertionError: it does not; the message says how.
    """
    checked = measure.settings.model_validate(dict(settings or {}))
    needs = measure.needs(checked)
    names = [need.score for need in needs]
    assert len(set(names)) == len(names), f"needs() names a score twice: {names}"
    examples = list(rows) if rows is not None else fake_examples()
    scored = [_scored(example, names, measure.columns(checked)) for example in examples]
    before = [{name: values.copy() for name, values in one.scores.items()} for one in scored]
    lent = _declared(tools or _fakes(), measure.model(checked))
    together = np.asarray(measure.score(checked, scored, lent))
    _check_shape(together, scored)
    for one, value, scores in zip(scored, together, before, strict=True):
        row = one.example.row
        (alone,) = measure.score(checked, [one], lent)
        assert np.array_equal(alone, value, equal_nan=True), (
            f"row {row}: {alone} alone, {value} beside others"
        )
        for name, values in scores.items():
            assert np.array_equal(values, one.scores[name]), f"row {row}: {name} was changed"
    assert len(measure.score(checked, [], lent)) == 0, "no rows must give no numbers"


def _check_shape(score_N: Any, scored: Sequence[Scored]) -> None:
    assert np.issubdtype(score_N.dtype, np.floating), f"{score_N.dtype} is no float"
    key = codec.Key(name="checked", exact=True, fields={}, each="row")
    try:
        codec.encode_rows(score_N, [one.example for one in scored], key)
    except ValueError as error:
        raise AssertionError(str(error)) from error
    assert np.isfinite(score_N).any(), "every row is NaN: nothing could be measured"


def _scored(example: Example, names: Sequence[str], columns: Sequence[str]) -> Scored:
    missing = [name for name in columns if name not in example.columns]
    assert not missing, f"give rows with the columns {missing}, which the measure declares"
    declared = {name: example.columns[name] for name in columns}
    seen = Example(
        row=example.row,
        ids_T=example.ids_T,
        target_T=example.target_T,
        end_T=example.end_T,
        columns=declared,
    )
    return Scored(
        example=seen,
        scores={name: 1.0 + fake_scores(seen, salt) for salt, name in enumerate(names, start=1)},
    )


def _fakes() -> Tools:
    return Tools(
        token_scores=fake_tools().token_scores,
        decode=lambda ids_T: "\n".join(f"word {token}" for token in ids_T.tolist()),
    )


def _declared(tools: Tools, declared: ModelRef | None) -> Tools:
    def token_scores(examples: Sequence[Example], asked: ModelRef, names: Sequence[str]) -> Any:
        assert asked == declared, f"asks {asked} for scores, but `model` declares {declared}"
        return tools.token_scores(examples, asked, names)

    return Tools(token_scores=token_scores, decode=tools.decode)


def check_sampler(
    sampler: Sampler,
    settings: Mapping[str, Any] | None = None,
    *,
    candidates: Candidates | None = None,
) -> Choice:
    """Check that a sampler keeps its contract; returns what it chose.

    Some of the places, int64, each at most once in an epoch; several epochs only where the order
    is the point; what is left out adds up; the same generator gives the same choice; the
    candidates are left as they were; numbers are plain JSON.

    Args:
        sampler: the component.
        settings: what a recipe would give.
        candidates: to choose from; made up where they are not given.

    Raises:
        AssertionError: it does not; the message says how.
    """
    checked = sampler.settings.model_validate(dict(settings or {}))
    named = sampler.strata(checked) is not None
    pool = candidates or fake_candidates(strata=named)
    before = [pool.score_N.copy(), pool.tokens_N.copy(), pool.first_N.copy()]
    first, again = (sampler.choose(checked, pool, np.random.default_rng(seed=7)) for _ in range(2))
    try:
        check_choice(first, len(pool), sampler.name)
    except ValueError as error:
        raise AssertionError(str(error)) from error
    assert first.index_K.dtype == np.int64, f"index_K is {first.index_K.dtype}, not int64"
    assert np.array_equal(first.index_K, again.index_K), "the same generator gave another choice"
    assert first.ordered or first.epochs == 1, "several epochs are spelled out, but not ordered"
    for name, old in zip(("score_N", "tokens_N", "first_N"), before, strict=True):
        assert np.array_equal(old, getattr(pool, name)), f"{name} was changed"
    if first.window is not None:
        low, high = first.window
        assert 0 <= low < high <= 1, f"the window {first.window} is not one of quantiles"
    numbers = dict(first.numbers)
    assert json.loads(json.dumps(numbers)) == numbers, f"numbers are no plain JSON: {numbers}"
    return first
