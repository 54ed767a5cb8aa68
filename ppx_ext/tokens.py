"""Chats -> token ids and targets, under the model's own chat template.

This is the only place that knows the shift by one: ``ids_T[i]``, ``target_T[i]``, its label and its
score all speak of the same token, which is predicted from ``ids_T[:i]``. Token 0 has nothing to be
predicted from, so it is never a target.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from ppx_ext.contracts import IGNORE, Example, Row

if TYPE_CHECKING:
    from ppx_ext.contracts import Bools, Ints
    from transformers import PreTrainedTokenizerBase as Tokenizer

BATCH_ROWS = 512
_MARKED = re.compile(r"\{%-?\s*generation\s*-?%\}")


@dataclass(frozen=True, kw_only=True, slots=True)
class Skip:
    """A row that cannot be trained on: which, why (a short name), and what was seen there."""

    row: int
    reason: Literal[
        "no response",
        "empty response",
        "response truncated away",
        "template cannot mark the response",
        "unreadable row",
        "no target",
    ]
    detail: str


def from_labels(
    row: int, ids: Sequence[int], labels: Sequence[int], ends: frozenset[int], columns: Row
) -> Example:
    """An example from what a host tokenised itself: ids and labels, both of length T.

    Raises:
        ValueError: the two differ in length.
    """
    if len(ids) != len(labels):
        raise ValueError(
            f"row {row}: {len(ids)} input_ids but {len(labels)} labels; a tokenised data set needs "
            "one label for each id (-100 where there is no loss)"
        )
    target_T = np.asarray(labels, dtype=np.int64) != IGNORE
    return _example(row, np.asarray(ids, dtype=np.int32), target_T, ends, columns)


def labels_of(example: Example, keep_T: Bools | None = None) -> Ints:
    """Labels (T,), int32: the id at kept targets, -100 elsewhere; all targets where keep is None."""
    kept = example.target_T if keep_T is None else example.target_T & keep_T
    return np.where(kept, example.ids_T, IGNORE).astype(np.int32)


def _example(row: int, ids_T: Ints, target_T: Bools, ends: frozenset[int], columns: Row) -> Example:
    target_T = target_T.copy()
    target_T[:1] = False
    end_T = target_T & np.isin(ids_T, list(ends))
    return Example(row=row, ids_T=ids_T, target_T=target_T, end_T=end_T, columns=columns)


def end_of_turn_ids(tokenizer: Tokenizer) -> frozenset[int]:
    """Ids that end an assistant's turn: the end of sequence, and special tokens that the chat
    template writes after the response (Gemma's ``<end_of_turn>`` is not its end of sequence).
    """
    ends = {tokenizer.eos_token_id} - {None}
    if getattr(tokenizer, "chat_template", None):
        probe = "ppx probe"
        chat = [{"role": "user", "content": "q"}, {"role": "assistant", "content": probe}]
        _, found, tail = _render(tokenizer, {"messages": chat}).rpartition(probe)
        special = set(tokenizer.all_special_ids)
        tail_ids = tokenizer(tail, add_special_tokens=False)["input_ids"] if found else []
        ends |= set(itertools.islice((i for i in tail_ids if i in special), 1))
    return frozenset(ends)


def tokenize(
    rows: Iterable[tuple[int, Row]],
    tokenizer: Tokenizer,
    *,
    max_length: int | None = None,
    targets: Literal["assistant", "last", "all"] = "assistant",
) -> Iterator[Example | Skip]:
    """Tokenise canonical rows; one result for each row, in order.

    Args:
        rows: (position, row) pairs. A row holds ``messages`` (and ``tools``), or the strings
            ``prompt`` and ``completion``, which are joined as they are, end of sequence added.
        tokenizer: a fast one; targets are found through character offsets.
        max_length: keep so many tokens from the start.
        targets: every assistant turn, the last one only, or every token.

    Raises:
        ValueError: the tokenizer is not a fast one, or has no chat template where rows are chats.
    """
    if not tokenizer.is_fast:
        raise ValueError(
            f"{type(tokenizer).__name__} is a slow tokenizer; targets are found through character "
            "offsets, which only fast tokenizers give. Load it with use_fast=True."
        )
    ends = end_of_turn_ids(tokenizer)
    iterator = iter(rows)
    while batch := list(itertools.islice(iterator, BATCH_ROWS)):
        yield from _tokenize_batch(batch, tokenizer, ends, max_length, targets)


def _tokenize_batch(
    batch: list[tuple[int, Row]],
    tokenizer: Tokenizer,
    ends: frozenset[int],
    max_length: int | None,
    targets: str,
) -> Iterator[Example | Skip]:
    rendered = [_spans(position, row, tokenizer, targets) for position, row in batch]
    texts = [found[0] for found in rendered if not isinstance(found, Skip)]
    plain = any("completion" in row for _, row in batch)
    encoded = tokenizer(texts, add_special_tokens=plain, return_offsets_mapping=True)
    tokens = zip(encoded["input_ids"], encoded["offset_mapping"], strict=True) if texts else ()
    tokens = iter(tokens)
    for (position, row), found in zip(batch, rendered, strict=True):
        if isinstance(found, Skip):
            yield found
            continue
        ids, offsets = next(tokens)
        target_T = _inside(np.asarray(offsets, dtype=np.int64).reshape(-1, 2), found[1])
        example = _example(position, np.asarray(ids, dtype=np.int32), target_T, ends, row)
        yield _truncated(example, max_length)


def _inside(offsets_T2: Any, spans: Sequence[tuple[int, int]]) -> Bools:
    # A token that straddles the border is trained: the prompt alone would not have produced it.
    start_T, end_T = offsets_T2[:, 0], offsets_T2[:, 1]
    target_T = np.zeros(len(offsets_T2), dtype=np.bool_)
    for start, end in spans:
        target_T |= (end_T > start) & (start_T < end)
    return target_T


def _truncated(example: Example, max_length: int | None) -> Example | Skip:
    if not example.target_T.any():
        return Skip(row=example.row, reason="no target", detail="no token of the row is trained on")
    if max_length is None or len(example.ids_T) <= max_length:
        return example
    cut = slice(0, max_length)
    if not example.target_T[cut].any():
        first = int(np.argmax(example.target_T))
        return Skip(
            row=example.row,
            reason="response truncated away",
            detail=f"the response starts at token {first}; max_length is {max_length}",
        )
    return Example(
        row=example.row,
        ids_T=example.ids_T[cut],
        target_T=example.target_T[cut],
        end_T=example.end_T[cut],
        columns=example.columns,
    )


def _spans(
    position: int, row: Row, tokenizer: Tokenizer, targets: str
) -> tuple[str, list[tuple[int, int]]] | Skip:
    """The row's text and the character spans of its targets."""
    if "messages" not in row:
        eos = tokenizer.eos_token or ""
        completion = str(row["completion"])
        text = row["prompt"] + completion + ("" if completion.endswith(eos) else eos)
        return text, [(0 if targets == "all" else len(row["prompt"]), len(text))]
    if not getattr(tokenizer, "chat_template", None):
        raise ValueError(
            f"row {position} is a chat, but the tokenizer {tokenizer.name_or_path!r} has no chat "
            "template. Give one (TRL: chat_template_path, Axolotl: chat_template), or give the "
            "rows as plain `prompt` and `completion` text."
        )
    if targets != "all" and _MARKED.search(tokenizer.chat_template):
        text, spans = _marked_spans(row, tokenizer)
        return text, spans[-1:] if targets == "last" else spans
    text = _render(tokenizer, row)
    if targets == "all":
        return text, [(0, len(text))]
    spans = []
    turns = [i for i, message in enumerate(row["messages"]) if message["role"] == "assistant"]
    for turn in turns[-1:] if targets == "last" else turns:
        span = _turn_span(row, turn, text, tokenizer)
        if span is None:
            return Skip(
                row=position,
                reason="template cannot mark the response",
                detail=f"rendered up to turn {turn}, the chat is not a beginning of the whole "
                "chat: the template rewrites earlier turns. Use a template that does not, train "
                "on the last turn only, or give one example for each assistant turn.",
            )
        spans.append(span)
    return text, spans


def _marked_spans(row: Row, tokenizer: Tokenizer) -> tuple[str, list[tuple[int, int]]]:
    from transformers.utils.chat_template_utils import render_jinja_template

    (text,), (spans,) = render_jinja_template(
        [list(row["messages"])],
        tools=row.get("tools"),
        chat_template=tokenizer.chat_template,
        return_assistant_tokens_mask=True,
        **tokenizer.special_tokens_map,
        **(row.get("chat_template_kwargs") or {}),
    )
    return text, [(start, end) for start, end in spans]


def _turn_span(row: Row, turn: int, text: str, tokenizer: Tokenizer) -> tuple[int, int] | None:
    messages = row["messages"]
    before = _render(tokenizer, {**row, "messages": messages[:turn]}, prompt=True)
    upto = _render(tokenizer, {**row, "messages": messages[: turn + 1]})
    if not (upto.startswith(before) and text.startswith(upto)):
        return None
    # The line break after an end-of-turn token is never generated: it belongs to the next turn.
    end = len(upto.rstrip("\n")) if _ends_in_special(upto, tokenizer) else len(upto)
    return len(before), end


def _ends_in_special(text: str, tokenizer: Tokenizer) -> bool:
    return text.rstrip("\n").endswith(tuple(tokenizer.all_special_tokens) or ("\0",))


def _render(tokenizer: Tokenizer, row: Row, *, prompt: bool = False) -> str:
    if not row["messages"]:
        return ""
    rendered = tokenizer.apply_chat_template(
        list(row["messages"]),
        tools=row.get("tools"),
        tokenize=False,
        add_generation_prompt=prompt,
        **(row.get("chat_template_kwargs") or {}),
    )
    return str(rendered)
