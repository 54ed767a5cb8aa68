"""E-1 to E-3: scores on disk, against a list column as the STM authors keep it. Real MBPP text."""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tests.benchmarks.result import Result, as_json

ROWS = 20_000
SHARD = 1024
BATCH = 8
FETCHES = 300
ROUNDS = 3
LLAMA3_SHARE = 0.292
"""Targets of all tokens in MBPP's 374 training rows under Llama 3's tokenizer and template."""


def cpu(work: Callable[[], Any]) -> float:
    began = time.process_time()
    work()
    return time.process_time() - began


def medians(works: dict[str, Callable[[], Any]], rounds: int = ROUNDS) -> dict[str, float]:
    """CPU seconds of each, interleaved, after one warm-up."""
    for work in works.values():
        work()
    seen: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(rounds):
        for name, work in works.items():
            seen[name].append(cpu(work))
    return {name: statistics.median(found) for name, found in seen.items()}


def rows_of(path: Path) -> Any:
    """MBPP's rows, tokenised, over and over up to `ROWS`."""
    from ppx_ext.tokenized import tokenize_rows
    from tests.models import tiny_tokenizer

    corpus = path.read_text().splitlines()
    tokenizer = tiny_tokenizer(vocab_size=4096, corpus=corpus)
    rows = tokenize_rows(path, tokenizer).dataset.remove_columns("ppx_row")
    return rows.select([at % len(rows) for at in range(ROWS)]).flatten_indices()


@dataclass(frozen=True, kw_only=True)
class Measured:
    """CPU seconds of each way to write (``took``) and to read (``read``), and sizes in bytes."""

    took: dict[str, float]
    read: dict[str, float]
    size: int
    tokens: int
    targets: int


class Writers:
    """Four ways to write the same scores, each into a folder of its own."""

    def __init__(self, rows: Any, folder: Path) -> None:
        from datasets import load_from_disk

        from ppx_ext import store
        from ppx_ext.examples import Examples

        self.examples = Examples(dataset=rows, ends=frozenset())
        self.rows = list(self.examples)
        rng = np.random.default_rng(0)
        counts = [int(row.target_T.sum()) for row in self.rows]
        self.scores = [rng.exponential(1.0, count).astype(np.float32) for count in counts]
        self.whole = [np.full(len(row.ids_T), 10.0) for row in self.rows]
        for row, ppl_T, nll_R in zip(self.rows, self.whole, self.scores, strict=True):
            ppl_T[row.target_T] = np.exp(nll_R)
        self.key = store.Key(name="nll", exact=False, fields={"model": "m"})
        self.folder = folder
        self.places = (folder / str(n) for n in range(100))
        self.chunks = {at: self.examples.chunk(at, at + SHARD) for at in range(0, ROWS, SHARD)}
        for chunk in self.chunks.values():
            assert chunk.digest  # made once for each run, with the data's fingerprint
        rows.save_to_disk(str(folder / "ids"))
        self.on_disk = load_from_disk(str(folder / "ids"))

    def fill(self, place: Path | None = None) -> Any:
        """All of `store.fill`: rows read and hashed, locks, checks."""
        from ppx_ext import store

        given = iter(self.scores)
        return store.fill(
            place or next(self.places),
            self.key,
            self.examples,
            lambda part: [next(given) for _ in part],
            shard_rows=SHARD,
        )

    def write(self) -> None:
        """Encoding and writing alone."""
        from ppx_ext import store

        path = next(self.places)
        path.mkdir()
        for start, chunk in self.chunks.items():
            part = slice(start, start + SHARD)
            values = store.encode_rows(self.scores[part], self.rows[part], self.key)
            store.write_shard(path / f"{start}.arrow", self.key, chunk, values)

    def authors(self) -> None:
        """As the paper's authors do: a data set from lists, saved."""
        from datasets import Dataset

        listed = [
            {"input_ids": row.ids_T.tolist(), "labels": row.ids_T.tolist(), "ppl": ppl.tolist()}
            for row, ppl in zip(self.rows, self.whole, strict=True)
        ]
        Dataset.from_list(listed).save_to_disk(str(next(self.places)))

    def map(self) -> None:
        """A list column added by a batched map."""
        self.on_disk.map(
            lambda batch, at: {"ppl": [self.whole[index].tolist() for index in at]},
            batched=True,
            with_indices=True,
            cache_file_name=f"{next(self.places)}.arrow",
        )

    def fetchers(self) -> dict[str, Callable[[], None]]:
        """Batches of ids alone, and of ids with their scores."""
        from datasets import concatenate_datasets

        ids = self.on_disk.select_columns(["input_ids"])
        stored = self.fill(self.folder / "kept")
        joined = concatenate_datasets([ids, stored.dataset("ppx_nll")], axis=1)
        order = np.random.default_rng(1).integers(0, ROWS - BATCH, FETCHES).tolist()

        def fetch(source: Any) -> Callable[[], None]:
            def work() -> None:
                for at in order:
                    source[at : at + BATCH]

            return work

        return {"ids": fetch(ids), "both": fetch(joined)}


