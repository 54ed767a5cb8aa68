"""A stand-in for measures and samplers: difficulty is a column of the user's, order is plain."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import numpy as np
import pydantic
import pytest

from ppx_ext import Candidates, Choice, ExampleScorer, Sampler, Scored, Tools, catalog, hookimpl

NOTED = "noted"
"""The column that holds a row's difficulty."""


class Nothing(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="forbid", frozen=True)


class Passes(Nothing):
    epochs: int = 1


class Few(Nothing):
    count: int
    strata: str | None = None


def score(settings: Nothing, rows: Sequence[Scored], tools: Tools) -> Any:
    return np.array([float(row.example.columns[NOTED]) for row in rows])


def climb(settings: Passes, candidates: Candidates, rng: np.random.Generator) -> Choice:
    """Easy to hard, then hard to easy, and so on: one pass after the other."""
    up = np.argsort(candidates.score_N)
    passes = [up[:: 1 if epoch % 2 == 0 else -1] for epoch in range(settings.epochs)]
    return Choice(index_K=np.concatenate(passes), ordered=True, epochs=settings.epochs)


def easiest(settings: Few, candidates: Candidates, rng: np.random.Generator) -> Choice:
    """So many of the easiest rows, of each stratum where there are strata."""
    order = np.argsort(candidates.score_N)
    if candidates.stratum_N is None:
        return Choice(index_K=np.sort(order[: settings.count]))
    found: list[int] = []
    for name in sorted(set(candidates.stratum_N)):
        mine = [int(at) for at in order if candidates.stratum_N[at] == name]
        found += mine[: settings.count]
    return Choice(index_K=np.array(sorted(found)), notes=("taken by strata",))


@hookimpl
def ppx_register_scorers() -> list[ExampleScorer]:
    return [
        ExampleScorer(
            name="noted",
            paper="none",
            settings=Nothing,
            score=score,
            columns=lambda settings: (NOTED,),
            unit="points",
        )
    ]


@hookimpl
def ppx_register_samplers() -> list[Sampler]:
    return [
        Sampler(name="climb", paper="none", settings=Passes, choose=climb),
        Sampler(
            name="easiest",
            paper="none",
            settings=Few,
            choose=easiest,
            strata=lambda settings: settings.strata,
        ),
    ]


def install(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make this module an installed method, for this process."""
    found = [*catalog._installed(), ("choices", sys.modules[__name__])]
    monkeypatch.setattr(catalog, "_installed", lambda: found)


def block(sampler: str, **settings: Any) -> dict[str, Any]:
    """A `choose:` stage that asks this stand-in."""
    return {"use": sampler, "by": "noted", **settings}


def noted(rows: int) -> list[int]:
    """Difficulty of each row: no two alike, in no order."""
    return [(7 * row + 3) % rows for row in range(rows)]


def easy_to_hard(rows: int) -> list[int]:
    """The rows, by difficulty."""
    return sorted(range(rows), key=noted(rows).__getitem__)
