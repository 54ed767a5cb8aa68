"""E-1 to E-3: scores on disk, against a list column as the STM authors keep it. Real MBPP text."""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tests.benchmarks.result import Result, as_json

ROWS = 20_000
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


def run() -> Iterable[Result]:
    from datasets import Dataset, concatenate_datasets, disable_progress_bars, load_from_disk

    from ppx_ext import store
    from ppx_ext.examples import Examples

    disable_progress_bars()
    data = os.environ.get("PPX_DATA") or Path(__file__).parents[3] / "shared" / "data"
    rows = rows_of(Path(data) / "mbpp_train.jsonl")
    examples = Examples(dataset=rows, ends=frozenset())
    all_rows = list(examples)
    tokens = sum(len(row.ids_T) for row in all_rows)
    targets = sum(int(row.target_T.sum()) for row in all_rows)
    rng = np.random.default_rng(0)
    scores = [rng.exponential(1.0, int(row.target_T.sum())).astype(np.float32) for row in all_rows]
    whole = [np.full(len(row.ids_T), 10.0) for row in all_rows]
    for row, ppl_T, nll_R in zip(all_rows, whole, scores, strict=True):
        ppl_T[row.target_T] = np.exp(nll_R)
    key = store.Key(name="nll", exact=False, fields={"model": "m"})
    given = iter(())

    def lent(part: Sequence[Any]) -> list[Any]:
        return [next(given) for _ in part]

    with tempfile.TemporaryDirectory() as folder:
        places = (Path(folder) / str(n) for n in range(100))

        def ours() -> None:
            nonlocal given
            given = iter(scores)
            store.fill(next(places), key, examples, lent, shard_rows=1024)

        def shard_only() -> None:
            path = next(places)
            path.mkdir()
            for start in range(0, ROWS, 1024):
                part = slice(start, start + 1024)
                values = store.encode_rows(scores[part], all_rows[part], key)
                store.write_shard(path / f"{start}.arrow", key, chunks[start], values)

        def authors() -> None:
            listed = [
                {"input_ids": row.ids_T.tolist(), "labels": row.ids_T.tolist(), "ppl": ppl.tolist()}
                for row, ppl in zip(all_rows, whole, strict=True)
            ]
            Dataset.from_list(listed).save_to_disk(str(next(places)))

        chunks = {start: examples.chunk(start, start + 1024) for start in range(0, ROWS, 1024)}
        for chunk in chunks.values():
            assert chunk.digest  # made once for each run, with the data's fingerprint
        rows.save_to_disk(str(Path(folder) / "ids"))
        on_disk = load_from_disk(str(Path(folder) / "ids"))

        def add(batch: Any, at: list[int]) -> dict[str, Any]:
            return {"ppl": [whole[index].tolist() for index in at]}

        def mapped() -> None:
            on_disk.map(
                add, batched=True, with_indices=True, cache_file_name=f"{next(places)}.arrow"
            )

        works = {"fill": ours, "write": shard_only, "authors": authors, "map": mapped}
        took = medians(works)
        given = iter(scores)
        stored = store.fill(Path(folder) / "kept", key, examples, lent, shard_rows=1024)
        size = sum(path.stat().st_size for path in stored.shards())
        ids = on_disk.select_columns(["input_ids"])
        joined = concatenate_datasets([ids, stored.dataset("ppx_nll")], axis=1)
        order = [int(at) for at in rng.integers(0, ROWS - BATCH, FETCHES)]

        def fetch(source: Any) -> Callable[[], None]:
            def work() -> None:
                for at in order:
                    source[at : at + BATCH]

            return work

        read = medians({"ids": fetch(ids), "both": fetch(joined)}, rounds=9)
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
