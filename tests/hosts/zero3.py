"""DeepSpeed's ZeRO-3 on a CPU, for both hosts."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import ROOT

_LACKING = [
    what
    for what, there in (
        ("deepspeed", importlib.util.find_spec("deepspeed")),
        (
            "a C++ compiler",
            shutil.which("c++") or shutil.which("g++"),
        ),  # it builds a part of itself
    )
    if not there
]
needs_deepspeed = pytest.mark.skipif(
    bool(_LACKING),
    reason=f"NOT INSTALLED: {' and '.join(_LACKING)}, ZeRO-3 is not run: pip install deepspeed",
)
_AUTO = ("train_batch_size", "train_micro_batch_size_per_gpu", "gradient_accumulation_steps",
         "gradient_clipping")  # fmt: skip


def settings(**changes: Any) -> dict[str, Any]:
    """What a recipe has under ``deepspeed``; ``changes`` are of its ``zero_optimization``."""
    zero = {
        "stage": 3,
        "stage3_gather_16bit_weights_on_model_save": True,
        "stage3_param_persistence_threshold": 0,  # else models this small are not cut
    }
    return {"zero_optimization": {**zero, **changes}, **dict.fromkeys(_AUTO, "auto")}


def on_a_cpu() -> None:
    """Let this process start DeepSpeed, which `accelerate` does on accelerators only.

    DeepSpeed itself runs over gloo as well. So `accelerate` is told that gloo is what there is, and
    `transformers` that bfloat16 can be used; all that follows is their own code.
    """
    from accelerate.state import PartialState
    from accelerate.utils import DistributedType
    from transformers import training_args

    def gloo(self: PartialState, *args: Any, **kwargs: Any) -> tuple[str, DistributedType]:
        return "gloo", DistributedType.MULTI_CPU

    PartialState._prepare_backend = gloo
    training_args.is_torch_bf16_gpu_available = lambda: True


def launch(worker: str, *arguments: object, processes: int = 2) -> str:
    """Run a module in several processes; gives what they said.

    Raises:
        RuntimeError: one of them failed; the end of what they said.
    """
    start = ["torch.distributed.run", "--standalone", "--nproc_per_node", str(processes)]
    return run(*start, "-m", worker, *map(str, arguments))


def run(*module: str) -> str:
    """As `launch`, for one process that may start others."""
    own = str(Path(sys.executable).parent)  # DeepSpeed brings ninja, and looks for it on the path
    done = subprocess.run(
        [sys.executable, "-m", *module],
        cwd=ROOT,
        env={**os.environ, "PATH": f"{own}{os.pathsep}{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        timeout=400,
        check=False,
    )
    said = done.stdout + done.stderr
    if done.returncode:
        raise RuntimeError(said[-6000:])
    return said
