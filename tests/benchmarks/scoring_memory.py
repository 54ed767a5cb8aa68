"""One process, one way of scoring: prints its peak memory over the resident model, in MiB."""

from __future__ import annotations

import ctypes
import gc
import sys
from pathlib import Path

import numpy as np
import torch

from ppx_ext.scoring import token_scores
from tests.benchmarks import scoring_parts as parts


def _status(name: str) -> float:
    """`VmRSS` or `VmHWM` (its peak) in MiB, Linux only.

    Not getrusage's peak: that counts the parent's memory from before this program took over.
    """
    for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines():
        if line.startswith(name + ":"):
            return int(line.split()[1]) / 1024
    raise ValueError(name)


def main(shape: str, way: str) -> None:
    """Score the 12 longest rows of MBPP's first 40."""
    torch.set_num_threads(1)
    folder = parts.data_folder()
    assert folder is not None, "no data"
    ids, targets = parts.mbpp(folder, 40)
    longest = sorted(range(len(ids)), key=lambda row: -len(ids[row]))[:12]
    ids, targets = [ids[row] for row in longest], [targets[row] for row in longest]
    model = parts.random_llama(shape, torch.bfloat16)
    scored = token_scores if way == "ours" else parts.authors
    # What a first call loads once and for all (kernels, caches of the library) is not counted.
    scored(model, [ids[-1][:8]], [np.arange(8) == 7])
    # What loading in float32 left in the allocator would otherwise hide what scoring takes from it.
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    before = _status("VmRSS")
    # Loading peaked in float32; the kernel forgets that where it is asked to.
    Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")
    scored(model, ids, targets)
    print(_status("VmHWM") - before)


if __name__ == "__main__":
    main(*sys.argv[1:])
