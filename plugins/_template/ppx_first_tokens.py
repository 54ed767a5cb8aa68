"""A mask that trains on the first tokens of each response: the smallest whole method."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pydantic

from ppx_ext import Mask, Need, Scored, hookimpl


class Settings(pydantic.BaseModel):
    """What stands beside `use: first_tokens` in the `ppx:` block.

    Attributes:
        tokens: how many targets of each row keep their loss.
    """

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True)

    tokens: int = pydantic.Field(default=16, gt=0)


def needs(settings: Settings) -> Sequence[Need]:
    """The scores that are read; a mask by perplexity asks for `Need(score="nll", ...)`."""
    return ()


def fit(settings: Settings, scored: Iterable[Scored]) -> dict[str, Any]:
    """What a row alone cannot tell, such as a quantile of the whole data set: nothing here."""
    return {}


def keep(
    settings: Settings, state: dict[str, Any], scored: Scored, rng: np.random.Generator
) -> npt.NDArray[np.bool_]:
    """True for each target that keeps its loss, in order (R,)."""
    return np.arange(int(scored.example.target_T.sum())) < settings.tokens


FIRST_TOKENS = Mask(
    name="first_tokens",
    paper="an example, no paper",
    settings=Settings,
    needs=needs,
    fit=fit,
    keep=keep,
    online=lambda settings: True,
)


@hookimpl
def ppx_register_masks() -> Sequence[Mask]:
    """Called once, when the catalog of methods is loaded."""
    return [FIRST_TOKENS]
