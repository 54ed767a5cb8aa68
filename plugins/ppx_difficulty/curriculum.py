"""The sampler `curriculum`: all rows, in an order of difficulty that the host keeps."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Literal

import numpy as np
import pydantic

from ppx_difficulty import ordering
from ppx_ext import Candidates, Choice, Sampler

if TYPE_CHECKING:
    from ppx_difficulty.ordering import Places


class CurriculumSettings(pydantic.BaseModel):
    """Settings of ``curriculum``.

    Attributes:
        order: ``easy_to_hard`` or ``hard_to_easy`` goes through all rows in each epoch; ``staged``
            cuts them into as many bands as there are epochs, and trains on one after the other,
            the easiest first, each in a random order.
        epochs: passes that are spelled out; the host then makes one.
        replay: share, in [0, 1), of each epoch that comes from what was before. ``staged``: rows of
            easier bands again (where there are that many), mixed in at random. Else a row is there
            once in an epoch: this share of its rows is put off to a random later place.
        unique: leave out rows with the same tokens as an earlier one.
    """

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True)

    order: Literal["easy_to_hard", "hard_to_easy", "staged"] = "easy_to_hard"
    epochs: int = pydantic.Field(default=1, gt=0)
    replay: float = pydantic.Field(default=0.0, ge=0.0, lt=1.0)
    unique: bool = True

    @pydantic.model_validator(mode="after")
    def _stages(self) -> CurriculumSettings:
        if self.order == "staged" and self.epochs < 2:
            raise ValueError("staged trains on one band in each epoch: give epochs, 2 or more")
        return self


def choose(
    settings: CurriculumSettings, candidates: Candidates, rng: np.random.Generator
) -> Choice:
    """All rows, each epoch's one after the other.

    Raises:
        ValueError: all rows are equally hard, or there are fewer rows than bands.
    """
    alive = ordering.distinct(candidates, unique=settings.unique)
    ordered = ordering.by_difficulty(candidates, alive, rng, sampler="curriculum")
    if settings.order == "staged":
        passes = _staged(ordered, settings, rng)
    else:
        up = ordered if settings.order == "easy_to_hard" else ordered[::-1]
        passes = [_put_off(up, settings.replay, rng) for _ in range(settings.epochs)]
    return Choice(
        index_K=np.concatenate(passes),
        ordered=True,
        epochs=settings.epochs,
        left_out=ordering.counts(duplicates=len(candidates) - len(alive)),
        notes=_told(settings, passes),
        numbers={"rows_of_each_epoch": [len(one) for one in passes]},
    )


def _put_off(ordered: Places, share: float, rng: np.random.Generator) -> Places:
    """The rows in their order, but for a share of them, each at a random place further on."""
    rows = len(ordered)
    key_K = np.arange(rows, dtype=np.float64)
    late = rng.choice(rows, round(share * rows), replace=False)
    key_K[late] += rng.random(len(late)) * (rows - late)
    return ordered[np.argsort(key_K, kind="stable")]


def _staged(
    ordered: Places, settings: CurriculumSettings, rng: np.random.Generator
) -> list[Places]:
    edges = [band / settings.epochs for band in range(settings.epochs + 1)]
    bands = [
        ordering.window_of(ordered, (low, high), asked=f"band {at} of {settings.epochs}")
        for at, (low, high) in enumerate(itertools.pairwise(edges), start=1)
    ]
    passes, before = [], ordered[:0]
    for band in bands:
        again = min(round(_again(settings.replay, len(band))), len(before))
        replayed = rng.choice(before, again, replace=False)
        passes.append(rng.permutation(np.concatenate([band, replayed])))
        before = np.concatenate([before, band])
    return passes


def _again(share: float, rows: int) -> float:
    """Rows to add to ``rows``, so that they are this share of all."""
    return share / (1 - share) * rows


def _told(settings: CurriculumSettings, passes: list[Places]) -> tuple[str, ...]:
    if settings.order != "staged":
        return ()
    sizes = ", ".join(str(len(one)) for one in passes)
    return (f"staged: the {len(passes)} epochs have {sizes} rows",)


CURRICULUM = Sampler(
    name="curriculum",
    paper="Bengio et al., ICML 2009",
    settings=CurriculumSettings,
    choose=choose,
)
