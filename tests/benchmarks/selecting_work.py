"""What the benchmarks of selection compare: ours, the usual way, and how they are measured."""

from __future__ import annotations

import gc
import multiprocessing
import re
import statistics
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

STRATA = 10


def rounds_of(
    works: dict[str, Callable[[], Any]],
    rounds: int,
    clock: Callable[[], float] = time.process_time,
) -> dict[str, list[float]]:
    """Seconds of each in each round, one after the other; the processor's, on a shared machine."""
    took: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(rounds):
        for name, work in works.items():
            gc.collect()
            began = clock()
            work()
            took[name].append(clock() - began)
    return took


def ratio(took: dict[str, list[float]], above: str, below: str) -> float:
    """Median over the rounds."""
    return statistics.median(a / b for a, b in zip(took[above], took[below], strict=True))


def status(key: str) -> float:
    """Megabytes of this process: VmRSS, or its peak VmHWM.

    Not ``ru_maxrss``: a child starts with its parent's.
    """
    found = re.search(rf"{key}:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert found
    return int(found[1]) * 1024 / 1e6


def peak_of(work: Callable[[], Any]) -> float:
    """Megabytes at the peak of ``work``, over what was resident before."""
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
    before = status("VmRSS")
    work()
    return max(status("VmHWM") - before, 0.0)


def alone(work: Callable[..., float], *arguments: Any) -> float:
    """What ``work`` measures in a process of its own."""
    context = multiprocessing.get_context("spawn")
    with context.Pool(1) as pool:
        return pool.apply(work, arguments)


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


def memory_of(name: str, rows: int) -> float:
    """Peak of `our_count`, `our_tokens` or `our_strata`."""
    work: Callable[..., Any] = {"count": our_count, "tokens": our_tokens, "strata": our_strata}[
        name
    ]
    given = (scores_of(rows), lengths_of(rows)) if name == "tokens" else (scores_of(rows),)
    work(*(each[: 1 << 20].copy() for each in given))  # imports, and first allocations
    return peak_of(lambda: work(*given))


def memory_of_sampler(rows: int) -> float:
    from ppx_ext.selecting import ShuffledSampler

    next(iter(ShuffledSampler(1 << 17)))
    return peak_of(lambda: deque(ShuffledSampler(rows), maxlen=0))


def memory_of_torch(rows: int) -> float:
    """To the first index: by then all are there."""
    from torch.utils.data import RandomSampler

    next(iter(RandomSampler(range(1 << 17))))
    return peak_of(lambda: next(iter(RandomSampler(range(rows)))))


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
