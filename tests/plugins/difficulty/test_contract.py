"""Every measure and sampler keeps its contract, and the checks find those that do not."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

from ppx_ext import Choice, testing
from ppx_ext.contracts import ExampleScorer, ModelRef, Sampler
from tests.plugins.difficulty.pools import CATALOG


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("response_length", {}),
        ("nll", {}),
        ("ifd", {}),
        ("ifd", {"ratio": "loss"}),
        ("steps", {"pattern": "lines"}),
        ("steps", {"pattern": "[3-7]"}),
        ("column", {"column": "mine"}),
        ("pass_rate", {}),
    ],
)
def test_measures(name: str, settings: dict[str, Any]) -> None:
    rows = [
        dataclasses.replace(one, columns={"mine": at * 2.5, "ppx_pass_rate": at / 8, "other": "x"})
        for at, one in enumerate(testing.fake_examples())
    ]
    testing.check_measure(CATALOG.get("measure", name, ExampleScorer), settings, rows=rows)


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("budget", {"max_examples": 20}),
        ("budget", {"max_tokens": 900, "band": "hard", "take": "hardest"}),
        ("budget", {"max_examples": 10, "band": "auto"}),
        ("budget", {"max_examples": 10, "strata": "kind", "share": "equal"}),
        ("curriculum", {}),
        ("curriculum", {"order": "staged", "epochs": 3, "replay": 0.25}),
        ("remove_tail", {"drop": "easiest"}),
    ],
)
def test_samplers(name: str, settings: dict[str, Any]) -> None:
    testing.check_sampler(CATALOG.get("sampler", name, Sampler), settings)


def test_every_component_is_checked_here() -> None:
    assert CATALOG.names("sampler") == ["budget", "curriculum", "remove_tail"]
    assert CATALOG.names("measure") == [
        "column",
        "ifd",
        "nll",
        "pass_rate",
        "response_length",
        "steps",
    ]


LENGTH = CATALOG.get("measure", "response_length", ExampleScorer)
BUDGET = CATALOG.get("sampler", "budget", Sampler)


@pytest.mark.parametrize(
    ("score", "words"),
    [
        (lambda s, rows, tools: np.arange(len(rows) + 1.0), "returned shape"),
        (lambda s, rows, tools: np.arange(float(len(rows))), "alone,"),
        (lambda s, rows, tools: np.full(len(rows), np.inf), "is inf"),
        (lambda s, rows, tools: np.full(len(rows), np.nan), "every row is NaN"),
        (lambda s, rows, tools: np.ones(len(rows), dtype=int), "is no float"),
        (
            lambda s, rows, tools: np.array(
                [
                    x["nll"].mean()
                    for x in tools.token_scores([r.example for r in rows], ModelRef(), ["nll"])
                ]
            ),
            "declares None",
        ),
    ],
)
def test_a_measure_that_breaks_its_contract(score: Any, words: str) -> None:
    with pytest.raises(AssertionError, match=words):
        testing.check_measure(dataclasses.replace(LENGTH, score=score))


@pytest.mark.parametrize(
    ("choose", "words"),
    [
        (lambda s, c, rng: Choice(index_K=np.array([0, 0])), "a row 2 times"),
        (lambda s, c, rng: Choice(index_K=np.array([99])), "outside 0 to 59"),
        (lambda s, c, rng: Choice(index_K=np.array([1], dtype=np.int32)), "not int64"),
        (lambda s, c, rng: Choice(index_K=np.array([0, 0]), epochs=2), "but not ordered"),
        (
            lambda s, c, rng: Choice(index_K=np.array([0]), window=(0.5, 0.2)),
            "not one of",
        ),
        (lambda s, c, rng: Choice(index_K=np.array([0]), numbers={1: 2}), "no plain JSON"),
        (
            lambda s, c, rng: Choice(index_K=np.random.default_rng().permutation(60)),
            "gave another choice",
        ),
    ],
)
def test_a_sampler_that_breaks_its_contract(choose: Any, words: str) -> None:
    with pytest.raises(AssertionError, match=words):
        testing.check_sampler(dataclasses.replace(BUDGET, choose=choose), {"max_examples": 1})
