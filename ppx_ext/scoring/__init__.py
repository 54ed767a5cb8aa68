"""Per-token scores of ids under a causal language model or its untouched base.

=========== ===================================================================
scores      `token_scores`: one forward pass gives NLL, entropy and rank
passes      logits -> scores
packing     rows -> forward passes, and logits of the wanted positions
tree        beginnings that rows share, computed once
varlen      attention over documents that lie end to end in one row
models      loading; the base behind adapters
whole       models that are whole, whatever sharding a run asks for
fingerprint what a cache of scores is bound to
=========== ===================================================================
"""

from ppx_ext.scoring.fingerprint import model_fingerprint
from ppx_ext.scoring.models import base_of, load_causal_lm
from ppx_ext.scoring.scores import SCORES, NotFiniteError, check_finite, token_scores

__all__ = [
    "SCORES",
    "NotFiniteError",
    "base_of",
    "check_finite",
    "load_causal_lm",
    "model_fingerprint",
    "token_scores",
]
