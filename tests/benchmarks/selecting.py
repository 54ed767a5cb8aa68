"""D-1 to D-5: selection at scale, against numpy, PyTorch's sampler and datasets.

`OMP_NUM_THREADS=1 python -m tests.benchmarks.selecting --rows 100000000` measures at the size of
the goals (about 8 minutes, 6 GB), and writes the results; without, a tenth of it. Times are of the
processor and ratios medians of interleaved rounds, as machines are shared.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections import deque
from collections.abc import Iterable
from pathlib import Path
from statistics import median

import numpy as np

from tests.benchmarks.result import Result, as_json
from tests.benchmarks.selecting_work import (
    STRATA,
    alone,
    lengths_of,
    memory_of,
    memory_of_sampler,
    memory_of_torch,
    naive_strata,
    naive_tokens,
    our_count,
    our_strata,
    our_tokens,
    ratio,
    rounds_of,
    rows_file,
    scores_of,
)

ROWS = 10**7
SET_ROWS = 10**7
ROUNDS = 3


def check(scores: np.ndarray, ours: np.ndarray, theirs: np.ndarray) -> None:
    """The same rows, but for rows of one score at the cut."""
    apart = np.setxor1d(ours, theirs)
    assert len(np.unique(scores[apart])) <= 1, f"{len(apart)} rows differ"


def counts(scores: np.ndarray) -> Iterable[Result]:
    rows, wanted = len(scores), len(scores) // 100
    check(scores, our_count(scores).rows, np.argpartition(scores, wanted)[:wanted])
    took = rounds_of(
        {
            "ours": lambda: our_count(scores),
            "argpartition": lambda: np.argpartition(scores, wanted)[:wanted],
            "read": lambda: scores.sum(),
        },
        2 * ROUNDS + 1,
    )
    what = f"the {wanted:.0e} smallest of {rows:.0e} float32"
    yield Result(
        id="D-1",
        what=f"{what}, against argpartition",
        value=ratio(took, "argpartition", "ours"),
        goal=8,
        stretch=15,
        note=f"{median(took['ours']):.3f} s; the same rows",
    )
    yield Result(
        id="D-1r",
        what=f"{what}, against one read (sum)",
        value=ratio(took, "ours", "read"),
        goal=12,
        stretch=6,
        better="less",
        note=f"a read takes {median(took['read']):.4f} s",
    )
    yield _memory("D-1m", what, alone(memory_of, "count", rows), 64)


def tokens(scores: np.ndarray) -> Iterable[Result]:
    rows, lengths = len(scores), lengths_of(len(scores))
    check(scores, our_tokens(scores, lengths).rows, naive_tokens(scores, lengths))
    took = rounds_of(
        {
            "ours": lambda: our_tokens(scores, lengths),
            "naive": lambda: naive_tokens(scores, lengths),
        },
        ROUNDS,
    )
    what = f"easiest rows for 1 % of the tokens of {rows:.0e} rows"
    yield Result(
        id="D-2",
        what=f"{what}, against argsort and cumsum",
        value=ratio(took, "naive", "ours"),
        goal=20,
        stretch=50,
        note=f"{median(took['ours']):.3f} s; the same rows",
    )
    yield _memory("D-2m", what, alone(memory_of, "tokens", rows), 128)


def strata(scores: np.ndarray) -> Iterable[Result]:
    assert not any(our_strata(scores).short)
    took = rounds_of(
        {"ours": lambda: our_strata(scores), "naive": lambda: naive_strata(scores)}, ROUNDS
    )
    yield Result(
        id="D-3",
        what=f"{len(scores) // 1000} rows of each of {STRATA} strata of {len(scores):.0e} scores, "
        "against quantile, digitize and choice",
        value=ratio(took, "naive", "ours"),
        goal=10,
        stretch=17,
        note=f"{median(took['ours']):.3f} s and "
        f"{alone(memory_of, 'strata', len(scores)):.0f} MB; counts exact, the strata's edges from "
        "10^6 of the scores",
    )


def sampler(rows: int) -> Iterable[Result]:
    from torch.utils.data import RandomSampler

    from ppx_ext.selecting import ShuffledSampler

    took = rounds_of(
        {
            "ours": lambda: deque(ShuffledSampler(rows), maxlen=0),
            "torch": lambda: deque(RandomSampler(range(rows)), maxlen=0),
        },
        ROUNDS,
    )
    yield Result(
        id="D-4",
        what=f"all indexes of a shuffled epoch of {rows:.0e} rows, against RandomSampler",
        value=ratio(took, "ours", "torch"),
        goal=1.1,
        stretch=0.6,
        better="less",
        note=f"{median(took['ours']):.1f} s",
    )
    first = rounds_of({"ours": lambda: next(iter(ShuffledSampler(rows)))}, 5, time.perf_counter)
    theirs = rounds_of(
        {"torch": lambda: next(iter(RandomSampler(range(rows))))}, 1, time.perf_counter
    )
    yield Result(
        id="D-4f",
        what=f"its first index, {rows:.0e} rows",
        value=median(first["ours"]),
        goal=0.2,
        better="less",
        unit="s",
        note=f"RandomSampler's: {theirs['torch'][0]:.2g} s",
    )
    what, peak = f"the whole epoch, {rows:.0e} rows", alone(memory_of_sampler, rows)
    note = f"RandomSampler: {alone(memory_of_torch, rows):.0f} MB at its first index"
    yield _memory("D-4m", what, peak, 64, note)


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
        flat: list[str] = []  # a new file in each round: one that is there would be taken as it is

        def flatten() -> None:
            flat.append(f"{folder}/flat-{len(flat)}.arrow")
            whole.select(chosen).flatten_indices(cache_file_name=flat[-1])

        whole = Dataset.from_file(str(path))
        took = rounds_of(
            {
                "arrow": lambda: write_chosen(open_source(path), chosen, made["arrow"]),
                "parquet": lambda: write_chosen(open_source(path), chosen, made["parquet"]),
                "flatten": flatten,
            },
            ROUNDS,
        )
        ours = Dataset.from_file(str(made["arrow"])).data.table
        assert ours.equals(Dataset.from_file(flat[0]).data.table)
    yield Result(
        id="D-5",
        what=f"write {len(chosen):.0e} chosen of {rows:.0e} rows, against flatten_indices",
        value=ratio(took, "flatten", "arrow"),
        goal=20,
        stretch=80,
        note=f"Arrow to Arrow, {median(took['arrow']):.2f} s without the disk's own time, the "
        f"same table; as Parquet {median(took['parquet']):.2f} s, "
        f"{ratio(took, 'flatten', 'parquet'):.0f}x",
    )


def _memory(id: str, what: str, value: float, goal: float, note: str = "") -> Result:
    return Result(
        id=id,
        what=f"{what}: peak over what was resident before",
        value=value,
        goal=goal,
        better="less",
        unit="MB",
        note=note,
    )


def run(rows: int | None = None) -> Iterable[Result]:
    """Goals D-1 to D-5; PPX_BENCH_ROWS sets how many rows."""
    rows = rows or int(os.environ.get("PPX_BENCH_ROWS", ROWS))
    scores = scores_of(rows)
    yield from counts(scores)
    yield from tokens(scores)
    yield from strata(scores)
    del scores
    yield from sampler(rows)
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
