"""Frozen types of all that asks a model for answers and judges them. Imports nothing heavy.

A *generator* is an engine that answers requests, a *judge* says whether a response is correct, and
a *builder* turns golden rows into rows in the model's own words, with both lent to it (`Tools`).
"""

from __future__ import annotations

import contextlib
import enum
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

from ppx_ext.contracts import Component, Numbers, Row, Tools

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase as Tokenizer

Message: TypeAlias = Mapping[str, Any]
Prompt: TypeAlias = "str | tuple[Message, ...]"
"""A chat that the model's own template renders, or, where it has none, text that it goes on."""


# ------------------------------------------------------------------------------- generators


@dataclass(frozen=True, kw_only=True, slots=True)
class Decoding:
    """How a response is drawn.

    Attributes:
        temperature: 0 takes the likeliest token, always; above, tokens are drawn.
        top_p: draw from the likeliest tokens that hold this share of the probability, in (0, 1].
        max_new_tokens: a response is cut there.
        stop: texts before which a response ends.
    """

    temperature: float = 0.0
    top_p: float = 1.0
    max_new_tokens: int = 512
    stop: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Request:
    """One response that is wanted.

    Attributes:
        prompt: what is asked.
        decoding: how to draw.
        seed: of this one response; requests that are equal but for it are samples of one prompt.
        prefix: text that the response begins with, put into the model's mouth; it is a part of
            the response.
    """

    prompt: Prompt
    decoding: Decoding
    seed: int = 0
    prefix: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Response:
    """What a model said.

    Attributes:
        text: without special tokens; a request's prefix is in it.
        finished: False where it was cut at ``max_new_tokens``.
        tokens: generated tokens, if the engine tells.
    """

    text: str
    finished: bool = True
    tokens: int | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Failure:
    """A request that was not answered, after all retries; ``reason`` says why."""

    reason: str


@dataclass(frozen=True, kw_only=True)
class LentModel:
    """The model that is to answer.

    Attributes:
        name: path or hub id; a server may know it by another.
        load: gives the loaded causal LM, for engines in this process; called when first needed.
        tokenizer: of the run, with its chat template; None where only a server has one.
        revision: of ``name`` on the hub.
        trust_remote_code: as the user says; off by default.
    """

    name: str
    load: Callable[[], Any]
    tokenizer: Tokenizer | None
    revision: str | None = None
    trust_remote_code: bool = False


Ask: TypeAlias = Callable[[Sequence[Request]], Iterable[tuple[int, Response | Failure]]]
"""Answers each request once, as (its place, the answer), in any order, as soon as it is there."""


@dataclass(frozen=True, kw_only=True)
class Generator(Component):
    """An engine. What it answers is kept for it, request by request.

    Attributes:
        open: ``open(settings, model)`` is a context manager that lends an `Ask`. It raises
            ValueError, with the mend, where the engine cannot be had.
        identity: ``identity(settings)``: the settings that can change an answer. Others (an
            address, a number of connections) may differ when a job goes on.
        remote: True where the answers come from a server, so that nothing is known of its weights
            but the name.
        reproducible: ``reproducible(settings, decoding)``: whether the same request gives the same
            response again.
    """

    open: Callable[[Any, LentModel], AbstractContextManager[Ask]]
    identity: Callable[[Any], Numbers] = lambda settings: settings.model_dump(mode="json")
    remote: bool = False
    reproducible: Callable[[Any, Decoding], bool] = lambda settings, decoding: False


# ----------------------------------------------------------------------------------- judges


class Judgement(enum.Enum):
    """What a judge can say of a response."""

    CORRECT = "correct"
    WRONG = "wrong"
    UNKNOWN = "unknown"


@dataclass(frozen=True, kw_only=True, slots=True)
class Verdict:
    """A judgement with its reason in words, and the judge's name and version (filled in for it)."""

    judgement: Judgement
    reason: str
    judge: str = ""

    @property
    def correct(self) -> bool:
        """Whether the response may be trained on; what cannot be told may not."""
        return self.judgement is Judgement.CORRECT


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """A response that is to be judged.

    Attributes:
        row: the user's columns, with ``prompt`` (text) and ``gold`` (text) beside them.
        response: what is judged.
    """

    row: Row
    response: str


