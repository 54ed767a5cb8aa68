"""Measuring a model in the midst of its training, of which nothing stays behind."""

from __future__ import annotations

import contextlib
import copy
import random
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch

from ppx_ext.scoring.models import unpacked

_OF_TOKENIZERS = ("padding_side", "truncation_side", "pad_token", "eos_token", "bos_token",
                  "chat_template", "model_max_length")  # fmt: skip
_OF_MODULES = {"training", "gradient_checkpointing", "_disable_adapters", "_active_adapter"}


@contextlib.contextmanager
def undisturbed(model: Any, tokenizer: Any) -> Iterator[None]:
    """Whatever happens inside, the run goes on as if it had not.

    Put back are the random states (Python, numpy, torch on the CPU and on the model's devices),
    the mode and gradient checkpointing of every submodule, the adapters that are on,
    ``requires_grad`` of every parameter, what the configs and the generation config say (the cache
    switch among them), and the tokenizer's sides, ends, template and length.
    """
    with contextlib.ExitStack() as stack:
        stack.enter_context(_random_states(model))
        stack.enter_context(_configs(model))
        stack.enter_context(_modules(model))
        stack.enter_context(_tokenizer(tokenizer))
        stack.enter_context(unpacked(model))
        stack.enter_context(torch.no_grad())
        yield


@contextlib.contextmanager
def _random_states(model: Any) -> Iterator[None]:
    devices = {parameter.device for parameter in model.parameters()}
    others = [device for device in devices if device.type not in ("cpu", "meta")]
    python_state, numpy_state = random.getstate(), np.random.get_state()
    cpu_state = torch.get_rng_state()
    states = [(device, _of_device("get", device)) for device in others]
    try:
        yield
    finally:
        random.setstate(python_state)
        np.random.set_state(numpy_state)
        torch.set_rng_state(cpu_state)
        for device, state in states:
            _of_device("set", device, state)


def _of_device(do: str, device: torch.device, *state: Any) -> Any:
    module: Any = torch.get_device_module(device)
    where = () if device.type == "mps" else (device,)  # there is one, and it takes no name
    return getattr(module, f"{do}_rng_state")(*state, *where)


@contextlib.contextmanager
def _configs(model: Any) -> Iterator[None]:
    """Configs stay the objects that they are, as modules hold them too."""
    found = [model.config, model.config.get_text_config()]
    generation = getattr(model, "generation_config", None)
    found += [] if generation is None else [generation]
    before = [(config, copy.copy(config.__dict__)) for config in found]
    try:
        yield
    finally:
        for config, values in before:
            config.__dict__.clear()
            config.__dict__.update(values)
        if generation is not None:
            model.generation_config = generation


@contextlib.contextmanager
def _modules(model: Any) -> Iterator[None]:
    modules = [
        (module, {name: getattr(module, name) for name in _OF_MODULES if name in vars(module)})
        for module in model.modules()
    ]
    parameters = [(parameter, parameter.requires_grad) for parameter in model.parameters()]
    dtype = torch.get_default_dtype()
    try:
        yield
    finally:
        torch.set_default_dtype(dtype)
        for module, values in modules:
            for name in _OF_MODULES - values.keys():
                vars(module).pop(name, None)
            vars(module).update(values)
        for parameter, requires_grad in parameters:
            parameter.requires_grad_(requires_grad)


@contextlib.contextmanager
def _tokenizer(tokenizer: Any) -> Iterator[None]:
    states = {name: getattr(tokenizer, name, None) for name in _OF_TOKENIZERS}
    try:
        yield
    finally:
        for name, state in states.items():
            if getattr(tokenizer, name, None) != state:
                setattr(tokenizer, name, state)
