"""Chats -> token ids and targets, under the model's own chat template.

This is the only place that knows the shift by one: ``ids_T[i]``, ``target_T[i]``, its label and its
score all speak of the same token, which is predicted from ``ids_T[:i]``. Token 0 has nothing to be
predicted from, so it is never a target.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from ppx_ext.chats import Skip, Text, render_row, tail_of_turn
from ppx_ext.contracts import IGNORE, Example, Row

if TYPE_CHECKING:
    import numpy.typing as npt
    from transformers import PreTrainedTokenizerBase as Tokenizer

    from ppx_ext.contracts import Bools, Ints

__all__ = ["Skip", "end_of_turn_ids", "from_labels", "labels_of", "tokenize"]

BATCH_ROWS = 512


def from_labels(
    row: int,
    ids: Sequence[int] | Ints,
    labels: Sequence[int] | npt.NDArray[np.integer[Any]],
    ends: frozenset[int],
    columns: Row,
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
    """Labels (T,), int32: the id at kept targets (None: at all targets), -100 elsewhere."""
    kept = example.target_T if keep_T is None else example.target_T & keep_T
    return np.where(kept, example.ids_T, IGNORE).astype(np.int32)


def _example(row: int, ids_T: Ints, target_T: Bools, ends: frozenset[int], columns: Row) -> Example:
    target_T = target_T.copy()
    target_T[:1] = False
    # A handful of ids: comparing with each is several times faster than np.isin on short rows.
    end_T = np.zeros(len(ids_T), dtype=np.bool_)
    for end in ends:
        end_T |= ids_T == end
    end_T &= target_T
    return Example(row=row, ids_T=ids_T, target_T=target_T, end_T=end_T, columns=columns)


def end_of_turn_ids(tokenizer: Tokenizer) -> frozenset[int]:
    """Ids that end an assistant's turn: the end of sequence, and special tokens that the chat
    template writes after the response (Gemma's ``<end_of_turn>`` is not its end of sequence).
    """
    ends = {tokenizer.eos_token_id} - {None}
    if getattr(tokenizer, "chat_template", None):
        special = set(tokenizer.all_special_ids)
        tail_ids = tokenizer(tail_of_turn(tokenizer), add_special_tokens=False)["input_ids"]
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
            ``prompt`` and ``completion``, which are joined as they are, end of sequence added, or
            ``input_ids`` and ``labels``.
        tokenizer: a fast one; targets are found through character offsets.
        max_length: keep so many tokens from the start (per-token columns are cut alike).
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
    rendered = [
        None if "input_ids" in row else render_row(position, row, tokenizer, targets)
        for position, row in batch
    ]
    # A chat template writes the beginning of the sequence itself; plain text leaves it to us.
    encoded = {
        chat: _encode([found for found in rendered if _is_text(found, chat)], tokenizer, chat)
        for chat in (True, False)
    }
    for (position, row), found in zip(batch, rendered, strict=True):
        if isinstance(found, Skip):
            yield found
            continue
        if found is None:
            made = from_labels(position, row["input_ids"], row["labels"], ends, row)
            yield _truncated(made, max_length)
            continue
        ids_T, offsets_T2 = next(encoded[found.chat])
        target_T = _inside(offsets_T2, found.spans)
        yield _truncated(_example(position, ids_T, target_T, ends, row), max_length)


def _is_text(found: Text | Skip | None, chat: bool) -> bool:
    return isinstance(found, Text) and found.chat == chat


def _encode(
    texts: Sequence[Text | Skip | None], tokenizer: Tokenizer, chat: bool
) -> Iterator[tuple[Ints, Any]]:
    if not texts:
        return
    encoded = tokenizer(
        [text.text for text in texts if isinstance(text, Text)],
        add_special_tokens=not chat,
        return_offsets_mapping=True,
    )
    for ids, offsets in zip(encoded["input_ids"], encoded["offset_mapping"], strict=True):
        yield np.asarray(ids, dtype=np.int32), np.asarray(offsets, dtype=np.int64).reshape(-1, 2)


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
        columns={name: _cut(value, example, cut) for name, value in example.columns.items()},
    )


def _cut(value: Any, example: Example, cut: slice) -> Any:
    per_token = isinstance(value, list | tuple) and len(value) == len(example.ids_T)
    return value[cut] if per_token else value