def measure(rows: Any) -> Measured:
    """Write and read the scores of ``rows`` in every way, interleaved."""
    with tempfile.TemporaryDirectory() as folder:
        ways = Writers(rows, Path(folder))
        names = ("fill", "write", "authors", "map")
        took = medians({name: getattr(ways, name) for name in names})
        read = medians(ways.fetchers(), rounds=9)
        stored = ways.fill(Path(folder) / "kept")
        return Measured(
            took=took,
            read=read,
            size=sum(path.stat().st_size for path in stored.shards()),
            tokens=sum(len(row.ids_T) for row in ways.rows),
            targets=sum(int(row.target_T.sum()) for row in ways.rows),
        )


def run() -> Iterable[Result]:
    """Goals E-1 to E-3."""
    from datasets import disable_progress_bars

    disable_progress_bars()
    data = os.environ.get("PPX_DATA") or Path(__file__).parents[3] / "shared" / "data"
    found = measure(rows_of(Path(data) / "mbpp_train.jsonl"))
    took, read, size = found.took, found.read, found.size
    tokens, targets = found.tokens, found.targets
    share = f"{ROWS} rows, {tokens / 1e6:.1f} Mtok, response {targets / tokens:.0%} of them"
    yield Result(
        id="E-1",
        what="write scores: our shards, against from_list + save_to_disk of a list column",
        value=took["authors"] / took["write"],
        goal=30,
        stretch=80,
        note=f"{share}; CPU seconds",
    )
    yield Result(
        id="E-1b",
        what="write scores: our shards, against a batched map of a list column",
        value=took["map"] / took["write"],
        goal=12,
        stretch=25,
        note=f"the whole of store.fill (rows read and hashed, locks, checks): "
        f"{took['fill'] * 1e6 / ROWS:.0f} us of CPU a row, {took['authors'] / took['fill']:.0f}x",
    )
    yield Result(
        id="E-2",
        what="bytes of the score file for each token, at MBPP's response share under Llama 3",
        value=size / targets * LLAMA3_SHARE,
        goal=0.65,
        stretch=0.31,
        better="less",
        unit="B",
        note=f"float16, targets only: {size / targets:.2f} B a target; the share is "
        f"{LLAMA3_SHARE:.1%} there, and {targets / tokens:.0%} ({size / tokens:.2f} B) here",
    )
    yield Result(
        id="E-3",
        what=f"fetch a batch of {BATCH}: ids with their scores, against ids alone",
        value=read["both"] / read["ids"],
        goal=1.2,
        stretch=1.1,
        better="less",
        note=f"{read['ids'] * 1e6 / FETCHES:.0f} us of CPU for ids alone",
    )


if __name__ == "__main__":
    found = list(run())
    for each in found:
        print(f"{each.id:5} {each.what}; {each.note}")
        goals = f"goal {each.goal:g}, stretch {each.stretch}: {each.mark}"
        print(f"      measured {each.value:.3f} {each.unit} ({goals})")
    place = Path(__file__).parent / "results" / "storage.json"
    place.parent.mkdir(exist_ok=True)
    place.write_text(as_json(found) + "\n")
