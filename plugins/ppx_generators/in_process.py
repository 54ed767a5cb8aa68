"""The model of the run, in this process, through transformers."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any, Literal

import pydantic

from ppx_ext import Ask, Decoding, Generator, LentModel, answer_in_process


class Transformers(pydantic.BaseModel):
    """Settings of `transformers`; none of them changes an answer beyond rounding, see ``batching``.

    Attributes:
        batch_size: responses that are generated at one time.
        batching: ``padded``: batches of like length. ``continuous``: transformers' continuous
            batching, for greedy decoding without stop texts; sampled responses stay padded, where
            each draws by its own number. ``auto`` tries both on the first greedy requests, if
            there are enough, and goes on with the faster one.
        share_prefixes: compute the prompt of several samples once.
    """

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True)

    batch_size: int = pydantic.Field(default=32, gt=0)
    batching: Literal["auto", "padded", "continuous"] = "auto"
    share_prefixes: bool = True


def _open(settings: Transformers, model: LentModel) -> AbstractContextManager[Ask]:
    return answer_in_process(
        model,
        batch_size=settings.batch_size,
        batching=settings.batching,
        share_prefixes=settings.share_prefixes,
    )


def _reproducible(settings: Any, decoding: Decoding) -> bool:
    return True


TRANSFORMERS = Generator(
    name="transformers",
    paper="",
    settings=Transformers,
    open=_open,
    identity=lambda settings: {},
    reproducible=_reproducible,
)
"""Greedy or sampled, the same request gives the same response: alone, in any batch, in any run.
That is exact in float32, but for ties within its rounding; in a narrower dtype, another size of
batches can turn a token, as it can for transformers itself."""
