"""Measures, samplers and a counted base for tests of the choose stage."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pydantic
import pytest
from datasets import Dataset

from ppx_ext import catalog, effects, pipeline, plan, scoring
from ppx_ext.contracts import (
    Candidates,
    Choice,
    ExampleScorer,
    ModelRef,
    Need,
    Sampler,
    Scored,
    TokenScorer,
    Tools,
)
from tests.core import fakes
from tests.models import tiny_model


class MeasureSettings(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="forbid", frozen=True)

    column: str | None = None
    scale: float = 1.0


class TakeSettings(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="forbid", frozen=True)

    count: int = 4
    epochs: int = 1
    strata: str | None = None
    places: tuple[int, ...] | None = None
    told: int | None = None


def length(settings: MeasureSettings, rows: Sequence[Scored], tools: Tools) -> Any:
    """Number of targets, or a column."""
    if settings.column:
        return np.array([float(row.example.columns[settings.column]) for row in rows])
    return np.array([settings.scale * row.example.target_T.sum() for row in rows])


def mean_nll(settings: MeasureSettings, rows: Sequence[Scored], tools: Tools) -> Any:
    return np.array([row.scores["loss"].mean() for row in rows])


def asked(settings: MeasureSettings, rows: Sequence[Scored], tools: Tools) -> Any:
    examples = [row.example for row in rows]
    return np.array([s["nll"].mean() for s in tools.token_scores(examples, ModelRef(), ["nll"])])


def words(settings: MeasureSettings, rows: Sequence[Scored], tools: Tools) -> Any:
    assert tools.decode is not None
    return np.array([len(tools.decode(row.example.ids_T[row.example.target_T])) for row in rows])


def model_nll(settings: fakes.ScorerSettings, examples: Any, tools: Tools) -> Any:
    return [s["nll"] for s in tools.token_scores(examples, ModelRef(), ["nll"])]


def take(settings: TakeSettings, candidates: Candidates, rng: np.random.Generator) -> Choice:
    """The easiest rows, once for each epoch, each time the other way round."""
    order = np.argsort(candidates.score_N, kind="stable")[: settings.count]
    passes = [order[:: 1 - 2 * (epoch % 2)] for epoch in range(settings.epochs)]
    index_K = np.concatenate(passes) if settings.places is None else np.array(settings.places)
    told = len(candidates) - len(order) if settings.told is None else settings.told
    return Choice(
        index_K=index_K,
        ordered=True,
        epochs=settings.epochs,
        window=(0.0, 0.5),
        left_out={"over the budget": told} if told else {},
        notes=("as told",),
    )


def draw(settings: TakeSettings, candidates: Candidates, rng: np.random.Generator) -> Choice:
    return Choice(index_K=rng.permutation(len(candidates))[: settings.count])


def _measure(name: str, score: Any, **given: Any) -> ExampleScorer:
    return ExampleScorer(name=name, paper="none", settings=MeasureSettings, score=score, **given)


MEASURES = (
    _measure(
        "length", length, columns=lambda s: [s.column] if s.column else [], unit="target tokens"
    ),
    _measure("loss", mean_nll, needs=lambda s: [Need(score="loss", scorer="model")]),
    _measure("asked", asked, model=lambda s: ModelRef()),
    _measure("undeclared", asked),
    _measure("words", words),
)
MODEL = TokenScorer(
    name="model",
    paper="none",
    settings=fakes.ScorerSettings,
    score=model_nll,
    model=lambda settings: ModelRef(),
)
SAMPLERS = (
    Sampler(
        name="take", paper="none", settings=TakeSettings, choose=take, strata=lambda s: s.strata
    ),
    Sampler(name="draw", paper="none", settings=TakeSettings, choose=draw),
)


def method() -> catalog.Catalog:
    offered = fakes.module(
        ppx_register_scorers=[fakes.MOD, MODEL, *MEASURES],
        ppx_register_masks=[fakes.BELOW],
        ppx_register_samplers=list(SAMPLERS),
    )
    return catalog.load([("fake-method", offered)])


def parse(found: catalog.Catalog, *, mask: Any = None, **block: Any) -> plan.Plan:
    own = ("shard_rows", "seed", "max_skipped_share")
    top = {"shard_rows": 3} | {key: block.pop(key) for key in own if key in block}
    choose = {"use": "take", "by": "length", **block}
    return plan.parse({"choose": choose, **top, **({"mask": mask} if mask else {})}, found)


class Counted:
    """A tiny model, and the number of rows that were scored under it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.model = tiny_model("llama")
        self.rows = 0
        score = scoring.token_scores

        def counted(model: Any, ids: Any, targets: Any, **given: Any) -> Any:
            self.rows += len(ids)
            return score(model, ids, targets, **given)

        monkeypatch.setattr(scoring, "token_scores", counted)

    def base(self) -> effects.Base:
        return effects.base_from_model(self.model)


def choose(rows: Dataset, folder: Path, **given: Any) -> pipeline.Chosen:
    found = method()
    base = given.pop("base", None) or fakes.base()
    return pipeline.choose_dataset(
        rows,
        plan=parse(found, **given),
        catalog=found,
        base=base,
        tokenizer=fakes.tokenizer(),
        store=folder,
    )


def tokenized(rows: Dataset, base: Any = None, **given: Any) -> pipeline.Tokenized:
    found = method()
    return fakes.tokenized(rows, found, plan=parse(found, **given), base=base)


def lengths(rows: Dataset) -> list[int]:
    """Targets of each row, of which token 0 is none."""
    return [sum(label >= 0 for label in labels[1:]) for labels in rows["labels"]]
