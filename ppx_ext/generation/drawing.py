"""Tokens drawn by a number of the request's own, and responses that end before a stop text."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from transformers import LogitsProcessor, LogitsProcessorList, StoppingCriteria
from transformers.generation.logits_process import TemperatureLogitsWarper, TopPLogitsWarper

from ppx_ext.answering import Decoding

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase as Tokenizer

    from ppx_ext.contracts import Floats

SLACK_TOKENS = 8


def draws(ids: Sequence[int], seed: int, steps: int) -> Floats:
    """Uniform numbers in [0, 1), float64 (steps,): one for each token of one response.

    They hang on the prompt and the request's seed alone, and so does the response: not on the
    requests beside it, their number, or what was answered before.
    """
    hashed = hashlib.blake2b(np.asarray(ids, dtype=np.int64).tobytes(), digest_size=16)
    hashed.update(str(seed).encode())
    return np.random.default_rng(int.from_bytes(hashed.digest(), "big")).random(steps)


def drawing(decoding: Decoding, draws_BS: torch.Tensor) -> LogitsProcessorList:
    """Temperature, then top-p, then a token for each row by its own number.

    Only the drawn token keeps a score, so that greedy decoding takes it.
    """
    found = LogitsProcessorList()
    if decoding.temperature != 1.0:
        found.append(TemperatureLogitsWarper(decoding.temperature))
    if decoding.top_p < 1.0:
        found.append(TopPLogitsWarper(decoding.top_p))
    found.append(Draw(draws_BS))
    return found


class Draw(LogitsProcessor):
    """Inverse transform sampling: the first token at which the cumulative probability passes u."""

    def __init__(self, draws_BS: torch.Tensor) -> None:
        self.draws_BS = draws_BS
        self.step = 0

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """Scores (B, V) -> 0 at the drawn token, -inf elsewhere."""
        # In float64 the order in which a device adds up plays no part in which token is drawn.
        cumulative_BV = scores.float().softmax(-1).cumsum(-1, dtype=torch.float64)
        line_B1 = self.draws_BS[:, self.step : self.step + 1] * cumulative_BV[:, -1:]
        # `right`: a token of no probability is never the first to pass the line.
        token_B1 = torch.searchsorted(cumulative_BV, line_B1, right=True)
        self.step += 1
        drawn_BV = torch.full_like(scores, -torch.inf)
        return drawn_BV.scatter_(1, token_B1.clamp_(max=scores.shape[1] - 1), 0.0)


class StopAt(StoppingCriteria):
    """Ends a row once a stop text is in its response. What follows is cut from the text later."""

    def __init__(self, tokenizer: Tokenizer, stop: Sequence[str], prompt_tokens: int) -> None:
        self.tokenizer = tokenizer
        self.stop = stop
        self.prompt_tokens = prompt_tokens
        # A stop text has at most one token for each byte; it ends with the newest token.
        self.window = max(len(text.encode()) for text in stop) + SLACK_TOKENS

    def __call__(
        self, input_ids: torch.Tensor, scores: torch.Tensor, **kwargs: object
    ) -> torch.Tensor:
        """Ids (B, T) so far -> which rows are done, bool (B,)."""
        first = max(self.prompt_tokens, input_ids.shape[1] - self.window)
        tails = self.tokenizer.batch_decode(input_ids[:, first:], skip_special_tokens=True)
        done = [any(stop in tail for stop in self.stop) for tail in tails]
        return torch.tensor(done, device=input_ids.device)


def cut(text: str, stop: Sequence[str]) -> tuple[str, bool]:
    """The text before the first of the stop texts, and whether there was one."""
    found = [place for place in (text.find(each) for each in stop) if place >= 0]
    return (text[: min(found)], True) if found else (text, False)
