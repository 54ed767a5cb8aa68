"""Settings of the scorers and masks of this method."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, Literal

import pydantic

from ppx_ext import ModelRef, Need

Unit = Literal["perplexity", "nll"]
DEFAULT_THRESHOLD = 2.5


class _Settings(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="forbid", frozen=True)


class CausalLmSettings(_Settings):
    """Which number of the next-token distribution is the score, and under which model.

    Attributes:
        score: ``nll`` = -log p of the token (nats), ``entropy`` of the distribution (nats), or
            ``rank`` of the token (0 = the most likely one).
        model: a folder or hub id; None is the recipe's own untouched base.
        revision: of ``model``.
        adapter: a PEFT adapter put on top.
    """

    score: Literal["nll", "entropy", "rank"] = "nll"
    model: str | None = None
    revision: str | None = None
    adapter: str | None = None

    def ref(self) -> ModelRef:
        """The model that is read."""
        return ModelRef(path=self.model, revision=self.revision, adapter=self.adapter)


class ColumnSettings(_Settings):
    """Scores that the user brings, one list of numbers a row.

    Attributes:
        column: name of the column.
        unit: ``perplexity`` (1/p, at least 1) or ``nll`` (-log p in nats, at least 0). Scores are
            handed on in this unit, unconverted, so that comparing them stays exact.
    """

    column: str
    unit: Unit = "perplexity"


class _MaskSettings(_Settings):
    """What every mask here has.

    Attributes:
        min_kept_tokens: where a row would keep fewer targets, its lowest-perplexity ones stay, up
            to this many. 1 by default: a row without any target gives a NaN loss in some trainers.
            The end of a turn is kept anyway, so that this binds only in rows cut before it.
        mask_end_of_turn: may mask the token that ends the turn too; off, so that the model still
            learns to stop.
        normalize_newlines: turns CRLF and CR of the gold responses into LF before they are
            tokenised, and nothing else (spaces at the ends of lines stay).
        strip_line_ends: takes blanks at the ends of lines out of the gold responses.
        scoring_model: score with this model in place of the recipe's base; it must share its
            tokenizer. The paper (Table 3) finds that this does worse.
        scoring_revision: of ``scoring_model``.
        scores_from: a column with one score for each token, in place of any scoring.
        scores_unit: unit of that column.
    """

    min_kept_tokens: int = pydantic.Field(default=1, ge=0)
    mask_end_of_turn: bool = False
    normalize_newlines: bool = False
    strip_line_ends: bool = False
    scoring_model: str | None = None
    scoring_revision: str | None = None
    scores_from: str | None = None
    scores_unit: Unit = "perplexity"

    @pydantic.model_validator(mode="after")
    def _one_source(self) -> _MaskSettings:
        if (
            self.scores_from is None
            and "scores_unit" in self.model_fields_set
            and not _is_default(self, "scores_unit")
        ):
            raise ValueError("scores_unit has no meaning without scores_from: name the column")
        if self.scores_from is not None and self.scoring_model is not None:
            raise ValueError(
                "scores_from and scoring_model exclude each other: the scores come from a column "
                "or from a model; remove one of them"
            )
        edits = ("normalize_newlines", "strip_line_ends")
        edited = [name for name in edits if getattr(self, name)]
        if self.scores_from is not None and edited:
            raise ValueError(
                f"scores_from and {edited[0]} exclude each other: edited text has other "
                "tokens than those that the column scores; remove one of them"
            )
        if self.scoring_revision is not None and self.scoring_model is None:
            raise ValueError("scoring_revision has no meaning without scoring_model")
        return self

    @property
    def score_name(self) -> Unit:
        """The name that the base's score goes by: its unit."""
        return self.scores_unit if self.scores_from is not None else "nll"

    def base_need(self) -> Need:
        """The base's score of each target, from a model or from the user's column."""
        if self.scores_from is not None:
            settings = {"column": self.scores_from, "unit": self.scores_unit}
            return Need(score=self.score_name, scorer="column", settings=settings)
        given = {"model": self.scoring_model, "revision": self.scoring_revision}
        settings = {key: value for key, value in given.items() if value is not None}
        return Need(score="nll", scorer="causal_lm", settings=settings)


