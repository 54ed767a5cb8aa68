"""A small method, whole rows and a base for tests of the flow: real code, no model."""

from __future__ import annotations

import functools
import types
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pydantic
from datasets import Dataset

from ppx_ext import catalog, hookimpl, pipeline, plan
from ppx_ext.contracts import Example, Mask, ModelRef, Need, TokenScorer, Tools
from ppx_ext.effects import Base

IGNORE = -100


class ScorerSettings(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="forbid", frozen=True)

    factor: float = 1.0
    column: str | None = None
    log: str | None = None


class MaskSettings(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="forbid", frozen=True)

    line: float = 4.0
    factor: float = 1.0
    column: str | None = None
    scorer: str = "mod"


def mod_score(settings: ScorerSettings, examples: Sequence[Example], tools: Tools) -> list[Any]:
    """The id modulo 8 (times ``factor``): a score that can be told in the head."""
    if settings.column:
        return [np.asarray(example.columns[settings.column]) for example in examples]
    return [settings.factor * (example.ids_T[example.target_T] % 8.0) for example in examples]


def need(settings: MaskSettings) -> list[Need]:
    given = {"factor": settings.factor, "column": settings.column}
    return [Need(score="nll", scorer=settings.scorer, settings=given)]


MOD = TokenScorer(
    name="mod",
    paper="none",
    settings=ScorerSettings,
    score=mod_score,
    model=lambda settings: None if settings.column else ModelRef(),
    columns=lambda settings: [settings.column] if settings.column else [],
)
BELOW = Mask(
    name="below",
    paper="none",
    settings=MaskSettings,
    needs=need,
    fit=lambda settings, scored: {"nll_threshold": settings.line},
    keep=lambda settings, state, scored, rng: scored.scores["nll"] <= settings.line,
)


def module(name: str = "fake", **hooks: Any) -> types.ModuleType:
    """A plugin's module with these hooks."""
    made = types.ModuleType(name)
    for hook, value in hooks.items():
        setattr(made, hook, value if callable(value) else _returns(value))
    return made


def _returns(value: Any) -> Any:
    @hookimpl
    def offer() -> Any:
        return value

    return offer


def method(*, scorers: Sequence[Any] = (MOD,), masks: Sequence[Any] = (BELOW,)) -> catalog.Catalog:
    offered = module(ppx_register_scorers=list(scorers), ppx_register_masks=list(masks))
    return catalog.load([("fake-method", offered)])


def base(fingerprint: str = "weights") -> Base:
    def load() -> Any:
        raise AssertionError("no model is needed here")

    return Base(name="fake-base", load=load, fingerprint=lambda: fingerprint)


@functools.cache
def tokenizer() -> Any:
    from tests.models import tiny_tokenizer

    return tiny_tokenizer()


def dataset(rows: int = 10, *, seed: int = 0, **columns: Any) -> Dataset:
    """Rows of 4 to 12 random ids; the second half of each is its response, ended by id 2."""
    rng = np.random.default_rng(seed)
    ids = [[*rng.integers(3, 300, rng.integers(3, 12)).tolist(), 2] for _ in range(rows)]
    labels = [[IGNORE] * (len(row) // 2) + row[len(row) // 2 :] for row in ids]
    return Dataset.from_dict({"input_ids": ids, "labels": labels, **columns})


def parse(found: catalog.Catalog, *, shard_rows: int = 4, **mask: Any) -> plan.Plan:
    return plan.parse({"mask": {"use": "below", **mask}, "shard_rows": shard_rows}, found)


def tokenized(rows: Dataset, found: catalog.Catalog | None = None, **given: Any) -> Any:
    found = found or method()
    which = given.pop("base", None) or base()
    return pipeline.Tokenized(
        dataset=rows,
        tokenizer=given.pop("tokenizer", None) or tokenizer(),
        base=which,
        plan=given.pop("plan", None) or parse(found, **given),
        catalog=found,
    )


def files(folder: Path, *, besides: Sequence[str] = ("timings.json",)) -> dict[str, bytes]:
    """Every file below a folder with its bytes."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name not in besides
    }
