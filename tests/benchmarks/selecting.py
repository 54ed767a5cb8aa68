"""D-1 to D-5: selection at scale, against numpy, PyTorch's sampler and datasets.

`python -m tests.benchmarks.selecting --rows 100000000` measures at the size of the goals, and
writes the results; without, a tenth of it.
"""

from __future__ import annotations

import argparse
import gc
import multiprocessing
import os
import resource
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np

from tests.benchmarks.result import Result, as_json

ROWS = 10**7
STRATA = 10
SET_ROWS = 10**7
ROUNDS = 3


def times(works: dict[str, Callable[[], Any]], rounds: int = ROUNDS) -> dict[str, float]:
    """Median seconds of each, interleaved."""
    seen: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(rounds):
        for name, work in works.items():
            gc.collect()
            began = time.perf_counter()
            work()
            seen[name].append(time.perf_counter() - began)
    return {name: statistics.median(found) for name, found in seen.items()}


def resident() -> float:
    """Megabytes of this process."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 1e6


def peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6


def scores_of(rows: int) -> np.ndarray:
    scores = np.empty(rows, dtype=np.float32)
    np.random.default_rng(0).standard_normal(out=scores, dtype=np.float32)
    return scores


def lengths_of(rows: int) -> np.ndarray:
    lengths = np.empty(rows, dtype=np.int32)
    rng = np.random.default_rng(1)
    for start in range(0, rows, 1 << 20):
        part = lengths[start : start + (1 << 20)]
        part[:] = rng.integers(20, 1000, len(part))
    return lengths


def our_count(scores: np.ndarray) -> Any:
    from ppx_ext.selecting import choose

    return choose(scores, count=len(scores) // 100)


def our_tokens(scores: np.ndarray, lengths: np.ndarray) -> Any:
    from ppx_ext.selecting import choose

    return choose(scores, tokens=5 * len(scores), lengths=lengths)


def our_strata(scores: np.ndarray) -> Any:
    from ppx_ext.selecting import draw, quantile_bins

    wanted = [len(scores) // 1000] * STRATA
    return draw(len(scores), quantile_bins(scores, STRATA), wanted)


def naive_tokens(scores: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    order = np.argsort(scores)
    ends = np.cumsum(lengths[order], dtype=np.int64)
    return order[: int(np.searchsorted(ends, 5 * len(scores), side="right"))]


def naive_strata(scores: np.ndarray) -> np.ndarray:
    edges = np.quantile(scores, np.arange(1, STRATA) / STRATA)
    bins = np.digitize(scores, edges)
    rng = np.random.default_rng(0)
    wanted = len(scores) // 1000
    return np.concatenate(
        [rng.choice(np.flatnonzero(bins == at), wanted, replace=False) for at in range(STRATA)]
    )


def _extra(work: str, rows: int, pipe: Any) -> None:
    given: list[Any] = [scores_of(rows)]
    if work == "our_tokens":
        given.append(lengths_of(rows))
    globals()[work](*[each[: 1 << 20] for each in given])  # imports, and first allocations
    before = resident()
    globals()[work](*given)
    pipe.send(max(peak() - before, 0.0))


def _sampler(rows: int, pipe: Any) -> None:
    import torch  # noqa: F401

    from ppx_ext.selecting.sampler import ShuffledSampler

    before = resident()
    total = sum(1 for _ in ShuffledSampler(rows))
    assert total == rows
    pipe.send(max(peak() - before, 0.0))


def alone(work: Callable[..., None], *arguments: Any) -> float:
    """What ``work`` measures in a process of its own."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=work, args=(*arguments, theirs))
    process.start()
    theirs.close()
    found: float = ours.recv()
    process.join()
    return found


def check(scores: np.ndarray, ours: np.ndarray, theirs: np.ndarray) -> None:
    """The same rows, but for rows of one score at the cut."""
    apart = np.setxor1d(ours, theirs)
    assert len(np.unique(scores[apart])) <= 1, f"{len(apart)} rows differ"


def counts(scores: np.ndarray, rounds: int) -> Iterable[Result]:
    rows, wanted = len(scores), len(scores) // 100
    check(scores, our_count(scores).rows, np.argpartition(scores, wanted)[:wanted])
    took = times(
        {
            "ours": lambda: our_count(scores),
            "argpartition": lambda: np.argpartition(scores, wanted)[:wanted],
            "read": lambda: scores.sum(),
        },
        max(rounds, ROUNDS),
    )
    what = f"the {wanted:.0e} smallest of {rows:.0e} float32"
    yield Result(
        id="D-1",
        what=f"{what}, against argpartition",
        value=took["argpartition"] / took["ours"],
        goal=8,
        stretch=15,
        note=f"{took['ours']:.3f} s; the same rows",
    )
    yield Result(
        id="D-1r",
        what=f"{what}, against one read (sum)",
        value=took["ours"] / took["read"],
        goal=12,
        stretch=6,
        better="less",
        note=f"a read takes {took['read']:.4f} s",
    )
    extra = alone(_extra, "our_count", rows)
    yield _memory("D-1m", what, extra, 64)


def tokens(scores: np.ndarray, rounds: int) -> Iterable[Result]:
    rows, lengths = len(scores), lengths_of(len(scores))
    check(scores, our_tokens(scores, lengths).rows, naive_tokens(scores, lengths))
    took = times(
        {
            "ours": lambda: our_tokens(scores, lengths),
            "naive": lambda: naive_tokens(scores, lengths),
        },
        rounds,
    )
    what = f"easiest rows for 1 % of the tokens of {rows:.0e} rows"
    yield Result(
        id="D-2",
        what=f"{what}, against argsort and cumsum",
        value=took["naive"] / took["ours"],
        goal=20,
        stretch=50,
        note=f"{took['ours']:.3f} s; the same rows",
    )
    yield _memory("D-2m", what, alone(_extra, "our_tokens", rows), 128)


