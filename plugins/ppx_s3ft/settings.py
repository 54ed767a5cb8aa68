"""Settings of the builders of this package."""

from __future__ import annotations

from typing import Literal

import pydantic

from ppx_ext import Decoding, GoldRow, Request
from ppx_s3ft.wording import Template, Wording

LEAKS = (
    "reference answer",
    "your response",
    "my response",
    "your own response",
    "now it's your turn",
)
"""What SDFT refuses in a rewrite (arXiv 2402.13669, the authors' repository)."""

LEAKING_STARTS = ("Your turn",)
_SEEDS = 2**31

Fallback = Literal["gold", "drop"]


class AskSettings(pydantic.BaseModel):
    """What every builder here has.

    Attributes:
        prompts: what the model is asked with: a name of `wording.SHIPPED`, or a YAML file's path.
        temperature: 0 takes the likeliest token, always.
        top_p: draw from the likeliest tokens that hold this share of the probability.
        max_new_tokens: a response is cut there.
        stop: texts before which a response ends.
        keep_cut_off: also train on responses that were cut at ``max_new_tokens``. They teach the
            model not to stop, so they are refused, whatever a judge would say of them.
    """

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True)

    prompts: Wording = pydantic.Field(default="plain", validate_default=True)
    temperature: float = pydantic.Field(default=0.0, ge=0.0)
    top_p: float = pydantic.Field(default=1.0, gt=0.0, le=1.0)
    max_new_tokens: int = pydantic.Field(default=512, gt=0)
    stop: tuple[str, ...] = ()
    keep_cut_off: bool = False

    @pydantic.field_validator("stop")
    @classmethod
    def _says_something(cls, texts: tuple[str, ...]) -> tuple[str, ...]:
        if not all(texts):
            raise ValueError("an empty text would stop every response before it begins")
        return texts

    def request(self, template: Template, row: GoldRow, attempt: int) -> Request:
        """What the engine is asked for ``row``; each attempt at it has a seed of its own."""
        decoding = Decoding(
            temperature=self.temperature,
            top_p=self.top_p,
            max_new_tokens=self.max_new_tokens,
            stop=self.stop,
        )
        seed = (row.seed + attempt) % _SEEDS
        prompt = template.ask(row)
        return Request(prompt=prompt, decoding=decoding, seed=seed, prefix=template.prefix)


class _RewriteSettings(AskSettings):
    """What every builder has that shows the gold to the model.

    Attributes:
        leaks: a rewrite that holds one of these, in any case, speaks of its being one: refused.
        leaking_starts: the same of how a rewrite begins.
    """

    leaks: tuple[str, ...] = LEAKS
    leaking_starts: tuple[str, ...] = LEAKING_STARTS

    def leak(self, text: str) -> str:
        """Why a rewrite is refused, or nothing."""
        low = text.lower()
        for phrase in self.leaks:
            if phrase.lower() in low:
                return f"it speaks of {phrase!r}"
        for start in self.leaking_starts:
            if low.lstrip().startswith(start.lower()):
                return f"it begins with {start!r}"
        return ""


class S3ftSettings(_RewriteSettings):
    """Settings of ``s3ft`` (arXiv 2502.08130).

    The paper's decoding is not published: greedy is ours.

    Attributes:
        paraphrase: ask a second time, with the gold shown. Without it this is Selective
            Self-Rehearsal (arXiv 2409.04787), S3FT's predecessor.
    """

    paraphrase: bool = True


class SelfOutputSettings(AskSettings):
    """Settings of ``self_output`` (arXiv 2501.14315, section 2.3).

    Attributes:
        samples: responses drawn for each row; 32 in the paper.
        temperature: 0.7 in the paper.
        top_p: 0.95 in the authors' script for MBPP; the paper names none.
        pick: which of the correct ones is trained on: the ``first`` drawn, the ``shortest`` (in
            characters), or the one of ``lowest_perplexity`` under the base, as in the paper.
        conditional: perplexity given the row's prompt under the chat template; False is that of the
            response alone, as in the paper. The authors slide a window of 1024 tokens over it in
            steps of 512; this is the exact value, with the whole response in context.
        fallback: what a row without a correct response becomes: its ``gold``, or ``drop``, which
            leaves it out, as in the paper.
    """

    samples: int = pydantic.Field(default=32, gt=0)
    temperature: float = pydantic.Field(default=0.7, ge=0.0)
    top_p: float = pydantic.Field(default=0.95, gt=0.0, le=1.0)
    pick: Literal["first", "shortest", "lowest_perplexity"] = "lowest_perplexity"
    conditional: bool = False
    fallback: Fallback = "drop"

    @pydantic.model_validator(mode="after")
    def _draws(self) -> SelfOutputSettings:
        if self.samples > 1 and self.temperature == 0:
            raise ValueError(
                f"at temperature 0 all {self.samples} samples of a prompt are the same: give a "
                "temperature, or samples: 1"
            )
        return self


class RephraseSettings(_RewriteSettings):
    """Settings of ``rephrase`` (SDFT, arXiv 2402.13669; "Rephrase" of arXiv 2501.14315).

    Attributes:
        temperature, top_p: as in the STM authors' script.
        fallback: what a row becomes whose rewrite is refused, or judged not correct: its ``gold``,
            as in SDFT, or ``drop``, which leaves it out, as in STM's comparison.
    """

    temperature: float = pydantic.Field(default=0.7, ge=0.0)
    top_p: float = pydantic.Field(default=0.95, gt=0.0, le=1.0)
    fallback: Fallback = "gold"
