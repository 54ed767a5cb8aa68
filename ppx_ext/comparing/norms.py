"""How far a training moved the weights, and moving them less."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any


def update_norm(model: Any) -> float | None:
    """L2 norm of all weight changes of a LoRA model: the root of the summed squares of s B A.

    None where that is not all that changed: no LoRA, DoRA (which scales whole weights too), or
    further weights trained whole.
    """
    layers = list(_layers(model))
    if not layers or _other_changes(model):
        return None
    total = 0.0
    for module, name in layers:
        total += float(module.get_delta_weight(name).detach().double().square().sum())
    return float(total**0.5)


def scale_update(model: Any, factor: float) -> None:
    """Multiply all weight changes of a LoRA model by ``factor``, in place.

    ``s (c B) A = c (s B A)``: the model lies on the straight line from the base to the trained one.

    Raises:
        ValueError: changes that do not scale so (see `update_norm`).
    """
    import torch

    if update_norm(model) is None:
        raise ValueError(
            "a change of weights can be scaled where plain LoRA is all that is trained; here there "
            "is none, or DoRA, or other weights are trained whole. Leave the arm out"
        )
    with torch.no_grad():
        for module, name in _layers(model):
            module.lora_B[name].weight.mul_(factor)


def _layers(model: Any) -> Iterator[tuple[Any, str]]:
    for module in model.modules():
        for name in getattr(module, "lora_A", {}):
            yield module, name


def _other_changes(model: Any) -> bool:
    configs = getattr(model, "peft_config", {}).values()
    more = ("modules_to_save", "trainable_token_indices")
    whole = any(getattr(config, name, None) for config in configs for name in more)
    biased = any(getattr(config, "bias", "none") != "none" for config in configs)
    dora = any(getattr(config, "use_dora", False) for config in configs)
    return whole or biased or dora
