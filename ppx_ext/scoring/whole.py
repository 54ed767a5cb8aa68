"""Models that are whole in each process, however a run cuts the one that it trains."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import nn

_LOADS_ONCE = "FSDP_CPU_RAM_EFFICIENT_LOADING"


@contextlib.contextmanager
def whole() -> Iterator[None]:
    """Have transformers load models whole for a while.

    Where ZeRO-3 is on, it cuts each model that it loads: a joint act, in which a process that loads
    one alone waits for ever, and of whose parts no forward pass can be made. Where FSDP loads
    sparingly, processes may get zeros for weights, all but the first one of a machine.
    """
    with contextlib.ExitStack() as stack:
        stack.enter_context(_without_zero3())
        stack.enter_context(_without_sparing())
        yield


@contextlib.contextmanager
def _without_zero3() -> Iterator[None]:
    from transformers.integrations import deepspeed

    reference: Any = deepspeed._hf_deepspeed_config_weak_ref  # there is no public name for it
    config = reference and reference()
    if config is None or not config.is_zero3():
        yield
        return
    deepspeed.unset_hf_deepspeed_config()
    try:
        yield
    finally:
        deepspeed.set_hf_deepspeed_config(config)


@contextlib.contextmanager
def _without_sparing() -> Iterator[None]:
    before = os.environ.get(_LOADS_ONCE)
    if before is None:
        yield
        return
    os.environ[_LOADS_ONCE] = "false"
    try:
        yield
    finally:
        os.environ[_LOADS_ONCE] = before


def lacks(model: nn.Module) -> str | None:
    """What keeps a loaded model from being whole in this process, in words; or None."""
    parameters = list(model.parameters())
    if any(hasattr(parameter, "ds_id") for parameter in parameters):
        return "ZeRO-3 has cut its weights in parts"
    if any(type(parameter).__name__ == "DTensor" for parameter in parameters):
        return "its weights are cut in parts"
    if any(parameter.is_meta for parameter in parameters):
        return "its weights are on the meta device"
    if parameters and not any(bool(parameter.any()) for parameter in parameters):
        return "all its weights are zero, as FSDP leaves them that loads in the first process alone"
    return None
