"""Any user's data -> a tokenised data set with the record of what was left out."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from ppx_ext.chats import Skip
from ppx_ext.contracts import IGNORE, Example, Row, StageRecord
from ppx_ext.examples import ROW, Examples
from ppx_ext.files import fingerprint
from ppx_ext.readers import Found, Source
from ppx_ext.rows import Fields, canonical_rows
from ppx_ext.skips import Skips
from ppx_ext.tokens import BATCH_ROWS, labels_of, tokenize

if TYPE_CHECKING:
    import pyarrow as pa
    from datasets import Dataset
    from transformers import PreTrainedTokenizerBase as Tokenizer

    from ppx_ext.contracts import Ints


@dataclass(frozen=True, kw_only=True)
class TokenizedRows:
    """A tokenised data set.

    Attributes:
        dataset: ``input_ids``, ``labels``, ``ppx_row`` (place in the user's data, which a builder
            hands on), and the columns that were to be kept.
        record: rows, skipped rows by reason, tokens and targets.
        fingerprint: hash of all ids and targets.
    """

    dataset: Dataset
    record: StageRecord
    fingerprint: str


def tokenize_rows(
    source: Source,
    tokenizer: Tokenizer,
    *,
    fields: Fields | None = None,
    max_length: int | None = None,
    targets: Literal["assistant", "last", "all"] = "assistant",
    edit: Callable[[str], str] | None = None,
    max_skipped_share: float = 0.01,
    split: str = "train",
    keep: Sequence[str] = (),
) -> TokenizedRows:
    """Read and tokenise ``source``; rows that cannot be trained on are counted and left out.

    Args:
        source: a file, folder, hub id, data set or rows (`readers.read_rows`).
        tokenizer: a fast one.
        fields: names of columns; those that are not given are found.
        max_length: keep so many tokens from the start.
        targets: see `tokens.tokenize`; plain ``text`` is trained on as a whole.
        edit: rewrites gold responses before they are tokenised.
        max_skipped_share: share of rows, in [0, 1], that may be left out before it is an error.
        split: of a folder or hub id that has several.
        keep: other columns to carry along, for instance scores that the user brings.

    Raises:
        ValueError: the columns are unclear, too many rows are left out, or a template or tokenizer
            cannot be used.
    """
    import pyarrow as pa
    from datasets import Dataset

    skips = Skips(max_share=max_skipped_share)
    chat = bool(getattr(tokenizer, "chat_template", None))
    found = _counted(
        canonical_rows(source, chat=chat, fields=fields, edit=edit, split=split), skips
    )
    examples = _examples(found, tokenizer, edit, skips, max_length=max_length, targets=targets)
    tables = list(_batches(examples, keep))
    skips.check()
    dataset = Dataset(pa.concat_tables(tables, promote_options="permissive"))
    hashed = Examples(dataset=dataset, ends=frozenset()).fingerprint()
    settings = {"max_length": max_length, "targets": targets, "max_skipped_share": skips.max_share}
    numbers = {**skips.numbers(), **_sizes(dataset)}
    record = StageRecord(
        stage="tokenize",
        component="tokens",
        fingerprint=fingerprint({"data": hashed, **settings}),
        settings=settings,
        numbers=numbers,
    )
    return TokenizedRows(dataset=dataset, record=record, fingerprint=hashed)


def _sizes(dataset: Dataset) -> dict[str, int]:
    examples = Examples(dataset=dataset, ends=frozenset())
    chunks = [examples.chunk(at, at + BATCH_ROWS) for at in range(0, len(examples), BATCH_ROWS)]
    return {
        "tokens": sum(len(chunk.ids) for chunk in chunks),
        "targets": sum(int(chunk.targets_N.sum()) for chunk in chunks),
    }


def _counted(
    found: Iterator[tuple[Found, Row | Skip]], skips: Skips
) -> Iterator[tuple[Found, Row]]:
    for one, row in found:
        skips.rows += 1
        if isinstance(row, Skip):
            skips.add(row, one.where)
        else:
            yield one, row


def _examples(
    rows: Iterator[tuple[Found, Row]],
    tokenizer: Tokenizer,
    edit: Callable[[str], str] | None,
    skips: Skips,
    *,
    max_length: int | None,
    targets: Literal["assistant", "last", "all"],
) -> Iterator[tuple[Example, Row]]:
    """The examples, each with the row that the user wrote."""
    places: dict[int, Found] = {}

    def canonical() -> Iterator[tuple[int, Row]]:
        for one, row in rows:
            if edit is not None and "input_ids" in row:
                _check_unedited(row, tokenizer, edit, one.where)
            places[one.position] = one
            yield one.position, row

    for made in tokenize(canonical(), tokenizer, max_length=max_length, targets=targets):
        place = places.pop(made.row)
        if isinstance(made, Skip):
            skips.add(made, place.where)
        else:
            yield made, {**(place.row or {}), **made.columns}


def _check_unedited(row: Row, tokenizer: Tokenizer, edit: Callable[[str], str], where: str) -> None:
    text = tokenizer.decode(
        [i for i, label in zip(row["input_ids"], row["labels"], strict=False) if label != IGNORE]
    )
    if edit(str(text)) != text:
        raise ValueError(
            f"{where}: the mask would rewrite this response before it is tokenised, but the data "
            "is tokenised already. Switch that setting off, or give the rows as text."
        )


def _batches(examples: Iterator[tuple[Example, Row]], keep: Sequence[str]) -> Iterator[pa.Table]:
    import pyarrow as pa

    while batch := list(itertools.islice(examples, BATCH_ROWS)):
        ids = [example.ids_T for example, _ in batch]
        labels = [labels_of(example) for example, _ in batch]
        kept = {name: pa.array([row.get(name) for _, row in batch]) for name in keep}
        yield pa.table(
            {
                "input_ids": list_column(ids),
                "labels": list_column(labels),
                ROW: pa.array([row.get(ROW, example.row) for example, row in batch], pa.int64()),
                **kept,
            }
        )


def list_column(rows: Sequence[Ints]) -> pa.Array:
    """Rows of int32 as one Arrow list column."""
    import pyarrow as pa

    ends = np.cumsum([0, *map(len, rows)])
    flat = pa.array(np.concatenate(rows).astype(np.int32))
    return pa.LargeListArray.from_arrays(pa.array(ends), flat).cast(pa.list_(pa.int32()))
