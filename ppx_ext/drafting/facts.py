"""What can be known, offline, of the model and the data that a recipe shall be about."""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ppx_ext import readers, rows
from ppx_ext.files import write_atomic
from ppx_ext.proving import published, stand_ins


@dataclass(frozen=True, kw_only=True)
class Model:
    """A model, as far as it is known.

    Attributes:
        name: folder or hub id.
        config: its ``config.json``; None where it could not be read.
        end_of_turn: token that its chat template ends a turn with, where that is not its end of
            sequence.
        pad: token to pad with, where it has none of its own.
        eager: its attention must be the plain one (soft-caps).
        unchecked: what could not be looked at, in words.
    """

    name: str
    config: Mapping[str, Any] | None = None
    end_of_turn: str | None = None
    pad: str | None = None
    eager: bool = False
    unchecked: str = ""


@dataclass(frozen=True, kw_only=True)
class Data:
    """Rows to train on, as far as they are known.

    Attributes:
        name: file, folder or hub id.
        kind: ``chat`` or ``pair`` (prompt and response); None where it could not be read.
        columns: that are read.
        count: how many rows there are.
        unchecked: what could not be looked at, in words.
    """

    name: str
    kind: str | None = None
    columns: tuple[str, ...] = ()
    count: int | None = None
    unchecked: str = ""


def model_of(name: str) -> Model:
    """Look at a model: a local folder, or one that recipes of ours name.

    Raises:
        ValueError: it is a folder without ``config.json``, or without a chat template.
    """
    if Path(name).is_dir():
        return _local(name)
    if name.startswith((".", "/", "~")):
        raise ValueError(f"{name}: there is no such folder")
    about = published.of(name)
    if about is None:
        return Model(
            name=name,
            unchecked=f"{name} is not known here and nothing was asked of the hub: its size, its "
            "end of turn and its padding token",
        )
    words = stand_ins.tokenizer(about.special, about.template, ())
    return _described(name, about.config, words)


def data_of(name: str) -> Data:
    """Look at some rows: a local file or folder.

    Raises:
        ValueError: it cannot be read, or its columns tell no shape (they are listed).
    """
    path = Path(name)
    if not path.exists():
        if path.suffix or name.startswith((".", "/", "~")):
            raise ValueError(f"{name}: there is no such file or folder (seen from {Path.cwd()})")
        return Data(
            name=name,
            unchecked=f"{name} is taken for a hub id, and nothing was asked of the hub: that its "
            "rows hold `messages`, or a prompt and a response",
        )
    found = readers.read_rows(name, split="train")
    peeked = list(itertools.islice(found, rows.PEEKED_ROWS))
    columns = list(dict.fromkeys(key for one in peeked for key in one.row or ()))
    if not columns:
        raise ValueError(f"{name}: no row could be read")
    shape = rows.shape_of(columns, rows.Fields())
    if shape.kind not in ("chat", "pair"):
        raise ValueError(
            f"{name} holds {', '.join(columns)}, and a recipe needs chats (`messages`), or a "
            "prompt and a response"
        )
    count = len(peeked) + sum(1 for _ in found)
    return Data(name=name, kind=shape.kind, columns=shape.columns, count=count)


def write_chats(data: Data, file: Path) -> None:
    """Write rows as chats, with their other columns, for hosts that read nothing else."""
    lines = []
    for found, row in rows.canonical_rows(data.name, chat=True):
        if isinstance(row, Mapping):
            others = {k: v for k, v in (found.row or {}).items() if k not in data.columns}
            chat = {**others, "messages": row["messages"]}
            lines.append(json.dumps(chat, ensure_ascii=False) + "\n")
    file.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(file, lambda out: out.write("".join(lines).encode()))


def _local(name: str) -> Model:
    from transformers import AutoTokenizer

    file = Path(name) / "config.json"
    if not file.is_file():
        raise ValueError(f"{name}: this folder has no config.json, so it holds no model")
    words: Any = AutoTokenizer.from_pretrained(name)
    if not words.chat_template:
        raise ValueError(
            f"{name}: its tokenizer has no chat template. Save one with it (`chat_template.jinja`)"
        )
    return _described(name, json.loads(file.read_text(encoding="utf-8")), words)


def _described(name: str, config: Mapping[str, Any], words: Any) -> Model:
    from ppx_ext import tokens

    ends = tokens.end_of_turn_ids(words) - {words.eos_token_id}
    inner = config.get("text_config", config)
    return Model(
        name=name,
        config=config,
        end_of_turn=words.convert_ids_to_tokens(min(ends)) if ends else None,
        pad=None if words.pad_token else _padding(words),
        eager=bool(inner.get("attn_logit_softcapping")),
    )


def _padding(words: Any) -> str:
    """A token that rows can be padded with: never one that a row says."""
    special = list(words.all_special_tokens)
    named = [token for token in special if "pad" in token.lower()]
    spare = [token for token in special if token not in (words.eos_token, words.bos_token)]
    unused = [words.unk_token] if words.unk_token else []
    ended = [token for token in spare if "end_of_text" in token or "endoftext" in token]
    return str([*named, *unused, *ended, words.eos_token][0])
