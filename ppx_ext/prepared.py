"""A prepared folder: written once, and read by hosts, `ppx view` and `ppx report`."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ppx_ext import manifest, store
from ppx_ext.contracts import IGNORE, Example, Scored
from ppx_ext.examples import CHUNK_ROWS, ROW, SOURCE, Examples
from ppx_ext.files import write_atomic
from ppx_ext.tokens import end_of_turn_ids

if TYPE_CHECKING:
    import pyarrow as pa
    from datasets import Dataset
    from transformers import PreTrainedTokenizerBase as Tokenizer

    from ppx_ext.contracts import Bools
    from ppx_ext.mask_stage import Masked

FILE = "train.parquet"
ROW_GROUP = 4096


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class PreparedRow:
    """One row of a prepared data set.

    Attributes:
        scored: the example with its targets before the mask, and its scores, each float (R,); no
            scores where the row is in the model's own words and was left alone.
        keep_T: True at tokens that keep their loss.
        source: where a builder has the response from; None where there was no builder.
    """

    scored: Scored
    keep_T: Bools
    source: str | None = None


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """What `pipeline.prepare` wrote.

    Attributes:
        folder: where it lies.
        manifest: settings, fingerprints, versions, records.
    """

    folder: Path
    manifest: Mapping[str, Any]

    @functools.cached_property
    def dataset(self) -> Dataset:
        """``input_ids``, ``attention_mask`` and ``labels`` with the mask."""
        import pyarrow.parquet as pq
        from datasets import Dataset

        return Dataset(pq.read_table(self.folder / manifest.DATASET / FILE, memory_map=True))

    @functools.cached_property
    def tokenizer(self) -> Tokenizer:
        """The tokenizer of the run, as it was saved here."""
        from transformers import AutoTokenizer

        return AutoTokenizer.from_pretrained(str(self.folder / manifest.TOKENIZER))

    @functools.cached_property
    def scores(self) -> Mapping[str, store.Stored]:
        """Each score, for all rows that were scored; `rows` aligns them with the data set."""
        return {
            name: store.stored_in(self.folder / manifest.SCORES / about["folder"], about["rows"])
            for name, about in self.manifest["scores"].items()
        }

    def rows(self) -> Iterator[PreparedRow]:
        """The rows of the data set in order, with their scores and what the mask kept of them."""
        targets = _read(self.folder / manifest.TARGETS)
        ends = end_of_turn_ids(self.tokenizer)
        values = zip(*self.scores.values(), strict=True) if self.scores else None
        at = -1
        for index, row in enumerate(self.dataset.select_columns(["input_ids", "labels"])):
            place, found, packed, source = (column[index].as_py() for column in targets.columns)
            scores_R: tuple[Any, ...] = ()
            while values is not None and place is not None and at < place:
                at, scores_R = at + 1, next(values)
            ids_T = np.asarray(row["input_ids"], dtype=np.int32)
            target_T = np.unpackbits(np.frombuffer(packed, np.uint8), count=len(ids_T)).astype(bool)
            example = Example(
                row=found,
                ids_T=ids_T,
                target_T=target_T,
                end_T=target_T & np.isin(ids_T, list(ends)),
            )
            scores = dict(zip(self.scores, scores_R, strict=True)) if scores_R else {}
            scored = Scored(example=example, scores=scores)
            keep_T = np.asarray(row["labels"]) != IGNORE
            yield PreparedRow(scored=scored, keep_T=keep_T, source=source)


def load_prepared(folder: str | Path) -> Prepared:
    """Open what `pipeline.prepare` wrote.

    Raises:
        ValueError: nothing is prepared there, or the data set's file is not the one that the
            manifest speaks of.
    """
    folder = Path(folder)
    about = manifest.read_manifest(folder)
    if not is_whole(folder, about):
        path = folder / manifest.DATASET / FILE
        raise ValueError(
            f"{path} is missing, or is not what {manifest.MANIFEST} speaks of; prepare it again"
        )
    return Prepared(folder=folder, manifest=about)


def is_whole(folder: Path, about: Mapping[str, Any]) -> bool:
    """Whether the data set's file is there, and is the one that the manifest speaks of."""
    path = folder / manifest.DATASET / FILE
    return path.exists() and manifest.file_hash(path) == about["dataset"]["hash"]


