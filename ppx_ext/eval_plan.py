"""The `eval:` stage of the `ppx:` block: which suites, when, and how much may be forgotten."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

import pydantic

from ppx_ext.catalog import Catalog
from ppx_ext.stages import JudgeStage, Stage, judges_of, stage_of, validate
from ppx_ext.suites import EvalSuite

Breach: TypeAlias = Literal["warn", "stop", "restore_best"]
Keep: TypeAlias = Literal["last", "best"]
Where: TypeAlias = Literal["auto", "here", "apart"]


class _Settings(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="forbid", frozen=True)


class Every(_Settings):
    """How often the model is measured while it trains: every so many steps, or epochs.

    In a recipe: ``every: epoch``, ``every: 100`` (steps), ``every: {epochs: 0.5}``.
    """

    steps: int | None = pydantic.Field(default=None, gt=0)
    epochs: float | None = pydantic.Field(default=None, gt=0)

    @pydantic.model_validator(mode="before")
    @classmethod
    def _short(cls, value: Any) -> Any:
        if value == "epoch":
            return {"epochs": 1}
        if isinstance(value, int) and not isinstance(value, bool):
            return {"steps": value}
        if not isinstance(value, Mapping | cls):
            raise ValueError("give `epoch`, a number of steps, or `{epochs: 0.5}`")
        return value

    @pydantic.model_validator(mode="after")
    def _one(self) -> Every:
        if (self.steps is None) == (self.epochs is None):
            raise ValueError("give either steps or epochs")
        return self


class Gate(_Settings):
    """How much may be forgotten.

    Attributes:
        max_drop: largest average drop of the tasks that are not trained on, in points.
        tasks: task -> largest drop of it, in points.
        on_breach: ``warn`` says so and goes on; ``stop`` ends the training; ``restore_best`` ends
            it with the weights of the best evaluation within the limits.
        beyond_chance: True lets a drop count only where its whole 95 % interval is beyond the
            limit; False goes by the measured value.
    """

    max_drop: float | None = pydantic.Field(default=None, ge=0)
    tasks: dict[str, pydantic.NonNegativeFloat] = pydantic.Field(default_factory=dict)
    on_breach: Breach = "warn"
    beyond_chance: bool = False

    @pydantic.model_validator(mode="after")
    def _limits(self) -> Gate:
        if self.max_drop is None and not self.tasks:
            raise ValueError("a gate needs a limit: `max_drop`, in points, or `tasks`")
        return self


class _Own(_Settings):
    every: Every | None = None
    gate: Gate | None = None
    keep: Keep = "last"
    where: Where = "auto"

    @pydantic.model_validator(mode="after")
    def _on_the_way(self) -> _Own:
        breach = self.gate.on_breach if self.gate else "warn"
        wants = "keep: best" if self.keep == "best" else f"gate.on_breach: {breach}"
        if self.every is None and (self.keep == "best" or breach != "warn"):
            raise ValueError(
                f"`{wants}` needs evaluations on the way; say how often, for instance "
                "`every: epoch`"
            )
        return self


@dataclass(frozen=True, kw_only=True)
class SuiteStage:
    """A suite with its settings, and the judges that it asks for, by the names it gives them."""

    stage: Stage[EvalSuite]
    judges: Mapping[str, tuple[JudgeStage, ...]] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """What the `eval:` stage asks for.

    The model is always measured before the first step and after the last one.

    Attributes:
        suites: measured one after the other.
        every: how often between the first step and the last; None is not at all.
        gate: limits of forgetting; None is none.
        keep: ``best`` ends the run with the weights of the evaluation with the best target score,
            among those within the gate; ``last`` with those of the last step.
        where: ``here`` measures the live model in the training processes; ``apart`` saves a
            checkpoint and measures it in a process of its own; ``auto`` takes the latter where the
            weights are sharded (FSDP, ZeRO-3), and else the former.
    """

    suites: tuple[SuiteStage, ...]
    every: Every | None = None
    gate: Gate | None = None
    keep: Keep = "last"
    where: Where = "auto"

    def dump(self) -> dict[str, Any]:
        """The stage as plain JSON values, in a form that `evaluation_of` reads."""
        return {
            "suites": [suite.stage.dump() for suite in self.suites],
            "every": self.every.model_dump(exclude_none=True) if self.every else None,
            "gate": self.gate.model_dump() if self.gate else None,
            "keep": self.keep,
            "where": self.where,
        }


OWN_KEYS = tuple(_Own.model_fields)


def evaluation_of(
    block: Mapping[str, Any], catalog: Catalog, problems: list[str]
) -> Evaluation | None:
    """The evaluation that a block asks for: one suite with ``use``, or a list of ``suites``.

    Every problem is added to ``problems`` with the key it lies at; the result is then None.
    """
    before = len(problems)
    own = {key: value for key, value in block.items() if key in OWN_KEYS}
    rest = {key: value for key, value in block.items() if key not in OWN_KEYS}
    settings = validate(_Own, own, "ppx.eval", problems)
    suites = [_suite(one, where, catalog, problems) for where, one in _named(rest, problems)]
    if settings is None or len(problems) > before:
        return None
    found = tuple(suite for suite in suites if suite is not None)
    return Evaluation(suites=found, **{key: getattr(settings, key) for key in OWN_KEYS})


def _named(rest: Mapping[str, Any], problems: list[str]) -> list[tuple[str, Any]]:
    if "suites" not in rest:
        return [("ppx.eval", rest)]
    suites = rest["suites"]
    for other in sorted(rest.keys() - {"suites"}):
        near = difflib.get_close_matches(other, (*OWN_KEYS, "suites"), n=1)
        hint = f"did you mean {near[0]!r}? W" if near else "w"
        problems.append(
            f"ppx.eval.{other}: {hint}ith `suites:`, settings of a suite stand in its entry"
        )
    if not isinstance(suites, list | tuple) or not suites:
        problems.append("ppx.eval.suites: give a list of suites, each with `use:` and its settings")
        return []
    return [(f"ppx.eval.suites[{at}]", one) for at, one in enumerate(suites)]


def _suite(block: Any, where: str, catalog: Catalog, problems: list[str]) -> SuiteStage | None:
    extra = (*OWN_KEYS, "suites") if where == "ppx.eval" else ()
    stage = stage_of(
        block,
        where,
        catalog,
        "eval suite",
        EvalSuite,
        problems,
        extra_keys=extra,
        example="tasks",
    )
    if stage is None:
        return None
    asked = stage.component.judges(stage.settings)
    judges = {
        name: judges_of(spec, f"{where} (judge of {name!r})", catalog, problems)
        for name, spec in asked.items()
    }
    return SuiteStage(stage=stage, judges=judges)
