"""The layout of report.json: models that check it, and the JSON Schema made of them.

`SCHEMA` is its version: another number means another layout. Accuracies are in percent, changes in
points of percent, relative changes (TI, BWT) in percent, intervals at 95 %; a number that has no
value is null. Where a study or a stage has keys of its own beside those named here, they are kept.
"""

from __future__ import annotations

import json
from typing import Any, Literal

import pydantic
from pydantic import Field

SCHEMA = 2

Kind = Literal["demo", "comparison", "training", "evaluation", "prepared"]


class _Closed(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="forbid", strict=True)


class _Open(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="allow")


class Level(_Closed):
    """Accuracy of one model on one task."""

    accuracy: float = Field(description="In percent.")
    low: float | None = Field(description="Lower end of the interval.")
    high: float | None = Field(description="Upper end.")
    items: int


class Shift(_Closed):
    """A change between two models on the same items."""

    points: float
    low: float
    high: float
    p: float | None = Field(description="Of the exact McNemar test, where it applies.")
    significant: bool = Field(description="At the 5 % level.")
    words: str = Field(description="The judgement, with the test that made it.")


class Perplexity(_Closed):
    """Of held-out texts under one model: exp of the mean NLL over all tokens."""

    perplexity: float | None = Field(description="Null where it is beyond what a float holds.")
    low: float | None
    high: float | None
    texts: int
    tokens: int


class Times(_Closed):
    """How many times as high a perplexity is as it was."""

    times: float | None
    low: float | None
    high: float | None
    significant: bool
    words: str


class GateDrop(_Closed):
    """What was lost, beside its limit."""

    name: str = Field(description="Of the task, or `average`.")
    drop: float = Field(description="In points; below 0 is a gain.")
    limit: float
    low: float | None
    high: float | None
    breached: bool
    words: str


class GateChecked(_Closed):
    """An evaluation against the gate."""

    ok: bool
    words: str
    drops: list[GateDrop]


class Evaluated(_Closed):
    """One evaluation of a run."""

    when: Literal["before", "during", "after"]
    name: str | None = Field(description="Of the model, where one folder has several.")
    step: int
    epoch: float | None
    seconds: float
    kept: bool = Field(description="Whether the run ended with these weights, chosen among others.")
    target: float | None = Field(description="Mean accuracy of the target tasks.")
    other: float | None = Field(description="Mean accuracy of the other tasks.")
    drop: Shift | None = Field(description="Average drop against the first; above 0 is lost.")
    tasks: dict[str, Level]
    texts: dict[str, Perplexity]
    gate: GateChecked | None


class TaskChange(_Closed):
    """One task before and after."""

    task: str
    target: bool
    before: Level
    after: Level
    change: Shift | None = Field(description="Null where the task has a single item.")


class ReadingChange(TaskChange):
    """One way to read the responses of a task, before and after."""

    reading: str = Field(description="For instance `strict` or `flexible`.")


class TextChange(_Closed):
    """Held-out texts before and after."""

    task: str
    before: Perplexity
    after: Perplexity
    change: Times


class Summary(_Closed):
    """The papers' numbers of one model against its base."""

    ti: float | None = Field(description="Target improvement, percent of the base's score.")
    bwt: float | None = Field(description="Backward transfer, in percent; below 0 is forgetting.")
    drop: float | None = Field(description="Average drop of the other tasks, in points.")
    ti_interval: tuple[float, float] | None
    bwt_interval: tuple[float, float] | None
    drop_interval: tuple[float, float] | None
    undefined: list[str] = Field(description="One sentence for each number without a value.")


class Cost(_Open):
    """What the evaluations cost."""

    seconds: float
    training_seconds: float | None = None
    share: float | None = Field(default=None, description="Of the training time; 1 is all of it.")


class Forgetting(_Closed):
    """Evaluations of one run, in order, and the last against the first."""

    gate: dict[str, Any] | None = Field(description="Limits of forgetting, as the recipe has them.")
    keep: str | None = Field(description="`last` or `best`.")
    summary: Summary | None
    evaluations: list[Evaluated]
    tasks: list[TaskChange]
    readings: list[ReadingChange]
    texts: list[TextChange]
    cost: Cost | None


class Training(_Closed):
    """What the host's trainer logged."""

    source: str = Field(description="File it was read from, from the run's folder on.")
    steps: int
    epochs: float | None
    totals: dict[str, float]
    series: dict[str, list[tuple[float, float]]] = Field(description="Key -> (step, value), ...")
    not_finite: dict[str, int] = Field(description="Key -> log entries that were no finite number.")


class Stage(_Open):
    """What one stage of preparation did."""

    stage: str
    component: str
    fingerprint: str
    settings: dict[str, Any]
    numbers: dict[str, Any]


class StudyArm(_Open):
    """One way of tuning, over its seeds."""

    name: str
    n: int = Field(description="How many seeds.")
    runs: list[dict[str, Any]]
    mean: dict[str, Any]
    sd: dict[str, Any]


class Study(_Open):
    """A comparison (`study.analyse`): base, arms, and tests between them."""

    base: dict[str, Any]
    arms: list[StudyArm]
    tests: list[dict[str, Any]]
    verdict: list[str]
    warnings: list[str]


class Score(_Open):
    """One model on one task, item by item."""

    task: str
    target: bool
    correct: list[float]


class Run(_Open):
    """One measured model."""

    seed: int | None
    numbers: dict[str, Any]
    scores: list[Score]


class ItemsArm(_Closed):
    """The runs of one arm."""

    name: str
    runs: list[Run]


class Items(_Closed):
    """Every item's result: all numbers of `study` come from these."""

    base: Run
    arms: list[ItemsArm]


class Example(_Open):
    """A question with the answers of each model."""

    task: str
    prompt: str
    right: str
    answers: dict[str, str]


class TokenRow(_Closed):
    """Numbers of a row whose tokens the page shows."""

    row: int
    targets: int
    masked: int
    loss_kept: float | None
    perplexity: float | None


class Report(_Closed):
    """What a run left behind, as ``ppx report`` reads it."""

    schema_version: Literal[2] = Field(alias="schema", description="Of this layout.")
    kind: Kind
    title: str
    verdict: list[str] = Field(description="Sentences: what the numbers show.")
    warnings: list[str] = Field(description="What to know before believing them.")
    notes: list[str] = Field(description="What this report leaves out, and why.")
    study: Study | None = Field(description="Null where nothing was compared.")
    items: Items | None
    intervals: dict[str, Summary] = Field(description="Of each arm of the study.")
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
