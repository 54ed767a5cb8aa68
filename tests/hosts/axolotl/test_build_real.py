"""Real questions and real models' labelled answers, through real judges, into Axolotl's loss."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests import sandbox
from tests.hosts import labelled, words
from tests.hosts.axolotl.conftest import Oracle, documents, tokens_of

pytestmark = [pytest.mark.axolotl, pytest.mark.slow]


@pytest.fixture(autouse=True)
def stand_in(monkeypatch: pytest.MonkeyPatch) -> None:
    words.install(monkeypatch)


@pytest.mark.parametrize("read", [labelled.gsm8k, labelled.mbpp])
def test_labels_at_the_loss(
    read: Callable[[Path, Path], labelled.Labelled],
    data_dir: Path,
    tmp_path: Path,
    config: Callable[..., Path],
    train: Callable[[Path], SimpleNamespace],
) -> None:
    if read is labelled.mbpp:
        sandbox.require()
    real = read(data_dir, tmp_path)
    tokenizer = labelled.save_base(tmp_path / "llama")
    oracle = Oracle(SimpleNamespace(root=tmp_path, tokenizer=tokenizer), "llama", real.chats)
    ids = [tuple(tokens_of(chat, tokenizer)[0]) for chat in real.chats]
    sources = dict(zip(ids, real.sources, strict=True))
    line = labelled.line_among(
        [
            math.log(perplexity)
            for key in ids
            if sources[key] == words.GOLD
            for perplexity, label in zip(oracle.perplexity[key], oracle.plain[key], strict=True)
            if label != -100
        ]
    )
    rows = [json.loads(text) for text in real.data.read_text(encoding="utf-8").splitlines()]
    chats = [
        {**row, "chat": [{"role": "user", "content": row["question"]},
                         {"role": "assistant", "content": row["gold"]}]}
        for row in rows
    ]  # fmt: skip
    path = tmp_path / "chats.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in chats), encoding="utf-8")
    found = train(
        config(
            base_model=str(tmp_path / "llama"),
            datasets=[{"path": str(path), "type": "chat_template", "field_messages": "chat"}],
            dataset_prepared_path=str(tmp_path / "prepared"),
            ppx={"build": real.build(), "mask": {"use": "stm", "ppl_threshold": line}},
            sequence_len=labelled.MOST_TOKENS,
            max_steps=None,
            micro_batch_size=4,
        )
    )
    seen = [document for entry in found.train for document in documents(entry)]
    assert sorted(key for key, _ in seen) == sorted(sources)
    masked = 0
    for key, labels in seen:
        gold = sources[key] == words.GOLD
        assert labels == (oracle.labels(key, line) if gold else oracle.plain[key]), sources[key]
        masked += labels != oracle.plain[key]
    assert masked > 0.7 * real.sources.count(words.GOLD), "nearly every gold loses something"
    state = json.loads((found.out / "ppx_state.json").read_text())
    numbers = {record["stage"]: record["numbers"] for record in state["records"]}
    assert numbers["build"]["composition"] == real.composition()
