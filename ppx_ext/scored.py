"""The scores that a mask or a measure needs: each is made once, kept, and read from there."""

from __future__ import annotations

import functools
import importlib.metadata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ppx_ext import store
from ppx_ext.catalog import Catalog
from ppx_ext.contracts import Example, Need, Scored, TokenScorer, Tools
from ppx_ext.effects import Base, check_tokenizer, fingerprint_of, lend
from ppx_ext.examples import Examples, with_rows

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase as Tokenizer

    from ppx_ext.contracts import Floats, Places
    from ppx_ext.plan import Plan


@dataclass(frozen=True, kw_only=True)
class ScoredRows:
    """Rows with their scores, as they are stored; may be walked over again and again."""

    examples: Examples
    stored: Mapping[str, store.Stored]

    def __iter__(self) -> Iterator[Scored]:
        names = list(self.stored)
        for example, *values in zip(self.examples, *self.stored.values(), strict=True):
            yield Scored(example=example, scores=dict(zip(names, values, strict=True)))

    def describe(self) -> dict[str, dict[str, Any]]:
        """The folder of each score and all that it depends on, as plain JSON values."""
        return {
            name: {"folder": stored.key.folder, "rows": stored.rows, **stored.key.words()}
            for name, stored in self.stored.items()
        }

    def fingerprints(self) -> dict[str, str]:
        """The fingerprint of each score."""
        return {name: stored.key.fingerprint for name, stored in self.stored.items()}


@dataclass(frozen=True, kw_only=True)
class Origin:
    """The rows that other rows were chosen from, and the scores that were made for choosing.

    Attributes:
        examples: all the rows.
        index_K: place among them of each row that was chosen; a place may be there again.
        stored: scores of all the rows.
    """

    examples: Examples
    index_K: Places
    stored: Mapping[str, store.Stored] = field(default_factory=dict)

    def part(self, places: Sequence[int]) -> Origin:
        """Of the chosen rows, those at these places."""
        return replace(self, index_K=self.index_K[np.asarray(places, dtype=np.int64)])

    def known(self, key: store.Key) -> store.Stored | None:
        """The scores of all rows that differ from those of ``key`` in nothing but the rows."""
        for had in self.stored.values():
            if {**had.key.fields, "data": None} == {**key.fields, "data": None}:
                return had
        return None

    def distinct(self) -> tuple[Examples, Places]:
        """The chosen rows, each once; and where each of ``index_K`` is among them."""
        places, at_K = np.unique(self.index_K, return_inverse=True)
        dataset = with_rows(self.examples.dataset).select(places)
        return replace(self.examples, dataset=dataset), at_K


def score_rows(
    needs: Sequence[Need],
    examples: Examples,
    *,
    plan: Plan,
    catalog: Catalog,
    base: Base,
    tokenizer: Tokenizer,
    root: Path,
    origin: Origin | None = None,
) -> ScoredRows:
    """Have every score that a mask or a measure needs made and stored under ``root``.

    With ``origin``, a score that was made for choosing is read and not made again, and no row is
    scored twice because it is trained on in several epochs.

    Raises:
        ValueError: a scorer is not installed or its settings are wrong, a scoring model has
            another tokenizer, or a score is not a finite number.
        OSError: the scores cannot be written.
    """
    tools = lend(base, scoring=plan.scoring, trust_remote_code=plan.trust_remote_code)
    lent = {"plan": plan, "catalog": catalog, "base": base, "tokenizer": tokenizer, "root": root}
    stored = {}
    for need in needs:
        scorer = catalog.get("scorer", need.scorer, TokenScorer)
        settings = scorer.settings.model_validate(need.settings)
        ref = scorer.model(settings)
        if ref is not None and ref.path is not None:
            check_tokenizer(tokenizer, ref, trust_remote_code=plan.trust_remote_code)
        rows = replace(examples, columns=tuple(scorer.columns(settings)))
        fields = {
            "data": rows.fingerprint(),
            "scorer": {"use": scorer.name, **settings.model_dump(mode="json")},
            "version": version_of(catalog, "scorer", scorer.name),
            "model": None if ref is None else fingerprint_of(base, ref),
            "dtype": None if ref is None else plan.scoring.dtype,
        }
        key = store.Key(name=need.score, exact=scorer.exact, fields=fields)
        source = None if ref is None or origin is None else _source(need, key, origin, **lent)
        if source is None:
            score = functools.partial(_score, scorer, settings, tools)
            stored[need.score] = store.fill(root, key, rows, score, shard_rows=plan.shard_rows)
        else:
            stored[need.score] = store.pick(root, key, rows, *source, shard_rows=plan.shard_rows)
    return ScoredRows(examples=examples, stored=stored)


def _source(
    need: Need, key: store.Key, origin: Origin, **lent: Any
) -> tuple[store.Stored, Places] | None:
    """Scores that are to be read and not made, and the place in them of each row at hand."""
    known = origin.known(key)
    if known is not None:
        return known, origin.index_K
    rows, at_K = origin.distinct()
    if len(rows) == len(at_K):
        return None
    return score_rows([need], rows, **lent).stored[need.score], at_K


def _score(
    scorer: TokenScorer, settings: Any, tools: Tools, examples: Sequence[Example]
) -> Sequence[Floats]:
    return scorer.score(settings, examples, tools)


def version_of(catalog: Catalog, kind: str, name: str) -> str:
    """The distribution that a component comes from, with its version where it is installed."""
    entry = catalog.entries[kind, name]
    try:
        return f"{entry.distribution} {importlib.metadata.version(entry.distribution)}"
    except importlib.metadata.PackageNotFoundError:
        return entry.distribution
