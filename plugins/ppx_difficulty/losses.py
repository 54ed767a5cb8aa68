"""Measures under the base model: the loss of a response, and what its prompt does to it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

import numpy as np
import pydantic

from ppx_difficulty.texts import NoSettings
from ppx_ext import Example, ExampleScorer, ModelRef, Need, Scored, Tools

if TYPE_CHECKING:
    from ppx_difficulty.texts import Scores

_BASE = ModelRef()


class IfdSettings(NoSettings):
    """Settings of ``ifd``.

    Attributes:
        ratio: of ``perplexity`` (Superfiltering, arXiv 2402.00530), or of ``loss`` (arXiv
            2308.12032). Both are below 1 where the prompt helps.
    """

    ratio: Literal["perplexity", "loss"] = "perplexity"


def nll(settings: pydantic.BaseModel, rows: Sequence[Scored], tools: Tools) -> Scores:
    """Mean loss of each row's targets under the base, in nats, float64 (N,).

    It is what plain fine-tuning begins with: given the prompt, the end of the turn included.
    """
    return np.array([_mean(row.scores["nll"]) for row in rows], dtype=np.float64)


def ifd(settings: IfdSettings, rows: Sequence[Scored], tools: Tools) -> Scores:
    """Instruction-Following Difficulty of each row, float64 (N,).

    Perplexity (or loss) of the response given its prompt, over that of the response alone, without
    prompt and template. Both means are over the same tokens: those that end a turn are left out,
    and so is the first one, which nothing predicts when the response stands alone. Several turns
    of the assistant are one response. NaN where fewer than two tokens are left.
    """
    content = [row.example.target_T & ~row.example.end_T for row in rows]
    alone = [_alone(row.example, content_T) for row, content_T in zip(rows, content, strict=True)]
    places = [at for at, example in enumerate(alone) if len(example.ids_T) > 1]
    found = tools.token_scores([alone[at] for at in places], _BASE, ["nll"]) if places else []
    ifd_N = np.full(len(rows), np.nan)
    for at, scores in zip(places, found, strict=True):
        given_R = rows[at].scores["nll"][content[at][rows[at].example.target_T]][1:]
        with_prompt, without = _mean(given_R), _mean(scores["nll"])
        ifd_N[at] = _ratio(settings, with_prompt, without)
    return ifd_N


def _ratio(settings: IfdSettings, with_prompt: float, without: float) -> float:
    if settings.ratio == "perplexity":
        return math.exp(with_prompt - without)
    return with_prompt / without if without > 0 else math.nan


def _alone(example: Example, content_T: np.ndarray) -> Example:
    ids_T = example.ids_T[content_T]
    target_T = np.arange(len(ids_T)) > 0
    return Example(row=example.row, ids_T=ids_T, target_T=target_T, end_T=np.zeros_like(target_T))


def _mean(nll_R: np.ndarray) -> float:
    return float(np.mean(nll_R, dtype=np.float64)) if len(nll_R) else math.nan


def _needs(settings: pydantic.BaseModel) -> list[Need]:
    return [Need(score="nll", scorer="causal_lm", settings={"score": "nll"})]


NLL = ExampleScorer(
    name="nll",
    paper="arXiv 2501.14315",
    settings=NoSettings,
    score=nll,
    needs=_needs,
    unit="nats per token",
)
IFD = ExampleScorer(
    name="ifd",
    paper="arXiv 2308.12032",
    settings=IfdSettings,
    score=ifd,
    needs=_needs,
    model=lambda settings: _BASE,
    unit="ratio",
)
