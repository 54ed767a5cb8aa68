"""What models have published about themselves: configuration, special tokens, chat template."""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent / "published"


@dataclass(frozen=True, kw_only=True)
class Special:
    """A tokenizer's special tokens; None where the model has none of that kind."""

    bos: str | None
    eos: str
    pad: str | None
    unk: str | None
    others: tuple[str, ...]

    def all(self) -> tuple[str, ...]:
        """Every one of them, once."""
        named = (self.pad, self.eos, self.bos, self.unk, *self.others)
        return tuple(dict.fromkeys(token for token in named if token))


@dataclass(frozen=True, kw_only=True)
class Published:
    """A model, as its page at the hub describes it.

    Attributes:
        model: hub id.
        config: its ``config.json``.
        special: its tokenizer's special tokens.
        template: its chat template, in Jinja; renders chats of text without tools as the original.
    """

    model: str
    config: Mapping[str, Any]
    special: Special
    template: str

    @property
    def architecture(self) -> str:
        """``model_type`` of the configuration, as transformers names it."""
        return str(self.config["model_type"])

    def parameters(self) -> int:
        """How many weights the model has, without biases and norms (less than 0.1 %)."""
        return parameters(self.config)


def of(model: str) -> Published | None:
    """What is known here about a hub id; None for a model that no recipe of ours names."""
    return _all().get(model)


def models() -> tuple[str, ...]:
    """Hub ids of all models that are known here."""
    return tuple(sorted(_all()))


def parameters(config: Mapping[str, Any]) -> int:
    """Weights of a decoder with gated feed-forward layers, from its ``config.json``.

    Raises:
        ValueError: the configuration does not give its sizes (they are named).
    """
    inner = config.get("text_config", config)
    wanted = ("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads")
    if missing := [key for key in (*wanted, "vocab_size") if not inner.get(key)]:
        raise ValueError(f"the model's config.json does not give {', '.join(missing)}")
    hidden, heads = inner["hidden_size"], inner["num_attention_heads"]
    head = inner.get("head_dim") or hidden // heads
    queries, keys = heads * head, (inner.get("num_key_value_heads") or heads) * head
    attention = hidden * (2 * queries + 2 * keys)
    layer = attention + 3 * hidden * inner["intermediate_size"]
    embeddings = (1 if inner.get("tie_word_embeddings") else 2) * inner["vocab_size"] * hidden
    return int(inner["num_hidden_layers"] * layer + embeddings)


@functools.cache
def _all() -> Mapping[str, Published]:
    found = {}
    for file in sorted(FOLDER.glob("*.json")):
        family = json.loads(file.read_text(encoding="utf-8"))
        template = (FOLDER / f"{family['template']}.jinja").read_text(encoding="utf-8")
        tokens = {**family["tokens"], "others": tuple(family["tokens"]["others"])}
        for model, sizes in family["ids"].items():
            found[model] = Published(
                model=model,
                config={**family["config"], **sizes},
                special=Special(**tokens),
                template=template.strip(),
            )
    return found
