"""`ppx` in one of several processes that train with DeepSpeed on a CPU.

`accelerate` starts DeepSpeed on accelerators only, though DeepSpeed itself runs over gloo as well:
here it is told that gloo is what there is, and `transformers` that bfloat16 can be used. All that
follows is their own code, and that of DeepSpeed, of the trainer and of the command.
"""

from __future__ import annotations

from typing import Any

from accelerate.state import PartialState
from accelerate.utils import DistributedType
from transformers import training_args

from ppx_ext.cli import main


def _gloo(self: PartialState, *args: Any, **kwargs: Any) -> tuple[str, DistributedType]:
    return "gloo", DistributedType.MULTI_CPU


if __name__ == "__main__":
    PartialState._prepare_backend = _gloo
    training_args.is_torch_bf16_gpu_available = lambda: True
    main(prog_name="ppx")
