"""The effects that a plan lends to methods: scoring with the base, or with another model."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ppx_ext.contracts import Example, ModelRef, Tools

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase as Tokenizer

    from ppx_ext.contracts import Floats, Ints
    from ppx_ext.plan import Scoring


@dataclass(frozen=True, kw_only=True)
class Base:
    """The recipe's untouched base model: loaded when first asked for, and not where all is kept.

    Attributes:
        name: what the user calls it.
        load: gives the model; called at most once.
        fingerprint: hash of its weights, without loading where that can be.
        revision: of ``name`` on the hub.
    """

    name: str
    load: Callable[[], Any]
    fingerprint: Callable[[], str]
    revision: str | None = None


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

    return Base(name=path, load=load, fingerprint=fingerprint, revision=revision)


def base_from_model(model: Any) -> Base:
    """A base that the caller has in memory; its adapters, if any, are left out of everything.

    Raises:
        ValueError: it is not whole in this process, as it was loaded where weights are sharded.
    """
    from ppx_ext.scoring import whole

    if how := whole.lacks(model):
        raise ValueError(
            f"the base cannot be asked in this process: {how}. Give it by its name or path, which "
            "loads it whole; or load it before the training arguments are made; or score first "
            "(`ppx prepare`, `ppx train`)"
        )

    @functools.cache
    def fingerprint() -> str:
        from ppx_ext.scoring import model_fingerprint

        return model_fingerprint(model)

    name = str(getattr(model.config, "_name_or_path", "") or type(model).__name__)
    return Base(name=name, load=lambda: model, fingerprint=fingerprint)


def fingerprint_of(base: Base, ref: ModelRef) -> str:
    """Hash of all weights that ``ref`` names: of the base, of another model, of an adapter."""
    if ref.path is None and ref.adapter is None:
        return base.fingerprint()
    from ppx_ext.scoring import model_fingerprint

    found = [model_fingerprint(ref.path or base.name, revision=_revision(base, ref))]
    if ref.adapter is not None:
        found.append(model_fingerprint(ref.adapter))
    return "+".join(found)


def _revision(base: Base, ref: ModelRef) -> str | None:
    return ref.revision or (None if ref.path else base.revision)


def check_tokenizer(tokenizer: Tokenizer, ref: ModelRef, *, trust_remote_code: bool) -> None:
    """Make sure that another model reads ids as the run's tokenizer writes them.

    Raises:
        ValueError: it has no tokenizer, or one that gives a token another id; examples are named.
    """
    from transformers import AutoTokenizer

    try:
        other = AutoTokenizer.from_pretrained(
            ref.path, revision=ref.revision, trust_remote_code=trust_remote_code
        )
    except (OSError, ValueError) as error:
        raise ValueError(
            f"the scoring model {ref.path!r} has no tokenizer that can be loaded, so that nothing "
            f"tells whether its ids are those of this run: save one beside it ({error})"
        ) from error
    theirs = other.get_vocab()
    differing = {t: i for t, i in tokenizer.get_vocab().items() if theirs.get(t) != i}
    if differing:
        some = list(differing.items())[:3]
        shown = ", ".join(f"{t!r} ({i}, there {theirs.get(t)})" for t, i in some)
        raise ValueError(
            f"the scoring model {ref.path!r} has another tokenizer than this run: {len(differing)} "
            f"tokens differ in their id, for instance {shown}. Score with a model of the same "
            "family, or with the base itself."
        )


def lend(
    base: Base,
    *,
    scoring: Scoring,
    trust_remote_code: bool = False,
    tokenizer: Tokenizer | None = None,
) -> Tools:
    """The `Tools` of a run: token scores under ``base``, or under a model that a method names."""

    @functools.cache
    def model_of(ref: ModelRef) -> Any:
        from ppx_ext.scoring import load_causal_lm

        if ref.path is None and ref.adapter is None:
            return base.load()
        return load_causal_lm(
            ref.path or base.name,
            revision=_revision(base, ref),
            adapter=ref.adapter,
            dtype=scoring.dtype,
            device=scoring.device,
            trust_remote_code=trust_remote_code,
        )

    def token_scores(
        examples: Sequence[Example], ref: ModelRef, names: Sequence[str]
    ) -> list[Mapping[str, Floats]]:
        from ppx_ext import scoring as engine

        ids = [example.ids_T for example in examples]
        targets = [example.target_T for example in examples]
        model = model_of(ref)
        # The adapter is what a reference to one asks for; everything else is the untouched base.
        lent = contextlib.nullcontext(model) if ref.adapter else engine.base_of(model)
        try:
            with lent as scored:
                return list(
                    engine.token_scores(
                        scored, ids, targets, names=names, batch_tokens=scoring.batch_tokens
                    )
                )
        except engine.NotFiniteError as error:
            raise engine.NotFiniteError(examples[error.row].row, error.score) from error

    return Tools(
        token_scores=token_scores, decode=None if tokenizer is None else _decode(tokenizer)
    )


def _decode(tokenizer: Tokenizer) -> Callable[[Ints], str]:
    def decode(ids: Ints) -> str:
        text = tokenizer.decode(
            ids.tolist(), skip_special_tokens=True, clean_up_tokenization_spaces=False
        )
        return str(text)

    return decode
