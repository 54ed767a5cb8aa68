"""`python -m tests.benchmarks.scoring`: the scorer against the authors' way, TRL and the machine.

All ratios come from one process on one thread, in processor time, rounds interleaved; memory from
processes of their own. Needs MBPP's training rows (`PPX_DATA`, or `../shared/data`).
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ppx_ext.scoring import SCORES, token_scores
from tests.benchmarks import scoring_parts as parts
from tests.benchmarks.result import Result

ROWS, ROUNDS = 40, 3
MORE_ROWS = 160  # flips are few: a share of them needs more targets than a time does
BF16, F32 = torch.bfloat16, torch.float32


def run() -> Iterable[Result]:
    """All goals that this stack can measure; without data it says so and measures nothing."""
    folder = parts.data_folder()
    if folder is None:
        print("SKIPPED scoring: no mbpp_train.jsonl; set PPX_DATA to its folder", file=sys.stderr)
        return []
    torch.set_num_threads(1)
    rows = parts.mbpp(folder, ROWS)
    found = [*_speed(rows), *_memory(), *_trl(rows), *_agreement(folder)]
    parts.write(found, "scoring")
    return found


def _speed(rows: parts.Rows) -> Iterator[Result]:
    """A-1, A-2, A-4 and A-6 from the same rounds."""
    for shape, dtype, goal, stretch in (
        ("S32", BF16, 1.6, 2.0),
        ("S32", F32, 1.5, 2.0),
        ("V128", BF16, 4.5, 5.5),
    ):
        name = f"{shape} {str(dtype).removeprefix('torch.')}"
        model = parts.random_llama(shape, dtype)
        seconds = _rounds(model, rows)
        measured = _measured(parts.ratio(seconds["authors"], seconds["nll"]))
        apart = parts.ratio(seconds["authors"], seconds["flat"])
        measured["note"] += f"; {apart} where rows share nothing"
        yield Result(
            id="A-2" if shape == "V128" else "A-1",
            what=f"{name}: scorer over the authors' loop",
            **measured,
            goal=goal,
            stretch=stretch,
        )
        yield _near_the_limit(name, model, rows, seconds)
        yield Result(
            id="A-6",
            what=f"{name}: NLL, entropy and rank over NLL alone",
            **_measured(parts.ratio(seconds["all"], seconds["nll"])),
            goal=1.08,
            stretch=1.03,
            better="less",
        )


def _rounds(model: Any, rows: parts.Rows) -> dict[str, list[float]]:
    ids, targets = rows

    def flat() -> None:
        with parts.unshared(model):
            token_scores(model, ids, targets)

    return parts.interleaved(
        {
            "authors": lambda: parts.authors(model, ids, targets),
            "nll": lambda: token_scores(model, ids, targets),
            "flat": flat,
            "all": lambda: token_scores(model, ids, targets, names=SCORES),
        },
        ROUNDS,
    )


def _measured(ratio: parts.Ratio) -> dict[str, Any]:
    return {"value": ratio.value, "note": f"rounds {ratio.low:.2f}-{ratio.high:.2f}"}


def _near_the_limit(
    name: str, model: Any, rows: parts.Rows, seconds: dict[str, list[float]]
) -> Result:
    """A-4: time that the useful FLOPs take at the best matmul's rate, over the time taken."""
    best = parts.best_matmul(model)

    def shares(way: str) -> list[float]:
        flops = parts.useful_flops(model, *rows, shared=way == "nll")
        return [flops / best / each for each in seconds[way]]

    flat = shares("flat")
    wide, single = name.startswith("V128"), name.endswith("32")
    return Result(
        id="A-4",
        what=f"{name}: useful FLOP/s over the best matmul's, nothing shared",
        value=float(np.median(flat)),
        goal=0.4 if wide else 0.72 if single else 0.6,
        stretch=None if wide else 0.85 if single else 0.75,
        note=f"rounds {min(flat):.2f}-{max(flat):.2f}; matmul {best / 1e9:.0f} GFLOP/s; "
        f"{np.median(shares('nll')):.2f} with sharing, where shared tokens count once"
        + ("; no goal was set here: 0.4 is a floor under the prototype at 0.44" if wide else ""),
    )


