"""`ppx` in one of several processes that train with DeepSpeed on a CPU.

`accelerate` starts DeepSpeed on accelerators only, though DeepSpeed itself runs over gloo as well:
here it is told that gloo is what there is, and all that follows is its own code and that of
DeepSpeed, of the trainer and of the command.
"""

from __future__ import annotations

from typing import Any

from accelerate.state import PartialState
from accelerate.utils import DistributedType

from ppx_ext.cli import main


def _gloo(self: PartialState, *args: Any, **kwargs: Any) -> tuple[str, DistributedType]:
    return "gloo", DistributedType.MULTI_CPU


if __name__ == "__main__":
    PartialState._prepare_backend = _gloo
    main(prog_name="ppx")
