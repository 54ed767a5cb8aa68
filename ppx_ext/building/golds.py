"""Canonical rows -> rows with their gold, as a builder reads them, and back with another target."""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ppx_ext.answering import GoldRow, Message, Prompt
from ppx_ext.chats import Skip
from ppx_ext.contracts import Numbers, Row
from ppx_ext.rows import Fields, canonical_rows
from ppx_ext.skips import Skips

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase as Tokenizer

    from ppx_ext.plan import Plan
    from ppx_ext.readers import Found, Source


@dataclass(frozen=True, kw_only=True, slots=True)
class Gold:
    """One row of the user's data.

    Attributes:
        row: place in the user's data.
        columns: the user's.
        canonical: ``messages``, or ``prompt`` and ``completion``.
        asked: what a builder is given; None where the row keeps its gold unasked.
        passes: why it does, in words; empty where it is asked.
    """

    row: int
    columns: Row
    canonical: Row
    asked: GoldRow | None
    passes: str = ""

    def target(self, response: str) -> dict[str, Any]:
        """The canonical row with another response in the place of the gold."""
        if "completion" in self.canonical:
            return {"prompt": self.canonical["prompt"], "completion": response}
        messages = self.canonical["messages"]
        at = last_answer(messages)
        parts = isinstance(messages[at].get("content"), list | tuple)
        # Text stays in the form that the data have it in: a table's column has one type.
        content = [{"type": "text", "text": response}] if parts else response
        turn = {"role": "assistant", "content": content}
        return {"messages": [*messages[:at], turn, *messages[at + 1 :]]}

    def untouched(self) -> dict[str, Any]:
        """The canonical row as it is."""
        return {
            k: v for k, v in self.canonical.items() if k in ("messages", "prompt", "completion")
        }


def last_answer(messages: Sequence[Message]) -> int:
    """Place of the last assistant's turn."""
    return max(at for at, turn in enumerate(messages) if turn["role"] == "assistant")


def gather(
    source: Source,
    plan: Plan,
    tokenizer: Tokenizer,
    *,
    fields: Fields | None,
    split: str,
    max_rows: int | None,
) -> tuple[list[Gold], Numbers]:
    """All rows of ``source`` that can be trained on, and how many there are of the others.

    Raises:
        ValueError: the rows are tokenised, or were built already; no row can be asked; too many
            cannot be read.
    """
    rows: list[Gold] = []
    skips = Skips(max_share=plan.max_skipped_share)
    chat = bool(getattr(tokenizer, "chat_template", None))
    found = canonical_rows(source, chat=chat, fields=fields, split=split)
    for one, canonical in itertools.islice(found, max_rows):
        skips.rows += 1
        if isinstance(canonical, Skip):
            skips.add(canonical, one.where)
        else:
            rows.append(_gold(one, canonical, plan.seed))
    skips.check()
    if all(gold.asked is None for gold in rows):
        reasons = ", ".join(sorted({gold.passes for gold in rows}))
        raise ValueError(f"none of the {len(rows)} rows can be put to a model: {reasons}")
    return rows, skips.numbers()


def _gold(found: Found, canonical: Row, seed: int) -> Gold:
    columns = dict(found.row or {})
    if "input_ids" in canonical:
        raise ValueError(
            f"{found.where} is tokenised already (input_ids): a builder asks a model for responses "
            "and needs prompts and golds as text. Give it the rows before they were tokenised."
        )
    if "ppx_source" in columns:
        raise ValueError(
            f"{found.where} was built already (it has a column ppx_source). Give the builder the "
            "rows that it was built from, or take `build:` out of the recipe to train on these."
        )
    prompt, gold, passes = _parts(canonical)
    asked = None
    if not passes:
        own = row_seed(seed, found.position)
        asked = GoldRow(row=found.position, prompt=prompt, gold=gold, columns=columns, seed=own)
        passes = "" if asked.question.strip() else "there is no prompt"
    return Gold(
        row=found.position,
        columns=columns,
        canonical=canonical,
        asked=None if passes else asked,
        passes=passes,
    )


def _parts(canonical: Row) -> tuple[Prompt, str, str]:
    """Prompt and gold of a row, or why it cannot be asked."""
    if "completion" in canonical:
        return canonical["prompt"], canonical["completion"], ""
    for key in ("tools", "chat_template_kwargs"):
        if canonical.get(key):
            return "", "", f"`{key}` go into its prompt, which a generator is not given"
    messages = canonical["messages"]
    at = last_answer(messages)
    if messages[at].get("tool_calls"):
        return "", "", "its gold calls tools"
    gold = _text(messages[at].get("content"))
    texts = [_text(turn.get("content")) for turn in messages[:at]]
    if gold is None or None in texts:
        return "", "", "a turn holds more than text"
    turns = tuple(
        {**turn, "content": text} for turn, text in zip(messages[:at], texts, strict=True)
    )
    return turns, gold, ""


def _text(content: Any) -> str | None:
    """A turn's text; None where it holds something else too."""
    if content is None or isinstance(content, str):
        return content or ""
    if isinstance(content, Sequence) and all(
        isinstance(part, Mapping) and isinstance(part.get("text"), str) for part in content
    ):
        return "".join(part["text"] for part in content)
    return None


def row_seed(seed: int, row: int) -> int:
    """A row's own seed, in [0, 2**31): servers take no larger one."""
    mixed = hashlib.blake2b(f"{seed}/build/{row}".encode(), digest_size=4).digest()
    return int.from_bytes(mixed, "big") >> 1


def digest(rows: Iterable[Gold]) -> str:
    """Hash of all that these rows hold, and of how they are read.

    Raises:
        ValueError: a value that cannot be written down as text.
    """
    hashed = hashlib.blake2b(digest_size=16)
    for gold in rows:
        try:
            text = json.dumps([gold.row, gold.columns, gold.canonical], default=_plain)
        except TypeError as error:
            raise ValueError(f"row {gold.row}: {error}") from error
        hashed.update(text.encode() + b"\n")
    return hashed.hexdigest()


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.hex()
    if hasattr(value, "tolist"):
        return value.tolist()
    if hasattr(value, "isoformat"):
        return value.isoformat()
    if type(value).__module__ in ("decimal", "datetime", "uuid"):
        return str(value)
    raise TypeError(f"a value of type {type(value).__name__} cannot be kept; leave its column out")