def _memory() -> Iterator[Result]:
    """A-5: peak resident memory over that of the loaded model, 12 longest rows."""
    for shape, goal in (("S32", 5.0), ("V128", 12.0)):
        # What the allocator keeps differs from start to start.
        ours, theirs = (
            float(np.median([_peak(shape, way) for _ in range(3)])) for way in ("ours", "authors")
        )
        held = {way: _peak(shape, way, returned=True) for way in ("ours", "authors")}
        yield Result(
            id="A-5",
            what=f"{shape} bfloat16: peak memory over the model, authors' over ours",
            value=theirs / ours,
            goal=goal,
            note=f"{theirs:.0f} against {ours:.0f} MiB; without what the allocator keeps of freed "
            f"tensors {held['authors']:.0f} against {held['ours']:.0f} MiB "
            f"({held['authors'] / held['ours']:.1f}x)",
        )


def _peak(shape: str, way: str, *, returned: bool = False) -> float:
    """MiB; with ``returned`` freed tensors go back to the system at once."""
    command = [sys.executable, "-m", "tests.benchmarks.scoring_memory", shape, way]
    environment = os.environ | ({"MALLOC_MMAP_THRESHOLD_": str(2**16)} if returned else {})
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, env=environment)
    return float(done.stdout.split()[-1])


def _trl(rows: parts.Rows) -> Iterator[Result]:
    """A-7: TRL's fused head at label positions, sorted batches of eight."""
    try:
        from trl.trainer.utils import add_fused_lm_head
    except ImportError:
        print(f"SKIPPED A-7: TRL {version('trl')} has no add_fused_lm_head", file=sys.stderr)
        return
    ids, targets = rows
    plain, fused = parts.random_llama("S32", BF16), parts.random_llama("S32", BF16)
    add_fused_lm_head(fused, outputs=("log_probs",))
    found, expected = parts.trl_fused(fused, ids, targets), token_scores(plain, ids, targets)
    error = parts.largest([row["nll"] for row in expected], found)
    assert error < 0.1, f"TRL and we score different things: {error}"
    ways = {
        "trl": lambda: parts.trl_fused(fused, ids, targets),
        "ours": lambda: token_scores(plain, ids, targets),
    }
    seconds = parts.interleaved(ways, ROUNDS)
    yield Result(
        id="A-7",
        what="S32 bfloat16: scorer over TRL's fused head, sorted, CPU",
        **_measured(parts.ratio(seconds["trl"], seconds["ours"])),
        goal=2.0,
    )


def _agreement(folder: Path) -> Iterator[Result]:
    """A-9: float32 against the authors' loop, and masks that bfloat16 flips."""
    ids, targets = parts.mbpp(folder, MORE_ROWS)
    # Wide weights give the scores of a random model about the spread of a trained one's.
    model = parts.random_llama("S32", F32)
    model.model.norm.weight.data.fill_(8.0)
    expected = parts.authors(model, ids, targets)
    found = [row["nll"] for row in token_scores(model, ids, targets)]
    yield Result(
        id="A-9",
        what="S32 float32: largest difference to the authors' loop",
        value=parts.largest(found, expected),
        goal=1e-4,
        better="less",
        unit="nats",
    )
    exact = np.concatenate(expected)
    half = model.to(BF16)
    ours = np.concatenate([row["nll"] for row in token_scores(half, ids, targets)])
    theirs = np.concatenate(parts.authors(half, ids, targets))
    rounded = np.concatenate(parts.authors(half.to(F32), ids, targets))
    for what, right, others in (
        ("a bfloat16 model flips", exact, ((theirs, "authors' loop"), (rounded, "weights alone"))),
        ("bfloat16 arithmetic flips, weights alike", rounded, ((theirs, "authors' loop"),)),
    ):
        told = "; ".join(f"{name} {_flips(other, right):.2f} %" for other, name in others)
        yield Result(
            id="A-9",
            what=f"S32: masks that {what}",
            value=_flips(ours, right),
            goal=0.3,
            better="less",
            unit="%",
            note=f"{told}; {len(exact)} targets, random weights, NLL spread {exact.std():.1f} nats",
        )


def _flips(scores: Any, right: Any) -> float:
    """Percent of tokens on the other side of a line that keeps as many as 2.5 keeps on MBPP."""
    line = np.quantile(right, 0.79)
    return 100 * float(((scores > line) != (right > line)).mean())


def main() -> None:
    from rich.console import Console

    from tests.benchmarks.__main__ import table

    if found := list(run()):
        Console(width=None if sys.stdout.isatty() else 150).print(table(found))


if __name__ == "__main__":
    main()