def write_dataset(masked: Masked, dataset: Dataset, out: Path) -> dict[str, Any]:
    """Write the data set and the targets of its rows; returns what the manifest tells of it.

    Args:
        masked: the rows that are left.
        dataset: the rows that came in, whose labels say what the targets were.
        out: the prepared folder.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    (out / manifest.DATASET).mkdir(exist_ok=True)
    left = range(len(dataset)) if masked.left is None else masked.left
    scores = () if masked.scores is None else tuple(masked.scores.stored)
    wanted = ("input_ids", "labels", *(f"ppx_{score}" for score in scores))
    # A host's collator would stumble over a column of words, or over what was only chosen by.
    names = [name for name in masked.dataset.column_names if name in wanted]
    table = masked.dataset.select_columns(names).with_format("arrow")[:]
    ids = table.column("input_ids").combine_chunks()
    # Axolotl knows a tokenised data set by these three columns.
    ones = pa.array(np.ones(len(ids.flatten()), dtype=np.int8))
    mask = pa.ListArray.from_arrays(_starts(ids), ones)
    table = table.append_column("attention_mask", mask).replace_schema_metadata(None)
    path = out / manifest.DATASET / FILE
    write_atomic(
        path, lambda f: pq.write_table(table, f, row_group_size=ROW_GROUP, compression="zstd")
    )
    scored = range(len(dataset)) if masked.scored is None else masked.scored
    place_of = {row: place for place, row in enumerate(scored)}
    targets = _targets(dataset.select(left), list(left), [place_of.get(row) for row in left])
    write_atomic(out / manifest.TARGETS, lambda f: _stream(targets, f))
    return {
        "file": FILE,
        "hash": manifest.file_hash(path),
        "rows": table.num_rows,
        "columns": table.column_names,
    }


def _starts(lists: pa.Array) -> pa.Array:
    import pyarrow as pa

    lengths = lists.value_lengths().to_numpy(zero_copy_only=False)
    return pa.array(np.concatenate([[0], np.cumsum(lengths)]), type=pa.int32())


def _targets(dataset: Dataset, came_in: list[int], places: list[int | None]) -> pa.Table:
    """Of each row: its place among the scored rows (or none), and in the user's data; its targets
    as bits; where they come from, after a builder.
    """
    import pyarrow as pa

    examples = Examples(dataset=dataset, ends=frozenset())
    found: list[int] = []
    packed: list[bytes] = []
    for start in range(0, len(examples), CHUNK_ROWS):
        chunk = examples.chunk(start, start + CHUNK_ROWS)
        # Rows are counted where they came in, not where they are now.
        rows = (
            chunk.rows_N.tolist() if ROW in dataset.column_names else came_in[start:][: len(chunk)]
        )
        found += rows
        packed += [np.packbits(one.target_T).tobytes() for one in chunk.examples(frozenset())]
    built = SOURCE in dataset.column_names
    sources = dataset[SOURCE][:] if built else [None] * len(dataset)
    return pa.table(
        {
            "place": pa.array(places, type=pa.int64()),
            "row": pa.array(found, type=pa.int64()),
            "targets": pa.array(packed, type=pa.binary()),
            "source": pa.array(sources, type=pa.string()),
        }
    )


def _stream(table: pa.Table, file: Any) -> None:
    import pyarrow as pa

    with pa.ipc.new_stream(file, table.schema) as writer:
        writer.write_table(table)


def _read(path: Path) -> pa.Table:
    import pyarrow as pa

    with pa.memory_map(str(path)) as source:
        return pa.ipc.open_stream(source).read_all()
