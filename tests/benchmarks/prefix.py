"""Goal A-3: eight real answers to each prompt, scored with what they begin with computed once.

Against the authors' loop and against our own scorer without sharing, in one process on one thread,
in processor time, rounds interleaved. Needs MBPP's rows and samples (`PPX_DATA`, or
`../shared/data`).
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ppx_ext.scoring import token_scores
from tests.benchmarks import scoring_parts as parts
from tests.benchmarks.result import Result
from tests.models import tiny_tokenizer

PROMPTS, ANSWERS, ROUNDS = 4, 8, 3
LONGER = 4


def run() -> Iterable[Result]:
    """Both ratios, for prompts as they are and made longer; without data it measures nothing."""
    folder = parts.data_folder()
    if folder is None:
        print("SKIPPED prefix: no mbpp_train.jsonl; set PPX_DATA to its folder", file=sys.stderr)
        return []
    torch.set_num_threads(1)
    found: list[Result] = []
    for longer in (1, LONGER):
        rows = answers(folder, longer=longer)
        for dtype in (torch.bfloat16, torch.float32):
            found += _of(rows, dtype, longer)
    parts.write(found, "prefix")
    return found


def answers(folder: Path, *, longer: int) -> parts.Rows:
    """Eight samples for each of four prompts; targets = the sample.

    A longer prompt has solved tasks in front, other ones for each prompt.
    """
    train, tasks = (
        [json.loads(line) for line in (folder / name).read_text(encoding="utf-8").splitlines()]
        for name in ("mbpp_train.jsonl", "mbpp_llama3_samples_first8.jsonl")
    )
    texts = [row["prompt"] + row["response"] for row in train]
    tokenizer = tiny_tokenizer(vocab_size=4096, corpus=texts)

    def encode(text: str) -> list[int]:
        return list(tokenizer(text, add_special_tokens=False)["input_ids"])

    solved = iter(train)
    ids, targets = [], []
    for task in tasks[:PROMPTS]:
        prompt = encode(task["prompt"])
        wanted = longer * len(prompt)
        while len(prompt) < wanted:
            shot = next(solved)
            prompt = [*encode(shot["prompt"] + shot["response"] + "\n\n"), *prompt]
        prompt = prompt[-wanted:]
        for sample in task["samples"][:ANSWERS]:
            ids.append(
                np.array([*prompt, *encode(sample["text"]), tokenizer.eos_token_id], np.int32)
            )
            targets.append(np.arange(len(ids[-1])) >= len(prompt))
    return ids, targets


def _of(rows: parts.Rows, dtype: torch.dtype, longer: int) -> Iterator[Result]:
    model = parts.random_llama("S32", dtype)
    found = flat(model, rows)
    error = parts.largest(found, [row["nll"] for row in token_scores(model, *rows)])
    assert error < (1e-4 if dtype == torch.float32 else 0.2), f"sharing changes scores: {error}"
    seconds = parts.interleaved(
        {
            "authors": lambda: parts.authors(model, *rows),
            "flat": lambda: flat(model, rows),
            "shared": lambda: token_scores(model, *rows),
        },
        ROUNDS,
    )
    name = f"S32 {str(dtype).removeprefix('torch.')}, {PROMPTS} prompts x {ANSWERS}"
    name += f", prompts {longer}x longer" if longer > 1 else ""
    for rival, words, goal, stretch in (
        ("authors", "the authors' loop", 2.8, 5.0),
        ("flat", "no sharing", 1.6, 2.5),
    ):
        ratio = parts.ratio(seconds[rival], seconds["shared"])
        yield Result(
            id="A-3",
            what=f"{name}: scorer that shares beginnings over {words}",
            value=ratio.value,
            goal=goal,
            stretch=stretch if longer > 1 else None,  # meant for long prompts
            note=f"rounds {ratio.low:.2f}-{ratio.high:.2f}; {_sizes(rows)}; largest difference "
            f"{error:.1g} nats",
        )


def flat(model: Any, rows: parts.Rows) -> list[Any]:
    """Our scorer, packed, without sharing."""
    with parts.unshared(model):
        return [row["nll"] for row in token_scores(model, *rows)]


def _sizes(rows: parts.Rows) -> str:
    ids, targets = rows
    apart, together = (parts.tokens_of(ids, shared=shared) for shared in (False, True))
    answer = int(np.mean([t.sum() for t in targets]))
    return (
        f"{apart} tokens, {together} with sharing; on average a prompt has "
        f"{apart // len(ids) - answer} and an answer {answer}"
    )
