"""One data set, one template, one block: the masks of TRL and of Axolotl are equal."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.hosts.axolotl.conftest import chats, pairs, write_rows

pytestmark = pytest.mark.axolotl

Config = Callable[..., Path]
Prepare = Callable[[Path], SimpleNamespace]
LONGEST = 450


def real_chats(folder: Path, tokenizer: Any) -> list[dict[str, Any]]:
    """Real code (some with CRLF) and real sums, as far as the tiny model holds them."""
    rows = []
    for name, asked, answered in (
        ("mbpp_train.jsonl", "text", "code"),
        ("gsm8k_train.jsonl", "question", "answer"),
    ):
        for line in (folder / name).read_text(encoding="utf-8").splitlines()[:120]:
            row = json.loads(line)
            said = [("user", row[asked]), ("assistant", row[answered])]
            rows.append({"messages": [{"role": r, "content": c} for r, c in said]})
    short = [row for row in rows if length(row, tokenizer) <= LONGEST]
    return [*short[:25], *short[-15:]]


def length(row: dict[str, Any], tokenizer: Any) -> int:
    text = tokenizer.apply_chat_template(row["messages"], tokenize=False)
    return len(tokenizer(text)["input_ids"])


@pytest.mark.parametrize(
    "settings",
    [
        {"ppl_threshold": 400.0},
        {"mask_fraction": 0.25, "normalize_newlines": True},
        {"ppl_threshold": 300.0, "mask_end_of_turn": True, "min_kept_tokens": 3},
    ],
    ids=["threshold", "fraction", "ends"],
)
def test_masks_of_both_hosts_are_equal(
    config: Config,
    prepare: Prepare,
    world: SimpleNamespace,
    data_dir: Path,
    tmp_path: Path,
    settings: dict[str, Any],
) -> None:
    rows = [*real_chats(data_dir, world.tokenizer), *chats(10, seed=5)]
    assert len(rows) == 50
    block = {"mask": {"use": "stm", **settings}}
    path = write_rows(world.root / "both.jsonl", rows)
    data = [{"path": str(path), "type": "chat_template"}]
    ours = prepare(config(ppx=block, datasets=data, sequence_len=512)).train
    theirs = pairs(trl_rows(world, rows, block, tmp_path))
    assert len(ours) == len(theirs) == len(rows)
    assert dict(ours) == dict(theirs)
    assert sum(label == -100 for _, labels in ours for label in labels) > 0


def trl_rows(world: Any, rows: list[dict[str, Any]], block: Any, folder: Path) -> Any:
    from datasets import Dataset

    from ppx_ext.hosts.trl_config import PpxSFTConfig
    from ppx_ext.hosts.trl_trainer import PpxSFTTrainer

    args = PpxSFTConfig(
        output_dir=str(folder / "trl"),
        ppx={**block, "cache_dir": str(folder / "scores")},
        assistant_only_loss=True,
        max_length=512,
        bf16=False,
        use_cpu=True,
        report_to="none",
    )
    trainer = PpxSFTTrainer(
        model=str(world.root / "llama"), args=args, train_dataset=Dataset.from_list(rows)
    )
    return trainer.train_dataset
