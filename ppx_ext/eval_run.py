"""`ppx eval`: checkpoints measured with the suites of a block, compared, held against a gate."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from ppx_ext import gates
from ppx_ext.eval_plan import Evaluation, Gate, Keep
from ppx_ext.evaluating import checkpoints, models
from ppx_ext.evaluating.checkpoints import Checkpoint
from ppx_ext.evaluating.described import check_planned
from ppx_ext.evaluating.models import Loading, Measured, Measuring, Tell
from ppx_ext.metrics import pair
from ppx_ext.suites import TaskScore

BASE = "base"


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What a command line asks for.

    Attributes:
        models: folders or hub ids, in the order of training.
        evaluation: what to measure them with.
        loading: how models are loaded.
        base: below adapters, and what all are compared with; None takes that of the first adapter.
        recipe_base: what all are compared with where nothing else says so.
        compared: whether they are compared with a base.
        against: folder of a stored evaluation that stands in the base's place.
        which: of its records; see `models.stored`.
        out: folder that keeps what is measured; None keeps nothing.
        gate: limits of forgetting; it needs a base.
        select: choose the model with the best target score within the gate.
    """

    models: tuple[str, ...]
    evaluation: Evaluation
    loading: Loading = field(default_factory=Loading)
    base: str | None = None
    recipe_base: str | None = None
    compared: bool = True
    against: Path | None = None
    which: str | None = None
    out: Path | None = None
    gate: Gate | None = None
    select: bool = False


@dataclass(frozen=True, kw_only=True)
class Results:
    """All that was measured.

    Attributes:
        base: what the models are compared with; None where they are not.
        models: in order.
        checked: of each model, against the gate; empty without one.
        best: which of the models is to be taken; None where none was asked for.
    """

    base: Measured | None
    models: tuple[Measured, ...]
    checked: tuple[gates.Checked, ...] = ()
    best: gates.Best | None = None

    @property
    def ok(self) -> bool:
        """Whether one could be chosen, where that was asked for; else whether the gate holds."""
        if self.best is not None:
            return self.best.at is not None
        return all(found.ok for found in self.checked)

    @property
    def pairs(self) -> list[tuple[Measured, Measured]]:
        """What is compared: each model with the base, and two models with each other.

        Without a base, each later model is compared with the first.
        """
        first, *others = self.models
        with_base = [] if self.base is None else [(self.base, one) for one in self.models]
        between = others if self.base is None or len(others) == 1 else []
        return [*with_base, *((first, one) for one in between)]


def run(wanted: Wanted, *, tell: Tell = lambda say: None) -> Results:
    """Measure, compare, choose.

    Args:
        wanted: which models, with what.
        tell: told what is done.

    Raises:
        ValueError: a suite lacks a file; a model cannot be had, or was measured on other items
            than its base; there is nothing to compare with where a gate needs it.
    """
    for suite in wanted.evaluation.suites:
        suite.stage.component.check(suite.stage.settings)
    named = checkpoints.in_order(wanted.models)
    found = [checkpoints.find(given, base=wanted.base) for given in named]
    below = _base(wanted, found)
    found, below = _quantized(wanted.loading, found, below)
    _say_unlike(wanted.loading, found, below, tell)
    base = models.stored(wanted.against, wanted.which) if wanted.against is not None else None
    if wanted.gate is not None and below is None and base is None:
        raise ValueError(
            "a gate measures what was lost against a base, and none is known: give --base, or "
            "--against with what was measured before"
        )
    keep: Keep = "best" if wanted.select else "last"
    check_planned(replace(wanted.evaluation, gate=wanted.gate, keep=keep))
    with Measuring(wanted.evaluation, wanted.loading, out=wanted.out, tell=tell) as measuring:
        if below is not None:
            # As the first model is asked, so that the same items are the same prompts.
            base = measuring.measure(below, BASE, when="before", tokenizer=found[0].tokenizer)
        if base is not None and wanted.gate is not None:
            gates.check_tasks(wanted.gate, base.scores)  # before the others take their time
        measured = tuple(
            measuring.measure(one, name)
            for one, name in zip(found, checkpoints.labels(named), strict=True)
        )
    return _judged(base, measured, wanted)


def _base(wanted: Wanted, found: Sequence[Checkpoint]) -> Checkpoint | None:
    """The untouched model that the others are compared with, if it is to be measured."""
    if not wanted.compared or wanted.against is not None:
        return None
    below = next((one.path for one in found if one.adapter is not None), None)
    named = wanted.base or below or wanted.recipe_base
    if named is None or all(one.adapter is None and one.path == named for one in found):
        return None
    return checkpoints.find(named)


def _quantized(
    loading: Loading, found: Sequence[Checkpoint], below: Checkpoint | None
) -> tuple[list[Checkpoint], Checkpoint | None]:
    """Adapters that were trained on a quantised base, and that base; whole models are as saved."""
    quantize = loading.quantization is not None
    models = [replace(one, quantized=quantize and one.adapter is not None) for one in found]
    if below is not None:
        below = replace(below, quantized=any(one.quantized for one in models))
    return models, below


def _say_unlike(
    loading: Loading, found: Sequence[Checkpoint], below: Checkpoint | None, tell: Tell
) -> None:
    """Tell which models are not quantised as the recipe trains, and what that does to the base."""
    whole = [one.path for one in found if not one.quantized]
    if loading.quantization is None or not whole:
        return
    names = ", ".join(whole)
    tell(f"measured as saved, not quantised as the recipe has it, being no adapters: {names}")
    if below is not None and below.quantized:
        tell(f"the base is quantised, as its adapters were trained, and these are not: {names}")


def _judged(base: Measured | None, measured: tuple[Measured, ...], wanted: Wanted) -> Results:
    first = base or measured[0]
    for one in measured:
        check_same_items(first, one)
    gate = wanted.gate
    checked: tuple[gates.Checked, ...] = ()
    if gate is not None:
        checked = tuple(gates.check(gate, first.scores, one.scores) for one in measured)
    best = None
    if wanted.select:
        names = [one.name for one in measured]
        best = gates.best(first.scores, [one.scores for one in measured], gate, names=names)
    return Results(base=base, models=measured, checked=checked, best=best)


def check_same_items(one: Measured, other: Measured) -> None:
    """Make sure that two models were measured on the same items.

    Raises:
        ValueError: they were not; with the mend where their chat templates differ.
    """
    try:
        pair(tasks_of(one), tasks_of(other))
    except ValueError as error:
        differ = one.template and other.template and one.template != other.template
        more = ". Their chat templates differ: give all one tokenizer, with --tokenizer"
        said = f"{one.name} and {other.name}: {error}{more if differ else ''}"
        raise ValueError(said) from error


def tasks_of(measured: Measured) -> list[TaskScore]:
    """A model's scores, less its perplexities."""
    return [score for score in measured.scores if isinstance(score, TaskScore)]


def with_batch_size(evaluation: Evaluation, batch_size: int) -> Evaluation:
    """The same with other batches, in every suite that has a size of them."""
    suites = []
    for suite in evaluation.suites:
        settings = suite.stage.settings
        if "batch_size" in type(settings).model_fields:
            settings = settings.model_copy(update={"batch_size": batch_size})
        suites.append(replace(suite, stage=replace(suite.stage, settings=settings)))
    return replace(evaluation, suites=tuple(suites))
