"""Rows made by hand, and the authors' own."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

import ppx_stm
from ppx_ext import catalog, masking, plan
from ppx_ext.contracts import Example, Mask, Scored
from ppx_ext.plan import Stage

CATALOG = catalog.load([("ppx-ext", ppx_stm)])
PROMPT = 3


def stage(use: str = "stm", **settings: Any) -> Stage[Mask]:
    """A mask with settings, through the plan as a recipe would give it."""
    found = plan.parse({"mask": {"use": use, **settings}}, CATALOG).mask
    assert found is not None
    return found


def row(
    scores: Mapping[str, Sequence[float]], *, ends: Sequence[int] = (), number: int = 0
) -> Scored:
    """A row of three prompt tokens and then the scored targets; ``ends`` counts among targets."""
    arrays = {name: np.asarray(values) for name, values in scores.items()}
    targets = len(next(iter(arrays.values())))
    target_T = np.arange(PROMPT + targets) >= PROMPT
    end_T = np.isin(np.arange(PROMPT + targets), [PROMPT + end for end in ends])
    example = Example(
        row=number,
        ids_T=np.arange(PROMPT + targets, dtype=np.int32),
        target_T=target_T,
        end_T=end_T,
    )
    return Scored(example=example, scores=arrays)


def keep(chosen: Stage[Mask], scored: Scored, *, seed: int = 0) -> list[bool]:
    """What the mask keeps of one row, fitted on that row alone."""
    state = masking.fit(chosen, [scored])
    return masking.keep_targets(chosen, state, scored, seed=seed).tolist()


def authors_rows(data_dir: Path) -> list[dict[str, Any]]:
    """The authors' per-token perplexities of MBPP gold under Llama-3-8B-Instruct, 20 rows."""
    lines = (data_dir / "stm_llama3_mbpp_first20.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]
