"""The effects that a plan lends to methods: scoring with the base, or with another model."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ppx_ext.contracts import Example, ModelRef, Tools

if TYPE_CHECKING:
    from ppx_ext.contracts import Floats
    from ppx_ext.plan import Scoring


@dataclass(frozen=True, kw_only=True)
class Base:
    """The recipe's untouched base model: loaded when first asked for, and not where all is kept.

    Attributes:
        name: what the user calls it.
        load: gives the model; called at most once.
        fingerprint: hash of its weights, without loading where that can be.
    """

    name: str
    load: Callable[[], Any]
    fingerprint: Callable[[], str]


def base_from_path(
    path: str,
    *,
    revision: str | None = None,
    scoring: Scoring,
    trust_remote_code: bool = False,
) -> Base:
    """A base that is loaded from a folder or a hub id when it is first asked for."""

    @functools.cache
    def load() -> Any:
        from ppx_ext.scoring import load_causal_lm

        return load_causal_lm(
            path,
            revision=revision,
            dtype=scoring.dtype,
            device=scoring.device,
            trust_remote_code=trust_remote_code,
        )

    @functools.cache
    def fingerprint() -> str:
        from ppx_ext.scoring import model_fingerprint

        return model_fingerprint(path, revision=revision)

    return Base(name=path, load=load, fingerprint=fingerprint)


def base_from_model(model: Any) -> Base:
    """A base that the caller has in memory; its adapters, if any, are left out of everything."""

    @functools.cache
    def fingerprint() -> str:
        from ppx_ext.scoring import model_fingerprint

        return model_fingerprint(model)

    name = str(getattr(model.config, "_name_or_path", "") or type(model).__name__)
    return Base(name=name, load=lambda: model, fingerprint=fingerprint)


def lend(base: Base, *, scoring: Scoring, trust_remote_code: bool = False) -> Tools:
    """The `Tools` of a run: token scores under ``base``, or under a model that a method names."""

    @functools.cache
    def model_of(ref: ModelRef) -> Any:
        from ppx_ext.scoring import load_causal_lm

        if ref.path is None and ref.adapter is None:
            return base.load()
        return load_causal_lm(
            ref.path or base.name,
            revision=ref.revision,
            adapter=ref.adapter,
            dtype=scoring.dtype,
            device=scoring.device,
            trust_remote_code=trust_remote_code,
        )

    def token_scores(
        examples: Sequence[Example], ref: ModelRef, names: Sequence[str]
    ) -> list[Mapping[str, Floats]]:
        from ppx_ext.scoring import base_of, token_scores

        ids = [example.ids_T for example in examples]
        targets = [example.target_T for example in examples]
        model = model_of(ref)
        if ref.adapter is not None:
            return list(
                token_scores(model, ids, targets, names=names, batch_tokens=scoring.batch_tokens)
            )
        with base_of(model) as untouched:
            return list(
                token_scores(untouched, ids, targets, names=names, batch_tokens=scoring.batch_tokens)
            )

    return Tools(token_scores=token_scores)
