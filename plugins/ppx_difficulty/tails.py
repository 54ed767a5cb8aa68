"""The sampler `remove_tail`: all rows but the hardest or the easiest share."""

from __future__ import annotations

from typing import Literal

import numpy as np
import pydantic

from ppx_difficulty import ordering
from ppx_ext import Candidates, Choice, Sampler


class TailSettings(pydantic.BaseModel):
    """Settings of ``remove_tail``.

    Attributes:
        drop: the end of the order of difficulty that is left out.
        share: of the rows, in (0, 1).
        unique: leave out rows with the same tokens as an earlier one, before anything else.
    """

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True)

    drop: Literal["hardest", "easiest"]
    share: float = pydantic.Field(default=1 / 3, gt=0.0, lt=1.0)
    unique: bool = True


def choose(settings: TailSettings, candidates: Candidates, rng: np.random.Generator) -> Choice:
    """All rows but one tail, in the order of the data (arXiv 2605.12906, figure 2).

    Raises:
        ValueError: all rows are equally hard, or none is left.
    """
    alive = ordering.distinct(candidates, unique=settings.unique)
    ordered = ordering.by_difficulty(candidates, alive, rng, sampler="remove_tail")
    hardest = settings.drop == "hardest"
    window = (0.0, 1 - settings.share) if hardest else (settings.share, 1.0)
    kept = ordering.window_of(ordered, window, asked="what is left")
    dropped = len(alive) - len(kept)
    few = f"{settings.share:g} of {len(alive)} rows is less than one: no row is dropped"
    return Choice(
        index_K=np.sort(kept),
        window=window,
        left_out=ordering.counts(
            duplicates=len(candidates) - len(alive), **{f"the_{settings.drop}": dropped}
        ),
        notes=() if dropped else (few,),
    )


REMOVE_TAIL = Sampler(
    name="remove_tail",
    paper="arXiv 2605.12906",
    settings=TailSettings,
    choose=choose,
)
