"""Fine-tuning that does not make the model forget, as a plugin for TRL and Axolotl.

This is the face: all that a method may import. See `plugins/README.md` for how to write one.
"""

from ppx_ext.answering import (
    Answer,
    Ask,
    Builder,
    Built,
    Decoding,
    Dropped,
    Failure,
    Generator,
    GoldRow,
    Judge,
    JudgeAll,
    Judgement,
    LentModel,
    Message,
    Prompt,
    Request,
    Response,
    Verdict,
    one_by_one,
)
from ppx_ext.contracts import (
    IGNORE,
    Candidates,
    Choice,
    Component,
    Example,
    ExampleScorer,
    Mask,
    ModelRef,
    Need,
    Row,
    Sampler,
    Scored,
    StageRecord,
    TokenScorer,
    Tools,
)
from ppx_ext.evaluation import (
    Grade,
    Graded,
    Item,
    each,
    fingerprint_of,
    score_items,
    score_texts,
    shared,
)
from ppx_ext.generation import Rendered, answer_in_process, end_ids, named_model, render
from ppx_ext.priors import prior_window
from ppx_ext.readers import Found, read_rows
from ppx_ext.rows import Fields, canonical_rows
from ppx_ext.suites import EvalSuite, Planned, Score, Subject, TaskScore, TextScore

try:
    from ppx_ext.hookspecs import hookimpl
except ImportError as error:  # a host that takes this for "no such plugin" would train without us
    raise RuntimeError(
        f"ppx-ext is not whole, and this would be a plain run: {error}. Run: pip install ppx-ext"
    ) from error

__version__ = "0.1.0"

__all__ = [
    "IGNORE",
    "Answer",
    "Ask",
    "Builder",
    "Built",
    "Candidates",
    "Choice",
    "Component",
    "Decoding",
    "Dropped",
    "EvalSuite",
    "Example",
    "ExampleScorer",
    "Failure",
    "Fields",
    "Found",
    "Generator",
    "GoldRow",
    "Grade",
    "Graded",
    "Item",
    "Judge",
    "JudgeAll",
    "Judgement",
    "LentModel",
    "Mask",
    "Message",
    "ModelRef",
    "Need",
    "Planned",
    "Prompt",
    "Rendered",
    "Request",
    "Response",
    "Row",
    "Sampler",
    "Score",
    "Scored",
    "StageRecord",
    "Subject",
    "TaskScore",
    "TextScore",
    "TokenScorer",
    "Tools",
    "Verdict",
    "__version__",
    "answer_in_process",
    "canonical_rows",
    "each",
    "end_ids",
    "fingerprint_of",
    "hookimpl",
    "named_model",
    "one_by_one",
    "prior_window",
    "read_rows",
    "render",
    "score_items",
    "score_texts",
    "shared",
]
