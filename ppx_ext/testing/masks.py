"""Fakes and checks for masks and token scorers."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ppx_ext import codec, masking
from ppx_ext.contracts import Example, Mask, ModelRef, Scored, TokenScorer, Tools
from ppx_ext.stages import Stage

if TYPE_CHECKING:
    from ppx_ext.contracts import Bools, Floats

VOCABULARY = 100
END = 2
_NAMES = ("nll", "entropy", "rank")


def fake_examples(rows: int = 8, *, seed: int = 0) -> list[Example]:
    """Random rows of 4 to 40 tokens: a prompt, and a response of one target or more with an end."""
    rng = np.random.default_rng(seed)
    return [_fake_example(row, rng) for row in range(rows)]


def _fake_example(row: int, rng: np.random.Generator) -> Example:
    tokens = int(rng.integers(4, 41))
    ids_T = rng.integers(3, VOCABULARY, tokens).astype(np.int32)
    ids_T[-1] = END
    target_T = np.arange(tokens) >= rng.integers(1, tokens)
    return Example(row=row, ids_T=ids_T, target_T=target_T, end_T=target_T & (ids_T == END))


def fake_tools() -> Tools:
    """Tools whose scores are a pure function of a token and its place; no model is there."""
    return Tools(token_scores=_fake_token_scores)


def _fake_token_scores(
    examples: Sequence[Example], model: ModelRef, names: Sequence[str]
) -> list[Mapping[str, Floats]]:
    unknown = set(names) - set(_NAMES)
    if unknown:
        raise ValueError(f"no score is called {', '.join(sorted(unknown))}; there are {_NAMES}")
    salt = int.from_bytes(hashlib.blake2b(repr(model).encode(), digest_size=4).digest(), "big")
    return [
        {name: fake_scores(example, salt + 1 + _NAMES.index(name)) for name in names}
        for example in examples
    ]


def fake_scores(example: Example, salt: int) -> Floats:
    """Scores of a row's targets, float32 (R,): a pure function of tokens, places and ``salt``."""
    places = np.flatnonzero(example.target_T)
    mixed = (example.ids_T[places].astype(np.int64) * 7919 + places * 104729 + salt) % 1009
    return (mixed / 1009 * 8.0).astype(np.float32)


def check_mask(
    mask: Mask,
    settings: Mapping[str, Any] | None = None,
    *,
    scored: Sequence[Scored] | None = None,
) -> None:
    """Check that a mask keeps its contract.

    One bool for each target; the same whatever rows are beside it and however often it is asked;
    scores and examples are left as they were; the fitted state is plain JSON; ``needs`` names
    each score once; and an online mask can be fitted without any row.

    Args:
        mask: the component.
        settings: what a recipe would give; its settings model checks them.
        scored: rows with all the scores that the mask needs; made up where they are not given.

    Raises:
        AssertionError: it does not; the message says how.
    """
    checked = mask.settings.model_validate(dict(settings or {}))
    stage = Stage(component=mask, settings=checked)
    needed = [need.score for need in mask.needs(checked)]
    assert len(set(needed)) == len(needed), f"needs() names a score twice: {needed}"
    rows = list(scored) if scored is not None else _scored(needed)
    before = [{name: values.copy() for name, values in row.scores.items()} for row in rows]
    state = masking.fit(stage, rows)
    assert json.loads(json.dumps(state)) == state, f"fit() must return plain JSON, not {state!r}"
    forward = [_keep(stage, state, row) for row in rows]
    backward = [_keep(stage, state, row) for row in reversed(rows)][::-1]
    for row, first, again, scores in zip(rows, forward, backward, before, strict=True):
        number = row.example.row
        assert np.array_equal(first, again), f"row {number}: another answer on the second call"
        for name, values in scores.items():
            assert np.array_equal(values, row.scores[name]), f"row {number}: {name} was changed"
        keep_T = masking.expand(row.example, first)
        assert not (keep_T & ~row.example.target_T).any(), f"row {number}: keeps what is no target"
    if mask.online(checked):
        assert masking.fit(stage, []) == state, "online() is True, but fit() hangs on the data"


def _keep(stage: Stage[Mask], state: Mapping[str, Any], row: Scored) -> Bools:
    return masking.keep_targets(stage, state, row, seed=0)


def _scored(names: Sequence[str]) -> list[Scored]:
    rows = fake_examples()
    return [
        Scored(
            example=row,
            scores={
                # At least 1: fit for an nll, for a perplexity and for an entropy.
                name: 1.0 + fake_scores(row, salt)
                for salt, name in enumerate(names, start=1)
            },
        )
        for row in rows
    ]


def check_token_scorer(
    scorer: TokenScorer,
    settings: Mapping[str, Any] | None = None,
    *,
    examples: Sequence[Example] | None = None,
    tools: Tools | None = None,
) -> None:
    """Check that a scorer keeps its contract.

    One finite float for each target of each row; the same whatever rows are beside it and however
    often it is asked; fit to be stored; a declared column is the only one that it reads.

    Args:
        scorer: the component.
        settings: what a mask's need would give.
        examples: rows, with the columns that the scorer declares.
        tools: effects; fakes where they are not given.

    Raises:
        AssertionError: it does not; the message says how.
    """
    checked = scorer.settings.model_validate(dict(settings or {}))
    rows = list(examples) if examples is not None else fake_examples()
    lent = tools or fake_tools()
    declared = set(scorer.columns(checked))
    rows = [_with_columns(row, declared) for row in rows]
    together = scorer.score(checked, rows, lent)
    assert len(together) == len(rows), f"{len(together)} results for {len(rows)} rows"
    key = codec.Key(name="checked", exact=scorer.exact, fields={})
    try:
        codec.encode_rows(together, rows, key)
    except ValueError as error:
        raise AssertionError(str(error)) from error
    for row, values in zip(rows, together, strict=True):
        assert np.issubdtype(values.dtype, np.floating), f"row {row.row}: {values.dtype}, no float"
        (alone,) = scorer.score(checked, [row], lent)
        assert np.array_equal(alone, values), f"row {row.row}: another score without its neighbours"
    assert list(scorer.score(checked, [], lent)) == [], "no rows must give no results"


def _with_columns(row: Example, declared: set[str]) -> Example:
    columns = {name: value for name, value in row.columns.items() if name in declared}
    return Example(
        row=row.row, ids_T=row.ids_T, target_T=row.target_T, end_T=row.end_T, columns=columns
    )
