"""The `choose:` stage in a host: the columns that it reads, its order, and what is told of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ppx_ext.contracts import Need, Numbers, StageRecord, TokenScorer

if TYPE_CHECKING:
    from ppx_ext.catalog import Catalog
    from ppx_ext.plan import Plan


@dataclass(frozen=True, kw_only=True)
class Order:
    """What a host must do with the chosen rows.

    Attributes:
        ordered: train on them as they come, without shuffling.
        epochs: so many passes are spelled out in them, so that the host makes one.
    """

    ordered: bool = False
    epochs: int = 1


def order_of(records: Iterable[StageRecord]) -> Order:
    """The order that the stage asks for, by its record; none where it did not run."""
    for record in records:
        if record.stage == "choose":
            return Order(ordered=record.numbers["ordered"], epochs=record.numbers["epochs"])
    return Order()


def row_columns(plan: Plan) -> Sequence[str]:
    """Names of the user's columns that the measure and the sampler read, one value a row."""
    found: list[str] = []
    if plan.measure is not None:
        found += plan.measure.component.columns(plan.measure.settings)
    if plan.choose is not None:
        strata = plan.choose.component.strata(plan.choose.settings)
        found += [] if strata is None else [strata]
    return list(dict.fromkeys(found))


def token_columns(plan: Plan, catalog: Catalog) -> Sequence[str]:
    """Names of the user's columns that scorers of tokens read, one value a token."""
    needs: list[Need] = []
    for stage in (plan.measure, plan.mask):
        needs += () if stage is None else stage.component.needs(stage.settings)
    found: list[str] = []
    for need in needs:
        scorer = catalog.get("scorer", need.scorer, TokenScorer)
        found += scorer.columns(scorer.settings.model_validate(need.settings))
    return list(dict.fromkeys(found))


def columns_read(plan: Plan, catalog: Catalog) -> Sequence[str]:
    """Names of all columns of the user's that must be there beside the tokens."""
    return list(dict.fromkeys([*row_columns(plan), *token_columns(plan, catalog)]))


def described(plan: Plan) -> str:
    """The sampler with its settings, and the measure that it goes by with its own."""
    stages = (plan.choose, plan.measure)
    sampler, measure = (_settings(stage.dump()) for stage in stages if stage is not None)
    return f"{sampler}, by {measure}"


def _settings(dump: Mapping[str, Any]) -> str:
    given = [f"{key}={value}" for key, value in dump.items() if key != "use" and value is not None]
    return " ".join([str(dump["use"]), *given])


def told(records: Iterable[StageRecord]) -> list[str]:
    """What was chosen, and what must be known of it."""
    return [line for record in records if record.stage == "choose" for line in _told(record)]


def _told(record: StageRecord) -> list[str]:
    numbers = record.numbers
    line = (
        f"{record.component} ({record.settings['by']['use']}): "
        f"{numbers['distinct_rows_chosen']:,} of {numbers['rows']:,} rows, "
        f"{numbers['targets_chosen']:,} targets{_window(numbers)}"
    )
    if numbers["ordered"]:
        passes = numbers["epochs"]
        line += ", in its order" + (f", {passes} epochs spelled out" if passes > 1 else "")
    return [line, *(f"{record.component}: {note}" for note in numbers["notes"])]


def _window(numbers: Numbers) -> str:
    if numbers["window"] is None:
        return ""
    low, high = numbers["window"]["quantiles"]
    believed = ", a prior and no finding" if numbers["prior"] else ""
    return f", from quantiles {low:.2f} to {high:.2f} of difficulty{believed}"
