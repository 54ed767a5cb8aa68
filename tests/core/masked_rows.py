"""Rows scored by a tiny model, with the labels that baking gives them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

import ppx_stm
from ppx_ext import catalog, masking, plan, scoring, store, tokens
from ppx_ext.contracts import Mask, Scored
from ppx_ext.plan import Stage

if TYPE_CHECKING:
    from ppx_ext.contracts import Bools

CATALOG = catalog.load([("ppx-ext", ppx_stm)])
END = 2
ENDS = frozenset({END})
SEED = 5
# The tiny models are random: perplexities lie around the size of their vocabulary.
THRESHOLD = 200.0


def mask_stage(use: str = "stm", **settings: Any) -> Stage[Mask]:
    settings = {"ppl_threshold": THRESHOLD, **settings}
    if settings.get("mask_fraction"):
        del settings["ppl_threshold"]
    found = plan.parse({"mask": {"use": use, **settings}}, CATALOG).mask
    assert found is not None
    return found


@dataclass(frozen=True, kw_only=True)
class Rows:
    """Features as a host hands them to its collator, plain, with scores, and baked."""

    plain: list[dict[str, Any]]
    scored: list[dict[str, Any]]
    baked: list[dict[str, Any]]
    state: Any
    keep: list[Bools]

    @property
    def masked_targets(self) -> int:
        return sum(int((~keep_R).sum()) for keep_R in self.keep)


def make_rows(model: Any, stage: Stage[Mask], *, rows: int = 8, seed: int = 0) -> Rows:
    """Chats of random ids: a prompt, a response with its end, and half of them a second turn."""
    random = np.random.default_rng(seed)
    examples = [_example(random, number) for number in range(rows)]
    found = scoring.token_scores(
        model, [e.ids_T for e in examples], [e.target_T for e in examples], names=("nll",)
    )
    nlls = [scores["nll"] for scores in found]
    scored = [
        Scored(example=example, scores={"nll": store.quantize(nll_R)})
        for example, nll_R in zip(examples, nlls, strict=True)
    ]
    state = masking.fit(stage, scored)
    keep = [masking.keep_targets(stage, state, row, seed=SEED) for row in scored]
    plain = [
        {"input_ids": e.ids_T.tolist(), "labels": tokens.labels_of(e).tolist()} for e in examples
    ]
    return Rows(
        plain=plain,
        scored=[
            {**row, "ppx_nll": store.encode(nll_R), "ppx_row": example.row}
            for row, nll_R, example in zip(plain, nlls, examples, strict=True)
        ],
        baked=[
            {**row, "labels": tokens.labels_of(e, masking.expand(e, keep_R)).tolist()}
            for row, e, keep_R in zip(plain, examples, keep, strict=True)
        ],
        state=state,
        keep=keep,
    )


def _example(random: np.random.Generator, number: int) -> Any:
    ids, labels = [], []
    for _ in range(1 + number % 2):
        prompt = random.integers(3, 300, random.integers(2, 8)).tolist()
        response = [*random.integers(3, 300, random.integers(3, 20)).tolist(), END]
        ids += prompt + response
        labels += [-100] * len(prompt) + response
    return tokens.from_labels(number, ids, labels, ENDS, {})
