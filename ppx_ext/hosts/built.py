"""The `build:` stage in a host: where its data are kept, and what is told of it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from ppx_ext.building.provenance import SOURCES
from ppx_ext.contracts import StageRecord
from ppx_ext.rows import Fields

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase as Tokenizer

FOLDER = "built"
"""Beside the scores: the folder of built data sets."""


def fields_of(tokenizer: Tokenizer) -> Fields:
    """Names of the columns that a builder writes, beside which the user's own may look alike."""
    if getattr(tokenizer, "chat_template", None):
        return Fields(messages="messages")
    return Fields(prompt="prompt", response="completion")


def told(records: Iterable[StageRecord]) -> list[str]:
    """One line for each data set that was built: whose words it is in."""
    return [_told(record) for record in records if record.stage == "build"]


def _told(record: StageRecord) -> str:
    shares = record.numbers["shares"]
    told = ", ".join(f"{source} {shares[source]:.1%}" for source in SOURCES)
    return f"{record.component}: {record.numbers['rows']:,} rows ({told})"
