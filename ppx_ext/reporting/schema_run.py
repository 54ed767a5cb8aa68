"""The models of report.json that tell of evaluations and of training; see `schema`."""

from __future__ import annotations

from typing import Any, Literal

import pydantic
from pydantic import Field


class Closed(pydantic.BaseModel):
    """Holds these keys and no other."""

    model_config = pydantic.ConfigDict(extra="forbid", strict=True)


class Open(pydantic.BaseModel):
    """Holds these keys, and others of its own."""

    model_config = pydantic.ConfigDict(extra="allow")


class Level(Closed):
    """Accuracy of one model on one task."""

    accuracy: float = Field(description="In percent.")
    low: float | None = Field(description="Lower end of the interval.")
    high: float | None = Field(description="Upper end.")
    items: int


class Shift(Closed):
    """A change between two models on the same items."""

    points: float
    low: float
    high: float
    p: float | None = Field(description="Of the exact McNemar test, where it applies.")
    significant: bool = Field(description="At the 5 % level.")
    words: str = Field(description="The judgement, with the test that made it.")


class Perplexity(Closed):
    """Of held-out texts under one model: exp of the mean NLL over all tokens."""

    perplexity: float | None = Field(description="Null where it is beyond what a float holds.")
    low: float | None
    high: float | None
    texts: int
    tokens: int


class Times(Closed):
    """How many times as high a perplexity is as it was."""

    times: float | None
    low: float | None
    high: float | None
    significant: bool
    words: str


class GateDrop(Closed):
    """What was lost, beside its limit."""

    name: str = Field(description="Of the task, or `average`.")
    drop: float = Field(description="In points; below 0 is a gain.")
    limit: float
    low: float | None
    high: float | None
    breached: bool
    words: str


class GateChecked(Closed):
    """An evaluation against the gate."""

    ok: bool
    words: str
    drops: list[GateDrop]


class Evaluated(Closed):
    """One evaluation of a run."""

    when: Literal["before", "during", "after"]
    name: str | None = Field(description="Of the model, where one folder has several.")
    step: int
    epoch: float | None
    seconds: float
    kept: bool = Field(description="Whether the run ended with these weights, chosen among others.")
    restored: bool = Field(description="A repetition: kept weights, back in place at the end.")
    target: float | None = Field(description="Mean accuracy of the target tasks.")
    other: float | None = Field(description="Mean accuracy of the other tasks.")
    drop: Shift | None = Field(description="Average drop against the first; above 0 is lost.")
    tasks: dict[str, Level]
    texts: dict[str, Perplexity]
    gate: GateChecked | None


class TaskChange(Closed):
    """One task before and after."""

    task: str
    target: bool
    before: Level
    after: Level
    change: Shift | None = Field(description="Null where the task has a single item.")


class ReadingChange(TaskChange):
    """One way to read the responses of a task, before and after."""

    reading: str = Field(description="For instance `strict` or `flexible`.")


class TextChange(Closed):
    """Held-out texts before and after."""

    task: str
    before: Perplexity
    after: Perplexity
    change: Times


class Summary(Closed):
    """The papers' numbers of one model against its base."""

    ti: float | None = Field(description="Target improvement, percent of the base's score.")
    bwt: float | None = Field(description="Backward transfer, in percent; below 0 is forgetting.")
    drop: float | None = Field(description="Average drop of the other tasks, in points.")
    ti_interval: tuple[float, float] | None
    bwt_interval: tuple[float, float] | None
    drop_interval: tuple[float, float] | None
    undefined: list[str] = Field(description="One sentence for each number without a value.")


class Cost(Open):
    """What the evaluations cost."""

    seconds: float
    training_seconds: float | None = None
    share: float | None = Field(default=None, description="Of the training time; 1 is all of it.")


class Kept(Open):
    """Which evaluation's weights a run ended with, where that was a choice."""

    step: int | None
    restored: bool = Field(description="Whether they were put back in place of the last ones.")
    words: str


class Forgetting(Closed):
    """Evaluations of one run, in order, and the last against the first."""

    gate: dict[str, Any] | None = Field(description="Limits of forgetting, as the recipe has them.")
    keep: str | None = Field(description="`last` or `best`.")
    summary: Summary | None
    kept: Kept | None
    failures: list[dict[str, Any]] = Field(description="Evaluations that failed, with `step`.")
    evaluations: list[Evaluated]
    model: str | None = Field(description="Of several, the one that is compared below.")
    tasks: list[TaskChange]
    readings: list[ReadingChange]
    texts: list[TextChange]
    cost: Cost | None


class Training(Closed):
    """What the host's trainer logged."""

    source: str = Field(description="File it was read from, from the run's folder on.")
    steps: int
    epochs: float | None
    totals: dict[str, float]
    series: dict[str, list[tuple[float, float]]] = Field(description="Key -> (step, value), ...")
    not_finite: dict[str, int] = Field(description="Key -> log entries that were no finite number.")
