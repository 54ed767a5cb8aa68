"""A measure of difficulty -> one number for each row, made a shard at a time and kept."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ppx_ext import store
from ppx_ext.catalog import Catalog
from ppx_ext.contracts import Example, ExampleScorer, ModelRef, Scored, Tools
from ppx_ext.effects import Base, check_tokenizer, fingerprint_of, lend
from ppx_ext.examples import Examples
from ppx_ext.manifest import tokenizer_fingerprint
from ppx_ext.scored import ScoredRows, score_rows, version_of
from ppx_ext.stages import Stage

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase as Tokenizer

    from ppx_ext.contracts import Floats
    from ppx_ext.plan import Plan

NAME = "difficulty"


@dataclass(frozen=True, kw_only=True)
class Measured:
    """One number for each row.

    Attributes:
        score_N: difficulty, float64; NaN where a row cannot be measured.
        fingerprint: of all that the numbers depend on.
        tokens: the scores of tokens that the measure read.
    """

    score_N: Floats
    fingerprint: str
    tokens: ScoredRows


def measure_rows(
    measure: Stage[ExampleScorer],
    examples: Examples,
    *,
    plan: Plan,
    catalog: Catalog,
    base: Base,
    tokenizer: Tokenizer,
    root: Path,
) -> Measured:
    """Have every row measured, and what was measured kept under ``root``.

    As `scored.score_rows` does with tokens: nothing is measured twice, a call that was killed goes
    on at its last finished shard, and processes share the work.

    Raises:
        ValueError: a column or a scorer is not there, or a number is infinite (the row is named);
            or as `score_rows`.
        OSError: the scores cannot be written.
    """
    component, settings = measure.component, measure.settings
    lent: dict[str, Any] = {"catalog": catalog, "base": base, "tokenizer": tokenizer}
    tokens = score_rows(component.needs(settings), examples, plan=plan, root=root, **lent)
    _check_columns(examples, component, settings)
    rows = replace(examples, columns=tuple(component.columns(settings)))
    ref = component.model(settings)
    if ref is not None and ref.path is not None:
        check_tokenizer(tokenizer, ref, trust_remote_code=plan.trust_remote_code)
    fields = {
        "data": rows.fingerprint(),
        "measure": measure.dump(),
        "version": version_of(catalog, "measure", component.name),
        "reads": tokens.fingerprints(),
        "tokenizer": tokenizer_fingerprint(tokenizer),
        "model": None if ref is None else fingerprint_of(base, ref),
        "dtype": None if ref is None else plan.scoring.dtype,
    }
    tools = _tools(component, ref, base, plan=plan, tokenizer=tokenizer)

    def score(start: int, shard: Sequence[Example]) -> Floats:
        return component.score(settings, _with_scores(tokens, start, shard), tools)

    key = store.Key(name=NAME, exact=True, fields=fields, each="row")
    stored = store.fill_at(root, key, rows, score, shard_rows=plan.shard_rows)
    return Measured(score_N=stored.flat(), fingerprint=key.fingerprint, tokens=tokens)


def _check_columns(examples: Examples, component: ExampleScorer, settings: Any) -> None:
    for name in component.columns(settings):
        there = name in examples.dataset.column_names
        # Hosts carry a column that no row has as one that is empty everywhere.
        if there and _some(examples, name):
            continue
        raise ValueError(
            f"ppx.choose.by: {component.name!r} reads the column {name!r}, which "
            + ("the data do not have or is empty in every row" if there else "the data do not have")
            + f". {component.mend}".rstrip()
        )


def _some(examples: Examples, name: str) -> bool:
    column = examples.dataset.select_columns([name]).with_format("arrow")[:].column(name)
    return bool(column.null_count < len(column))


def _with_scores(tokens: ScoredRows, start: int, shard: Sequence[Example]) -> list[Scored]:
    places = range(start, start + len(shard))
    found = {name: stored.at(places) for name, stored in tokens.stored.items()}
    return [
        Scored(example=example, scores={name: values[at] for name, values in found.items()})
        for at, example in enumerate(shard)
    ]


def _tools(
    component: ExampleScorer,
    ref: ModelRef | None,
    base: Base,
    *,
    plan: Plan,
    tokenizer: Tokenizer,
) -> Tools:
    tools = lend(
        base,
        scoring=plan.scoring,
        trust_remote_code=plan.trust_remote_code,
        tokenizer=tokenizer,
    )

    def token_scores(examples: Sequence[Example], asked: ModelRef, names: Sequence[str]) -> Any:
        # What is not declared would be missing from the fingerprint, and stale numbers be served.
        if asked != ref:
            raise ValueError(
                f"measure {component.name!r} asks for scores under {asked}, but declares {ref}: "
                "its `model` must return what it reads"
            )
        return tools.token_scores(examples, asked, names)

    return replace(tools, token_scores=token_scores)