JudgeAll: TypeAlias = Callable[[Sequence[Answer]], Sequence[Verdict]]
"""One verdict for each answer, in order. What cannot be judged is UNKNOWN, never an exception."""


@dataclass(frozen=True, kw_only=True)
class Judge(Component):
    """Whether responses are correct.

    Attributes:
        open: ``open(settings, tools)`` is a context manager that lends a `JudgeAll`. It raises
            ValueError, with the mend, where it could not judge (no sandbox, no server): that is
            known before anything is generated. `one_by_one` makes it of a plain function.
        version: of what decides (its rules and libraries), for the record.
        columns: ``columns(settings)``: columns of a row that must be there beside ``gold``.
        needs_gold: False for a judge that reads no gold.
    """

    open: Callable[[Any, Tools], AbstractContextManager[JudgeAll]]
    version: Callable[[], str]
    columns: Callable[[Any], Sequence[str]] = lambda settings: ()
    needs_gold: bool = True


def one_by_one(
    judge: Callable[[Any, Row, str], Verdict],
) -> Callable[[Any, Tools], AbstractContextManager[JudgeAll]]:
    """`Judge.open` of a plain function ``judge(settings, row, response) -> Verdict``."""

    @contextlib.contextmanager
    def opened(settings: Any, tools: Tools) -> Iterator[JudgeAll]:
        yield lambda answers: [judge(settings, one.row, one.response) for one in answers]

    return opened


# --------------------------------------------------------------------------------- builders


@dataclass(frozen=True, kw_only=True, slots=True)
class GoldRow:
    """A row with its gold response.

    Attributes:
        row: place in the user's data.
        prompt: the chat before the last assistant's turn, or plain text.
        gold: the response that plain fine-tuning would train on.
        columns: the user's columns.
        seed: of this row, made of the recipe's seed and the row's place, in [0, 2**31); a builder
            adds the number of the attempt.
    """

    row: int
    prompt: Prompt
    gold: str
    columns: Row = field(default_factory=dict)
    seed: int = 0

    @property
    def question(self) -> str:
        """The prompt as one text: the last user's turn of a chat."""
        if isinstance(self.prompt, str):
            return self.prompt
        turns = [str(m.get("content") or "") for m in self.prompt if m.get("role") == "user"]
        return turns[-1] if turns else ""

    def answer(self, response: str) -> Answer:
        """A response to this row, to be judged."""
        row = {**self.columns, "prompt": self.question, "gold": self.gold}
        return Answer(row=row, response=response)


@dataclass(frozen=True, kw_only=True, slots=True)
class Built:
    """The target of one row, and where it comes from.

    Attributes:
        row: as in `GoldRow`.
        response: the text to train on.
        source: ``own``, ``paraphrase`` or ``gold``.
        verdict: on this response; None where none was asked for.
        attempts: requests that were made for this row.
        seed: of the request that gave the response; None for a gold.
        perplexity: of the response under the base, given the prompt; None where not computed.
        pass_rate: share, in [0, 1], of the model's own answers to the row that are correct; None
            where not computed, or where no verdict was one.
        note: why an earlier attempt was not taken, in words.
    """

    row: int
    response: str
    source: str
    verdict: Verdict | None = None
    attempts: int = 0
    seed: int | None = None
    perplexity: float | None = None
    pass_rate: float | None = None
    note: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Dropped:
    """A row that a builder leaves out, and why; only where its settings say so."""

    row: int
    reason: str
    attempts: int = 0


@dataclass(frozen=True, kw_only=True)
class Builder(Component):
    """Targets in the model's own words.

    Attributes:
        build: ``build(settings, rows, tools)``: one `Built` or `Dropped` for each row, in order.
            It is called with one shard of rows after the other, and again with the same rows when
            a killed job goes on; ``tools.generate`` then has what it was asked before. It is pure
            but for the tools.
        judged: ``judged(settings)``: whether it cannot do without ``tools.judge``.
        scored: ``scored(settings)``: whether it asks ``tools.perplexity``; else none is lent.
        published: compositions in a paper, by data set: shares of own, paraphrase and gold.
    """

    build: Callable[[Any, Sequence[GoldRow], Tools], Sequence[Built | Dropped]]
    judged: Callable[[Any], bool] = lambda settings: True
    scored: Callable[[Any], bool] = lambda settings: False
    published: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
