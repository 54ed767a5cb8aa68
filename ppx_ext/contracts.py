"""The frozen types that a method hands over or receives. This module imports nothing heavy.

Shape suffixes, used in every name of an array:

====== ==========================================================================
``_N``  one entry for each row of the data set
``_T``  one entry for each token of one row, prompt included
``_R``  one entry for each *target* of one row (``array_T[target_T]``), in order
``_K``  one entry for each chosen row
====== ==========================================================================

A *target* is a token that plain supervised fine-tuning would train on. ``x_T[i]`` always speaks of
the token ``ids_T[i]``: its score is that of predicting it from ``ids_T[:i]``. Token 0 has no
context, so it is never a target.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    from pydantic import BaseModel

    from ppx_ext.answering import Failure, JudgeAll, Prompt, Request, Response

    Ints: TypeAlias = npt.NDArray[np.int32]
    Places: TypeAlias = npt.NDArray[np.int64]
    Bools: TypeAlias = npt.NDArray[np.bool_]
    Floats: TypeAlias = npt.NDArray[np.floating[Any]]

Row: TypeAlias = Mapping[str, Any]
Numbers: TypeAlias = Mapping[str, Any]
"""Plain JSON values (numbers, strings, lists, mappings of them) that a record keeps."""

SOURCE, GOLD = "ppx_source", "gold"
"""Column that a builder writes: where a row's target comes from; `GOLD` is the user's own text."""

IGNORE = -100
"""The label that both hosts, and torch's cross-entropy, leave out of the loss."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Example:
    """One tokenised row.

    Args:
        row: position of the row in the user's data, for messages and seeds.
        ids_T: token ids, int32.
        target_T: True where plain fine-tuning would train; ``target_T[0]`` is False.
        end_T: True at targets that end a turn (for instance ``<|im_end|>``).
        columns: other columns of the row, untouched (per-token ones align with ``ids_T``).
    """

    row: int
    ids_T: Ints
    target_T: Bools
    end_T: Bools
    columns: Row = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelRef:
    """A causal language model by name, as a score or a generation asks for it.

    ``path`` None means "the recipe's own base model"; ``adapter`` is a PEFT adapter put on top.
    """

    path: str | None = None
    revision: str | None = None
    adapter: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Need:
    """A per-token score that a mask reads: the name it goes by, and the scorer that gives it."""

    score: str
    scorer: str
    settings: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Tools:
    """Effects lent to a method, so that methods stay pure and tests can lend fakes.

    Args:
        token_scores: ``(examples, model, names) -> one mapping name -> float32 (R,) for each
            example``. Names: ``nll`` (nats), ``entropy`` (nats), ``rank`` (0 = the top token).
        generate: ``requests -> one response or failure for each, in order``; what was answered
            before is not asked again. None where no generator is configured.
        judge: ``answers -> one verdict for each, in order``; None where no judge is configured.
        perplexity: ``(pairs of prompt and response, given_prompt) -> one perplexity for each``,
            under the base: exp of the mean NLL over the response's tokens. ``given_prompt`` False
            is that of the response alone, without prompt and template. None where no model is.
        decode: ``token ids -> text``, special tokens left out. None where no tokenizer is.
    """

    token_scores: Callable[
        [Sequence[Example], ModelRef, Sequence[str]], Sequence[Mapping[str, Floats]]
    ]
    generate: Callable[[Sequence[Request]], Sequence[Response | Failure]] | None = None
    judge: JudgeAll | None = None
    perplexity: Callable[[Sequence[tuple[Prompt, str]], bool], Sequence[float]] | None = None
    decode: Callable[[Ints], str] | None = None


@dataclass(frozen=True, kw_only=True)
class Component:
    """What every part of a method has: a name, the paper it comes from, and its settings' model."""

    name: str
    paper: str
    settings: type[BaseModel]


@dataclass(frozen=True, kw_only=True)
class TokenScorer(Component):
    """``score(settings, examples, tools) -> float (R,) for each example``, larger = harder.

    Attributes:
        model: ``model(settings)`` names the model that is read, or None where none is; it takes
            part in the fingerprint under which scores are kept.
        exact: True keeps float64 as given (scores that a user brings); False keeps float16 bytes,
            which is finer than the noise of bf16 logits.
        columns: ``columns(settings)`` names the columns of a row that are read. Only these are in
            ``Example.columns`` when scores are made, and they take part in the fingerprint.
    """

    score: Callable[[Any, Sequence[Example], Tools], Sequence[Floats]]
    model: Callable[[Any], ModelRef | None]
    exact: bool = False
    columns: Callable[[Any], Sequence[str]] = lambda settings: ()


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Scored:
    """An example with its scores, each ``float (R,)`` under the name that a `Need` gave it."""

    example: Example
    scores: Mapping[str, Floats]


