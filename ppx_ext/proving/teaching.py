"""A small model taught some rows by heart, so that it can answer some of a recipe's questions.

A random model is surprised by every token and answers nothing: a mask would leave the ends of turns
only, and a builder nothing but golds. So half of the distinct rows are learnt first.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ppx_ext.proving import stand_ins
from ppx_ext.proving.published import Published

STEPS, RATE, LEARNT = 60, 1e-2, 0.02


def write(about: Published, folder: Path, rows: Sequence[Any], *, others: bool = False) -> None:
    """Write a small model of an architecture that knows half of the distinct rows by heart.

    Args:
        about: the model in whose place it stands.
        folder: is made.
        rows: chats, lists of messages.
        others: know the other half.
    """
    distinct = [json.loads(text) for text in dict.fromkeys(json.dumps(row) for row in rows)]
    half = max(1, len(distinct) // 2)
    known = (distinct[half:] or distinct) if others else distinct[:half]
    said = [turn["content"] for row in distinct for turn in row]
    model = stand_ins.write_model(about, folder, said)
    _learn(model, folder, known)
    model.save_pretrained(folder)


def _learn(model: Any, folder: Path, rows: Sequence[Any]) -> None:
    import torch
    from transformers import AutoTokenizer

    words: Any = AutoTokenizer.from_pretrained(folder)
    words.pad_token = words.pad_token or words.eos_token
    texts = [words.apply_chat_template(row, tokenize=False) for row in rows]
    batch = words(
        texts,
        add_special_tokens=False,
        return_tensors="pt",
        padding=True,
        padding_side="right",
        truncation=True,
        max_length=512,
    )
    labels = batch["input_ids"].masked_fill(batch["attention_mask"] == 0, -100)
    optimiser = torch.optim.AdamW(model.parameters(), lr=RATE)
    model.train()
    for _ in range(STEPS):
        loss = model(**batch, labels=labels).loss
        loss.backward()
        optimiser.step()
        optimiser.zero_grad()
        if loss.item() < LEARNT:
            break
    model.eval()
