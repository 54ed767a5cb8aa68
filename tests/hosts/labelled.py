"""Real models' answers, each labelled right or wrong, as what an engine says of real rows."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.hosts import words

MOST_TOKENS = 2048


@dataclass(frozen=True)
class Labelled:
    """Real rows, and by their labels: where each row's target comes from, and what it says.

    Attributes:
        data: the rows, with ``question`` and ``gold`` (and ``test_list``).
        chats: what must be trained on, in order.
        sources: of each chat.
        judge: the judge that must agree with the labels.
        table: an engine's answers.
    """

    data: Path
    chats: list[dict[str, Any]]
    sources: list[str]
    judge: str
    table: Path

    def composition(self) -> dict[str, int]:
        return {source: self.sources.count(source) for source in words.SOURCES}

    def build(self) -> dict[str, Any]:
        """The `build:` stage."""
        return words.build_block(self.table, judge=self.judge, max_new_tokens=MOST_TOKENS)


def gsm8k(data: Path, folder: Path) -> Labelled:
    """100 questions: a small model's answer is the own one, a large one's the second try."""
    rows = _read(data / "gsm8k_model_solutions_first100.jsonl")
    both = [(row["solutions"][0], row["solutions"][3]) for row in rows]
    tries = [[(found["text"], found["is_correct"]) for found in pair] for pair in both]
    pairs = [{"question": row["question"], "gold": row["gold"]} for row in rows]
    return _labelled(pairs, tries, "math", folder)


def mbpp(data: Path, folder: Path) -> Labelled:
    """Eight problems with two of Llama-3-8B-Instruct's programs each."""
    rows = _read(data / "mbpp_llama3_samples_first8.jsonl")
    tries = [[(found["text"], found["passed"]) for found in row["samples"][1:3]] for row in rows]
    pairs = [
        {"question": row["prompt"], "gold": row["gold"], "test_list": row["test_list"]}
        for row in rows
    ]
    return _labelled(pairs, tries, "code", folder)


def _read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def _labelled(
    rows: list[dict[str, Any]], tries: list[list[tuple[str, bool]]], judge: str, folder: Path
) -> Labelled:
    table, chats, sources = {}, [], []
    for row, ((own, own_right), (second, second_right)) in zip(rows, tries, strict=True):
        table[row["question"]] = {words.OWN: own, words.PARAPHRASE: second}
        source = words.OWN if own_right else words.PARAPHRASE if second_right else words.GOLD
        said = {words.OWN: own, words.PARAPHRASE: second, words.GOLD: row["gold"]}[source]
        turns = (("user", row["question"]), ("assistant", said))
        chats.append({"messages": [{"role": role, "content": text} for role, text in turns]})
        sources.append(source)
    data = folder / "rows.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    path = folder / "answers.json"
    path.write_text(json.dumps(table), encoding="utf-8")
    assert set(sources) == set(words.SOURCES)
    return Labelled(data=data, chats=chats, sources=sources, judge=judge, table=path)


def line_among(nlls: list[float]) -> float:
    """A perplexity among the largest, such that scores kept in half precision decide alike."""
    found = sorted(nlls)
    tail = range(int(0.97 * len(found)), int(0.995 * len(found)))
    at = max(tail, key=lambda i: found[i + 1] - found[i])
    assert found[at + 1] - found[at] > 0.012
    return math.exp((found[at] + found[at + 1]) / 2)


def save_base(folder: Path) -> Any:
    """A tiny model that reads rows of this length, with its tokenizer, which is returned."""
    from tests import models

    model = models.tiny_model("llama", max_position_embeddings=MOST_TOKENS)
    tokenizer = models.tiny_tokenizer()
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return tokenizer