def strata(scores: np.ndarray, rounds: int) -> Iterable[Result]:
    drawn = our_strata(scores)
    assert not any(drawn.short)
    took = times(
        {"ours": lambda: our_strata(scores), "naive": lambda: naive_strata(scores)}, rounds
    )
    yield Result(
        id="D-3",
        what=f"{len(scores) // 1000} rows of each of {STRATA} strata of {len(scores):.0e} scores, "
        "against quantile, digitize and choice",
        value=took["naive"] / took["ours"],
        goal=10,
        stretch=17,
        note=f"{took['ours']:.3f} s; counts exact, the strata's edges from 10^6 of the scores",
    )


def sampler(rows: int, rounds: int) -> Iterable[Result]:
    from collections import deque

    from torch.utils.data import RandomSampler

    from ppx_ext.selecting.sampler import ShuffledSampler

    took = times(
        {
            "first": lambda: next(iter(ShuffledSampler(rows))),
            "ours": lambda: deque(ShuffledSampler(rows), maxlen=0),
            "torch": lambda: deque(RandomSampler(range(rows)), maxlen=0),
        },
        rounds,
    )
    yield Result(
        id="D-4",
        what=f"all indexes of a shuffled epoch of {rows:.0e} rows, against RandomSampler",
        value=took["ours"] / took["torch"],
        goal=1.1,
        stretch=0.6,
        better="less",
        note=f"{took['ours']:.1f} s",
    )
    yield Result(
        id="D-4f",
        what=f"its first index, {rows:.0e} rows",
        value=took["first"],
        goal=0.2,
        better="less",
        unit="s",
    )
    yield _memory("D-4m", f"the whole epoch, {rows:.0e} rows", alone(_sampler, rows), 64)


def rows_file(path: Path, rows: int) -> None:
    """An Arrow file as datasets writes it: batches of 1000."""
    import pyarrow as pa

    text = pa.array([f"a row of text, number {at}, as short as that" for at in range(1000)])
    schema = pa.schema({"id": pa.int64(), "score": pa.float32(), "text": pa.string()})
    score = pa.array(scores_of(1000))
    with pa.ipc.new_stream(str(path), schema) as writer:
        for start in range(0, rows, 1000):
            at = pa.array(np.arange(start, start + 1000))
            writer.write_batch(pa.record_batch([at, score, text], schema=schema))


def taking(rows: int) -> Iterable[Result]:
    from datasets import Dataset, disable_progress_bars

    from ppx_ext.selecting.sources import open_source
    from ppx_ext.selecting.taking import write_chosen

    disable_progress_bars()
    chosen = np.sort(np.random.default_rng(0).choice(rows, rows // 10, replace=False))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "data.arrow"
        rows_file(path, rows)
        made = {kind: Path(folder) / f"ours.{kind}" for kind in ("arrow", "parquet")}
        flat = str(Path(folder) / "flat.arrow")
        whole = Dataset.from_file(str(path))
        took = times(
            {
                "arrow": lambda: write_chosen(open_source(path), chosen, made["arrow"]),
                "parquet": lambda: write_chosen(open_source(path), chosen, made["parquet"]),
                "flatten": lambda: whole.select(chosen).flatten_indices(cache_file_name=flat),
            },
            1,
        )
        ours = Dataset.from_file(str(made["arrow"])).data.table
        assert ours.equals(Dataset.from_file(flat).data.table)
    yield Result(
        id="D-5",
        what=f"write {len(chosen):.0e} chosen of {rows:.0e} rows, against flatten_indices",
        value=took["flatten"] / took["arrow"],
        goal=20,
        stretch=80,
        note=f"Arrow to Arrow, {took['arrow']:.2f} s (flushed to the disk), the same table; as "
        f"Parquet {took['parquet']:.2f} s, {took['flatten'] / took['parquet']:.0f}x",
    )


def _memory(id: str, what: str, value: float, goal: float) -> Result:
    return Result(
        id=id,
        what=f"{what}: peak over what was resident before",
        value=value,
        goal=goal,
        better="less",
        unit="MB",
    )


def run(rows: int | None = None) -> Iterable[Result]:
    """Goals D-1 to D-5; PPX_BENCH_ROWS sets how many rows."""
    rows = rows or int(os.environ.get("PPX_BENCH_ROWS", ROWS))
    rounds = ROUNDS if rows <= ROWS else 1
    scores = scores_of(rows)
    yield from counts(scores, rounds)
    yield from tokens(scores, rounds)
    yield from strata(scores, rounds)
    del scores
    yield from sampler(rows, rounds)
    yield from taking(min(rows, SET_ROWS))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=ROWS)
    given = parser.parse_args()
    found = []
    for each in run(given.rows):
        found.append(each)
        print(f"{each.id:5} {each.what}; {each.note}")
        goals = f"goal {each.goal:g}, stretch {each.stretch}: {each.mark}"
        print(f"      measured {each.value:.3g} {each.unit} ({goals})", flush=True)
    place = Path(__file__).parent / "results" / f"selecting-{given.rows:.0e}.json"
    place.parent.mkdir(exist_ok=True)
    place.write_text(as_json(found) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
