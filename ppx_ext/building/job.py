"""One data set that is to be built: its rows, and all that the result depends on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ppx_ext.answering import Generator
from ppx_ext.building import golds
from ppx_ext.building.golds import Gold
from ppx_ext.catalog import Catalog
from ppx_ext.effects import Base
from ppx_ext.files import fingerprint
from ppx_ext.manifest import tokenizer_fingerprint
from ppx_ext.plan import Plan
from ppx_ext.scored import version_of
from ppx_ext.stages import Stage

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase as Tokenizer


@dataclass(frozen=True, kw_only=True)
class Job:
    """One data set that is to be built.

    Attributes:
        rows: all rows that can be trained on.
        read: rows and skipped rows, as `Skips.numbers` has them.
        inputs: all that the result depends on, as plain JSON values.
        command: what a reader can run to have the same.
    """

    rows: list[Gold]
    read: Mapping[str, object]
    plan: Plan
    builder: Stage[Any]
    catalog: Catalog
    base: Base
    tokenizer: Tokenizer
    root: Path
    inputs: Mapping[str, Any]
    command: str

    @property
    def fingerprint(self) -> str:
        """Hash of ``inputs``."""
        return fingerprint(self.inputs)

    @property
    def folder(self) -> Path:
        """Where it is built: changed inputs are another folder."""
        return self.root / f"{self.builder.component.name}-{self.fingerprint}"


def inputs_of(
    rows: list[Gold],
    read: Mapping[str, object],
    *,
    plan: Plan,
    catalog: Catalog,
    base: Base,
    tokenizer: Tokenizer,
) -> dict[str, Any]:
    """All that the result depends on, as plain JSON values."""
    assert plan.build is not None
    assert plan.generator is not None
    parts = [("builder", plan.build.component.name)]
    parts += [("generator", engine.name) for engine in _engines(plan)]
    parts += [("judge", judge.stage.component.name) for judge in plan.judges]
    return {
        "data": {"fingerprint": golds.digest(rows), **read},
        "build": settings_of(plan),
        "judges": [judge.stage.component.version() for judge in plan.judges],
        "model": model_of(plan, base),
        "tokenizer": tokenizer_fingerprint(tokenizer),
        "seed": plan.seed,
        "versions": {f"{kind} {name}": version_of(catalog, kind, name) for kind, name in parts},
    }


def _engines(plan: Plan) -> list[Generator]:
    stages = [plan.generator, *(judge.generator for judge in plan.judges)]
    return [stage.component for stage in stages if stage is not None]


def model_of(plan: Plan, base: Base) -> dict[str, Any]:
    """What is known of the model: its weights, unless all that is asked of it is on a server."""
    assert plan.build is not None
    scored = plan.build.component.scored(plan.build.settings)
    name = {"name": base.name, "revision": base.revision}
    if not scored and all(engine.remote for engine in _engines(plan)):
        return name
    return {**name, "fingerprint": base.fingerprint(), "dtype": plan.scoring.dtype}


def settings_of(plan: Plan) -> dict[str, Any]:
    """A plan's `build:` block in full; of engines only what can change an answer."""
    assert plan.build is not None
    judges = []
    for judge in plan.judges:
        own = {"generator": _engine(judge.generator)} if judge.generator else {}
        judges.append({**judge.stage.dump(), **own})
    generator = _engine(plan.generator) if plan.generator else None
    return {**plan.build.dump(), "judge": judges, "generator": generator}


def _engine(stage: Stage[Generator]) -> dict[str, Any]:
    return {"use": stage.component.name, **stage.component.identity(stage.settings)}