def _is_default(model: pydantic.BaseModel, field: str) -> bool:
    return bool(getattr(model, field) == type(model).model_fields[field].default)


class StmSettings(_MaskSettings):
    """Settings of ``stm`` and of its controls; give ``ppl_threshold`` or ``mask_fraction``.

    Attributes:
        ppl_threshold: tokens of a higher perplexity are masked, equal ones are kept. Above 1;
            infinity masks nothing. The paper's 2.5 means: keep tokens of probability 0.4 or more.
        mask_fraction: in [0, 1): mask at most this share of the data set's targets, the hardest
            ones; tokens that tie at the line are kept. The right threshold varies by model: the
            authors aim at 0.20 to 0.25 (section 5.3).
    """

    ppl_threshold: float | None = DEFAULT_THRESHOLD
    mask_fraction: float | None = pydantic.Field(default=None, ge=0.0, lt=1.0)

    @pydantic.model_validator(mode="before")
    @classmethod
    def _fraction_replaces_default(cls, values: Any) -> Any:
        if isinstance(values, dict) and values.get("mask_fraction") is not None:
            return {"ppl_threshold": None, **values}
        return values

    @pydantic.model_validator(mode="after")
    def _one_line(self) -> StmSettings:
        if (self.ppl_threshold is None) == (self.mask_fraction is None):
            raise ValueError("give either ppl_threshold or mask_fraction, not both and not none")
        return self

    @pydantic.field_validator("ppl_threshold")
    @classmethod
    def _possible(cls, value: float | None) -> float | None:
        return None if value is None else check_threshold(value)

    @pydantic.field_serializer("ppl_threshold", when_used="json")
    def _as_json(self, value: float | None) -> float | str | None:
        return "inf" if value is not None and math.isinf(value) else value


class DpfSettings(_MaskSettings):
    """Settings of ``dpf`` (appendix G).

    Attributes:
        tuned: the base fine-tuned on the unmasked data: a folder with a PEFT adapter, or a model.
        dpf_threshold: targets whose perplexity rose by more than this are masked.
    """

    tuned: str
    dpf_threshold: float = pydantic.Field(default=0.0, allow_inf_nan=False)

    def tuned_need(self) -> Need:
        """The tuned model's nll of each target."""
        is_adapter = (Path(self.tuned) / "adapter_config.json").is_file()
        settings = {"adapter" if is_adapter else "model": self.tuned}
        if is_adapter and self.scoring_model is not None:
            given = {"model": self.scoring_model, "revision": self.scoring_revision}
            settings |= {key: value for key, value in given.items() if value is not None}
        return Need(score="nll_tuned", scorer="causal_lm", settings=settings)


class StmDpfSettings(DpfSettings):
    """Settings of ``stm_dpf``: ``dpf``, and then STM's threshold at 100 (appendix G)."""

    ppl_threshold: float = 100.0

    @pydantic.field_validator("ppl_threshold")
    @classmethod
    def _possible(cls, value: float) -> float:
        return check_threshold(value)

    @pydantic.field_serializer("ppl_threshold", when_used="json")
    def _as_json(self, value: float) -> float | str:
        return "inf" if math.isinf(value) else value


def check_threshold(value: float) -> float:
    """``value``, where it is a threshold that a perplexity can lie above and below.

    Raises:
        ValueError: it is 1 or less, or NaN.
    """
    if value <= 0:
        raise ValueError(
            "a perplexity is never below 1, so this would mask every token. Write .inf to mask "
            "none (the authors' scripts write 0 or -1 for that)"
        )
    if not value > 1:
        raise ValueError(
            "must be above 1: a perplexity is never below 1, so this would mask every token. The "
            "paper uses 2.5, and 1.5 to 1000 in its sweep"
        )
    return value
