"""Responses from a model, kept request by request. Importing this package imports nothing heavy.

========== ====================================================================
asking     `open_generator`: an engine whose answers are kept, with failures counted
ledger     the answers of one job on disk
rendering  a request -> the text that the model goes on with
local      answers of a causal LM in this process, in batches
batches    requests as token ids, and which of them share a batch
drawing    tokens drawn by a number of the request's own, and stop texts
sharing    beginnings that samples share, computed once
continuous transformers' continuous batching, with its results checked
========== ====================================================================
"""

from ppx_ext.generation.asking import (
    MAX_FAILURES_IN_ROW,
    Asker,
    GenerationStoppedError,
    open_generator,
)
from ppx_ext.generation.local import answer_in_process, named_model
from ppx_ext.generation.rendering import Rendered, end_ids, render

__all__ = [
    "MAX_FAILURES_IN_ROW",
    "Asker",
    "GenerationStoppedError",
    "Rendered",
    "answer_in_process",
    "end_ids",
    "named_model",
    "open_generator",
    "render",
]
