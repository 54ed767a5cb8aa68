"""Measure a chat model on the demo's tasks: greedy responses and the share that is right."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from transformers import PreTrainedTokenizerBase

from ppx_ext.demo.tasks import TASK_NAMES, Row, is_correct, make_rows, question_of


def chat_prompt(row: Row) -> str:
    """The chat as text up to where the assistant begins to speak."""
    return f"<|im_start|>user\n{question_of(row)}<|im_end|>\n<|im_start|>assistant\n"


def held_out_rows(*, count: int, seed: int) -> list[Row]:
    """``count`` held-out chats of every task."""
    return [
        row for task in TASK_NAMES for row in make_rows(task, split="test", count=count, seed=seed)
    ]


@torch.no_grad()
def generate_responses(
    model: torch.nn.Module,
    tokenizer: PreTrainedTokenizerBase,
    rows: Sequence[Row],
    *,
    max_new_tokens: int = 56,
    batch_size: int = 128,
) -> list[str]:
    """The model's greedy response to each row's question, without special tokens."""
    model.eval()
    responses: list[str] = []
    for start in range(0, len(rows), batch_size):
        prompts = [chat_prompt(row) for row in rows[start : start + batch_size]]
        inputs = tokenizer(prompts, padding=True, padding_side="left", return_tensors="pt")
        outputs = model.generate(  # type: ignore[operator]
            input_ids=inputs.input_ids,
            attention_mask=inputs.attention_mask,
            max_new_tokens=max_new_tokens,
            do_sample=False,
        )
        new_ids = outputs[:, inputs.input_ids.shape[1] :]
        responses += tokenizer.batch_decode(new_ids, skip_special_tokens=True)
    return responses


def accuracy_by_task(
    model: torch.nn.Module,
    tokenizer: PreTrainedTokenizerBase,
    rows: Sequence[Row],
    *,
    strict: bool = False,
) -> dict[str, float]:
    """Share of right final answers (0 to 1) for each task among ``rows``."""
    marks: dict[str, list[bool]] = {}
    for row, text in zip(rows, generate_responses(model, tokenizer, rows), strict=True):
        marks.setdefault(row["task"], []).append(is_correct(text, row, strict=strict))
    return {task: round(sum(right) / len(right), 3) for task, right in marks.items()}
