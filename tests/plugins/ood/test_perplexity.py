"""The suite `perplexity` against exp(loss) of the model itself."""

from __future__ import annotations

import copy
import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch

from ppx_ext import Subject, TextScore
from ppx_ood.perplexity import PerplexitySettings, Texts, check, evaluate
from tests.plugins.ood.conftest import Lab

TEXTS = ["Write a function to find the longest chain.", "def add(a, b):\n    return a + b"]
CHATS = [
    [{"role": "user", "content": "What is 2 + 3?"}, {"role": "assistant", "content": "5, I say"}],
    [
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": "Hello"},
        {"role": "user", "content": "Bye"},
        {"role": "assistant", "content": "So long"},
    ],
]


def write(path: Path, rows: list[Any]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(path)


def score(subject: Subject, **more: Any) -> TextScore:
    length = more.pop("max_length", None)
    asked = PerplexitySettings(tasks=({"name": "t", **more},), max_length=length)  # type: ignore[arg-type]
    (found,) = evaluate(asked, subject)
    return found


def nll(model: Any, ids: list[int], targets: list[bool]) -> float:
    """Summed NLL of the targets, from the model's logits."""
    with torch.no_grad():
        logp = model(input_ids=torch.tensor([ids])).logits[0].log_softmax(-1)
    return -sum(float(logp[at - 1, ids[at]]) for at in range(1, len(ids)) if targets[at])


def test_plain_texts_are_measured_whole(lab: Lab, tmp_path: Path) -> None:
    path = write(tmp_path / "t.jsonl", [{"content": text} for text in TEXTS])
    found = score(lab.subject, path=path, text="content")
    ids = [lab.tokenizer(text + "<|im_end|>")["input_ids"] for text in TEXTS]
    expected = [nll(lab.model, one, [True] * len(one)) for one in ids]
    assert found.nll == pytest.approx(expected, rel=1e-4)
    assert found.tokens == tuple(len(one) - 1 for one in ids)
    perplexity = math.exp(sum(expected) / sum(found.tokens))
    assert found.perplexity == pytest.approx(perplexity, rel=1e-4)
    (tmp_path / "t.txt").write_text(TEXTS[0], encoding="utf-8")
    alone = score(lab.subject, path=str(tmp_path / "t.txt"))
    assert alone.nll == pytest.approx(expected[:1], rel=1e-4)


def test_of_a_conversation_only_the_responses_count(lab: Lab, tmp_path: Path) -> None:
    path = write(tmp_path / "c.jsonl", [{"messages": chat} for chat in CHATS])
    found = score(lab.subject, path=path)
    for at, chat in enumerate(CHATS):
        ids: list[int] = []
        targets: list[bool] = []
        for turn in chat:
            head = f"<|im_start|>{turn['role']}\n"
            for text, is_target in (
                (head, False),
                (turn["content"] + "<|im_end|>", turn["role"] == "assistant"),
                ("\n", False),
            ):
                part = lab.tokenizer(text, add_special_tokens=False)["input_ids"]
                ids += part
                targets += [is_target] * len(part)
        assert found.tokens[at] == sum(targets)
        assert found.nll[at] == pytest.approx(nll(lab.model, ids, targets), rel=1e-4)


def test_prompts_and_responses_may_have_other_names(lab: Lab, tmp_path: Path) -> None:
    chat = write(tmp_path / "c.jsonl", [{"messages": CHATS[0]}])
    pair = {"frage": CHATS[0][0]["content"], "antwort": CHATS[0][1]["content"]}
    path = write(tmp_path / "p.jsonl", [pair])
    fields = {"prompt": "frage", "response": "antwort"}
    found = score(lab.subject, path=path, fields=fields)
    assert found.nll == pytest.approx(score(lab.subject, path=chat).nll)


def test_a_long_text_is_measured_in_windows(lab: Lab, tmp_path: Path) -> None:
    path = write(tmp_path / "t.jsonl", [{"text": TEXTS[0]}])
    found = score(lab.subject, path=path, max_length=7)
    ids = lab.tokenizer(TEXTS[0] + "<|im_end|>")["input_ids"]
    windows = [ids[at : at + 7] for at in range(0, len(ids), 7)]
    expected = sum(nll(lab.model, one, [True] * len(one)) for one in windows)
    assert found.nll == (pytest.approx(expected, rel=1e-4),)
    assert found.tokens == (len(ids) - len(windows),)
    # What is measured in other windows is not the same, and is never compared.
    assert found.fingerprint != score(lab.subject, path=path).fingerprint


def test_what_cannot_be_measured_is_named(lab: Lab, tmp_path: Path) -> None:
    def problem(rows: list[Any], **more: Any) -> str:
        path = write(tmp_path / "b.jsonl", rows)
        with pytest.raises(ValueError, match=r".") as error:
            check(PerplexitySettings(tasks=(Texts(name="t", path=path, **more),)))
        return str(error.value)

    assert "b.jsonl:2" in problem([{"text": "a"}, {"text": ""}], text="text")
    assert "no field 'words' (it has: text)" in problem([{"text": "a"}], text="words")
    assert "no response" in problem([{"messages": CHATS[0][:1]}])
    said = problem([{"a": 1}])
    assert said.startswith("task 't', ")
    assert "no column is known" in said
    with pytest.raises(ValueError, match="no such field: 'answer'"):
        Texts(name="t", path="x", fields={"answer": "a"})
    with pytest.raises(ValueError, match="there is no file"):
        check(PerplexitySettings(tasks=(Texts(name="t", path=str(tmp_path / "no.txt")),)))


def test_a_chat_without_a_template_names_its_task(lab: Lab, tmp_path: Path) -> None:
    path = write(tmp_path / "chats.jsonl", [{"messages": CHATS[0]}])
    bare = copy.deepcopy(lab.tokenizer)
    bare.chat_template = None
    with pytest.raises(ValueError, match=r"task 't': row 0 is a chat, but .* no chat template"):
        score(Subject(model=lab.model, tokenizer=bare), path=path)
