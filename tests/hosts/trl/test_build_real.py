"""Real questions and real models' labelled answers, through the real judges, into TRL's loss."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from transformers import AutoModelForCausalLM

from ppx_ext.hosts import trl
from tests import sandbox
from tests.hosts import labelled, words
from tests.hosts.trl.lab import Lab, mask, score, shape_of, tokenised
from tests.hosts.trl.test_recipe import caught, write


@pytest.fixture(autouse=True)
def stand_in(monkeypatch: pytest.MonkeyPatch) -> None:
    words.install(monkeypatch)


@pytest.mark.slow
@pytest.mark.parametrize("read", [labelled.gsm8k, labelled.mbpp])
def test_labels_at_the_loss(
    read: Callable[[Path, Path], labelled.Labelled], data_dir: Path, tmp_path: Path
) -> None:
    if read is labelled.mbpp:
        sandbox.require()
    real = read(data_dir, tmp_path)
    tokenizer = labelled.save_base(tmp_path / "base")
    base = AutoModelForCausalLM.from_pretrained(tmp_path / "base")
    docs = [tokenised(chat, tokenizer) for chat in real.chats]
    for doc in docs:
        score(doc, base)
    golds = [d for d, source in zip(docs, real.sources, strict=True) if source == words.GOLD]
    nlls = [n for d in golds for n, t in zip(d.nll, d.target, strict=True) if t]
    line = labelled.line_among(nlls)
    block = {
        "build": real.build(),
        "mask": {"use": "stm", "ppl_threshold": line},
        "cache_dir": str(tmp_path / "scores"),
    }
    recipe = write(
        tmp_path,
        Lab(),
        tmp_path / "base",
        ppx=block,
        dataset_name=str(real.data),
        dataset_prompt_field="question",
        dataset_response_field="gold",
        max_length=labelled.MOST_TOKENS,
        max_steps=1,
    )
    found = caught(trl.train(recipe))
    expected, masked = set(), 0
    for doc, source in zip(docs, real.sources, strict=True):
        labels = [i if t else -100 for i, t in zip(doc.ids, doc.target, strict=True)]
        if source == words.GOLD:
            mask(doc, line, tokenizer.eos_token_id)
            masked += labels != doc.labels
            labels = doc.labels
        expected.add(shape_of(doc.ids, labels))
    assert found == expected
    assert masked > 0.7 * len(golds), "nearly every gold loses something"
    state = json.loads((tmp_path / "out" / "ppx_state.json").read_text())
    numbers = {record["stage"]: record["numbers"] for record in state["records"]}
    assert numbers["build"]["composition"] == real.composition()