@dataclass(frozen=True, kw_only=True)
class ExampleScorer(Component):
    """A measure of difficulty: one number for each row, larger = harder.

    Attributes:
        score: ``score(settings, rows, tools) -> float (N,)``, called with one shard of rows after
            the other. NaN stands for a row that cannot be measured: it is left out and counted.
        needs: ``needs(settings)`` names the token scores that are read, made once for this measure
            and for the mask.
        columns: ``columns(settings)`` names the columns of a row that are read; only these are in
            ``Example.columns``.
        model: ``model(settings)`` names the model that ``tools`` are asked about, or None where
            none is; it takes part in the fingerprint under which scores are kept. Without it,
            ``tools.token_scores`` is refused.
        unit: what one unit of the score is, for axes and tables.
        mend: what a user can do whose data lack the columns, as a sentence.
    """

    score: Callable[[Any, Sequence[Scored], Tools], Floats]
    needs: Callable[[Any], Sequence[Need]] = lambda settings: ()
    columns: Callable[[Any], Sequence[str]] = lambda settings: ()
    model: Callable[[Any], ModelRef | None] = lambda settings: None
    unit: str = ""
    mend: str = ""


@dataclass(frozen=True, kw_only=True)
class Mask(Component):
    """Which targets keep their loss.

    Attributes:
        needs: ``needs(settings)`` names the scores that are read.
        fit: ``fit(settings, scored) -> state``: one pass over the whole data set for what a row
            alone cannot tell (a quantile). Its numbers are recorded. ``nll_threshold`` in it, in
            nats, lets the record count the tokens that lie near the line.
        keep: ``keep(settings, state, scored, rng) -> bool (R,)``; ``rng`` is seeded by recipe,
            stage and row, so that the result does not hang on order or on shards.
        edit_text: rewrites a gold response before it is tokenised, or None.
        online: True where ``fit`` needs no data set, so that a batch can be masked as it is made.
    """

    needs: Callable[[Any], Sequence[Need]]
    keep: Callable[[Any, Numbers, Scored, np.random.Generator], Bools]
    fit: Callable[[Any, Iterable[Scored]], Numbers]
    edit_text: Callable[[Any, str], str] | None = None
    online: Callable[[Any], bool] = lambda settings: False


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Candidates:
    """The rows that a sampler chooses from.

    Args:
        score_N: difficulty, float64 and finite; larger = harder.
        tokens_N: targets of each row, int64.
        first_N: place of the first row with the same token ids: the row's own place where it is no
            duplicate, int64.
        stratum_N: value of the column that `Sampler.strata` names, or None where it names none.
    """

    score_N: Floats
    tokens_N: Places
    first_N: Places
    stratum_N: Sequence[Any] | None = None

    def __len__(self) -> int:
        return len(self.score_N)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Choice:
    """Chosen rows.

    Args:
        index_K: places among the candidates, int64, in the order of training.
        ordered: whether that order is the point of it; the host then keeps it, and else shuffles.
        epochs: how many passes ``index_K`` spells out one after the other; within one, a row is
            there at most once.
        window: quantiles of difficulty that were chosen from, or None.
        left_out: reason -> rows that were not chosen because of it; all of them, each once.
        prior: whether the window comes from a rule believed beforehand (`priors`), so that it is
            no finding.
        notes: shortfalls and whatever else the user must be told, in words.
        numbers: more for the record.
    """

    index_K: Places
    ordered: bool = False
    epochs: int = 1
    window: tuple[float, float] | None = None
    left_out: Mapping[str, int] = field(default_factory=dict)
    prior: bool = False
    notes: tuple[str, ...] = ()
    numbers: Numbers = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Sampler(Component):
    """Which rows are trained on, and in which order.

    Attributes:
        choose: ``choose(settings, candidates, rng) -> Choice``.
        strata: ``strata(settings)`` names a column of the user's, or None.
    """

    choose: Callable[[Any, Candidates, np.random.Generator], Choice]
    strata: Callable[[Any], str | None] = lambda settings: None


@dataclass(frozen=True, kw_only=True, slots=True)
class StageRecord:
    """What one stage did: the component, the fingerprint of all it depends on, and its numbers."""

    stage: str
    component: str
    fingerprint: str
    settings: Numbers
    numbers: Numbers
