"""The layout of report.json: models that check it, and the JSON Schema made of them.

`SCHEMA` is its version: another number means another layout. Accuracies are in percent, changes in
points of percent, relative changes (TI, BWT) in percent, intervals at 95 %; a number that has no
value is null. Where a study or a stage has keys of its own beside those named here, they are kept.
"""

from __future__ import annotations

import json
from typing import Any, Literal

from pydantic import Field

from ppx_ext.reporting.schema_run import Closed, Forgetting, Open, Training

SCHEMA = 2

Kind = Literal["demo", "comparison", "training", "evaluation", "prepared"]


class Stage(Open):
    """What one stage of preparation did."""

    stage: str
    component: str
    fingerprint: str
    settings: dict[str, Any]
    numbers: dict[str, Any]


class StudyArm(Open):
    """One way of tuning, over its seeds; ``intervals`` are over items, [low, high] or null."""

    name: str
    n: int = Field(description="How many seeds.")
    runs: list[dict[str, Any]]
    mean: dict[str, Any]
    sd: dict[str, Any]
    intervals: dict[str, tuple[float, float] | None]


class Study(Open):
    """A comparison (`study.analyse`): base, arms, and tests between them."""

    base: dict[str, Any]
    arms: list[StudyArm]
    tests: list[dict[str, Any]]
    frontier: list[str] = Field(description="Names that none is better than on both counts.")
    verdict: list[str]
    warnings: list[str]


class Score(Open):
    """One model on one task, item by item."""

    task: str
    target: bool
    correct: list[float]


class Run(Open):
    """One measured model."""

    seed: int | None
    numbers: dict[str, Any]
    scores: list[Score]


class ItemsArm(Closed):
    """The runs of one arm."""

    name: str
    runs: list[Run]


class Items(Closed):
    """Every item's result: all numbers of `study` come from these."""

    base: Run
    arms: list[ItemsArm]


class Example(Open):
    """A question with the answers of each model."""

    task: str
    prompt: str
    right: str
    answers: dict[str, str]


class TokenRow(Closed):
    """Numbers of a row whose tokens the page shows."""

    row: int
    targets: int
    masked: int
    loss_kept: float | None
    perplexity: float | None


class Report(Closed):
    """What a run left behind, as ``ppx report`` reads it."""

    schema_version: Literal[2] = Field(alias="schema", description="Of this layout.")
    kind: Kind
    title: str
    verdict: list[str] = Field(description="Sentences: what the numbers show.")
    warnings: list[str] = Field(description="What to know before believing them.")
    notes: list[str] = Field(description="What this report leaves out, and why.")
    study: Study | None = Field(description="Null where nothing was compared.")
    items: Items | None
    comparison: dict[str, Any] | None = Field(description="What `ppx compare` says of its arms.")
    forgetting: Forgetting | None
    training: dict[str, Training] = Field(description="Of the run (``), or of each arm's first.")
    stages: list[Stage]
    choosing: list[Stage] = Field(description="Of samplers: which rows are trained on.")
    masking: dict[str, Any] | None = Field(description="Numbers of the mask.")
    building: list[Stage] = Field(description="Of builders: whose words the targets are.")
    tokens: list[TokenRow]
    examples: list[Example]
    repeat: dict[str, Any] = Field(description="Command, recipe, settings and versions.")
    sources: list[str] = Field(description="Names of the files all this was read from.")


def json_schema() -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) of report.json."""
    found = Report.model_json_schema(by_alias=True)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **found}


def check(report: dict[str, Any]) -> None:
    """Make sure that a report is one.

    Raises:
        pydantic.ValidationError: it is not; the keys are named.
    """
    Report.model_validate_json(json.dumps(report, allow_nan=False))
