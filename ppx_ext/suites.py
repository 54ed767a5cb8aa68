"""The frozen types of evaluation: a suite, what it measures, and the scores it gives.

This module imports nothing heavy.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from ppx_ext.contracts import Component

if TYPE_CHECKING:
    from ppx_ext.answering import JudgeAll


@dataclass(frozen=True, kw_only=True, slots=True)
class TaskScore:
    """One task's result on one model.

    Attributes:
        task: its name; no two of one evaluation share one.
        correct: one entry for each item, in order, in [0, 1]: right or wrong, or a share of right.
        target: whether this is what the model is trained for; all other tasks measure forgetting.
        readings: the same responses read in other ways (``strict``, ``flexible``), each with one
            entry for each item; they take part in no average.
        items: columns of the record, one entry for each item: ``prompt``, ``gold``, ``response``
            and whatever else tells of it. They go to Parquet, and no number is made of them.
        fingerprint: of the items' prompts and golds; scores with two different ones are never
            compared. Empty where it is not known.
    """

    task: str
    correct: tuple[float, ...]
    target: bool = False
    readings: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    items: Mapping[str, Sequence[Any]] = field(default_factory=dict, repr=False, compare=False)
    fingerprint: str = ""

    @property
    def accuracy(self) -> float:
        """Mean over the items, in [0, 1]."""
        return sum(self.correct) / len(self.correct)


@dataclass(frozen=True, kw_only=True, slots=True)
class TextScore:
    """The perplexity of held-out texts under one model; it takes part in no average of tasks.

    Attributes:
        task: as in `TaskScore`.
        nll: of each text, summed over its measured tokens, in nats.
        tokens: measured tokens of each text, each at least 1.
        items, fingerprint: as in `TaskScore`.
    """

    task: str
    nll: tuple[float, ...]
    tokens: tuple[int, ...]
    items: Mapping[str, Sequence[Any]] = field(default_factory=dict, repr=False, compare=False)
    fingerprint: str = ""

    @property
    def perplexity(self) -> float:
        """exp of the mean NLL over all tokens."""
        try:
            return math.exp(sum(self.nll) / sum(self.tokens))
        except OverflowError:
            return math.inf


Score: TypeAlias = TaskScore | TextScore

Planned: TypeAlias = Literal["target", "other", "text"]
"""What a score will be: of a task that is trained on, of another one, or a perplexity."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Subject:
    """The model that a suite measures, as it is at this moment.

    Several processes may measure one model together: each answers its share of the items, and
    every one of them calls ``gather`` equally often.

    Args:
        model: a causal language model in eval mode, unwrapped, with its adapters as they are. What
            a suite changes in it, in the tokenizer or in random states is put back afterwards.
        tokenizer: of the model.
        judges: those that `EvalSuite.judges` names, open, by the names it gives them.
        rank, processes: this process, and how many there are.
        gather: ``value -> the values of all processes``, in the order of their ranks.
    """

    model: Any
    tokenizer: Any
    judges: Mapping[str, JudgeAll] = field(default_factory=dict)
    rank: int = 0
    processes: int = 1
    gather: Callable[[Any], Sequence[Any]] = lambda value: [value]


@dataclass(frozen=True, kw_only=True)
class EvalSuite(Component):
    """``evaluate(settings, subject) -> scores``: in process, on the model as it is.

    Attributes:
        judges: ``judges(settings)``: name -> a judge's block, as ``ppx.build.judge`` takes it. They
            are checked with the recipe, opened before training, and lent in `Subject.judges`.
        check: ``check(settings)`` raises ValueError for whatever can be known before training: a
            file, a task or a library that lacks, a task that no one calls so; with the mend.
        planned: ``planned(settings)``: name of each score -> what it will be, so that a wrong name
            in the gate is told before the first measurement; None where only that tells. It is
            called after ``check``.
    """

    evaluate: Callable[[Any, Subject], Sequence[Score]]
    judges: Callable[[Any], Mapping[str, Any]] = lambda settings: {}
    check: Callable[[Any], None] = lambda settings: None
    planned: Callable[[Any], Mapping[str, Planned] | None] = lambda settings: None
