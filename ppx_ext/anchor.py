"""A KL divergence to the base, added to the loss: the `kl:` stage, a baseline against forgetting.

``loss = CE + beta * mean over target tokens of KL(policy || base)``, where KL is over the whole
vocabulary, exactly, and the base is the policy with its adapters switched off. It is what arXiv
2501.14315 (Table 8) means; the authors' script subtracts the term, which rewards divergence, and
reads logits and labels of different tokens.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from ppx_ext.contracts import IGNORE
from ppx_ext.scoring.models import base_of

_OF_A_FORWARD = ("input_ids", "attention_mask", "position_ids", "token_type_ids")


def kl_sum(
    policy_BTV: torch.Tensor, base_BTV: torch.Tensor, labels_BT: torch.Tensor
) -> torch.Tensor:
    """Sum over target tokens of KL(policy || base), in nats, float32.

    Args:
        policy_BTV, base_BTV: logits at each position, which predict the token after it.
        labels_BT: as the loss has them: a token is a target where it is not -100.
    """
    target = labels_BT[:, 1:] != IGNORE
    policy_NV = policy_BTV[:, :-1][target].float().log_softmax(-1)
    base_NV = base_BTV[:, :-1][target].float().log_softmax(-1)
    return (policy_NV.exp() * (policy_NV - base_NV)).sum()


def attach(trainer: Any, beta: float) -> None:
    """Add the term to what a trainer minimises (any of the transformers family); not to evaluation.

    It costs two more forward passes a step, one of them without gradients. It is averaged as the
    trainer's own loss is. With ``beta`` 0 nothing is done.

    Raises:
        ValueError: there is no adapter, so that the base is gone once training begins, or the
            weights are sharded.
    """
    if beta == 0:
        return
    _check(trainer)
    plain = trainer.compute_loss

    def compute_loss(model: Any, inputs: Mapping[str, Any], *args: Any, **kwargs: Any) -> Any:
        batch = dict(inputs)  # some trainers take the labels out
        found = plain(model, inputs, *args, **kwargs)
        if not model.training:
            return found
        share = _penalty(trainer, model, batch, kwargs.get("num_items_in_batch"))
        if isinstance(found, tuple):
            return (found[0] + beta * share, *found[1:])
        return found + beta * share

    trainer.compute_loss = compute_loss


def _penalty(trainer: Any, model: Any, batch: Mapping[str, Any], items: Any) -> torch.Tensor:
    labels_BT = batch["labels"]
    inputs = {key: batch[key] for key in _OF_A_FORWARD if batch.get(key) is not None}
    inner = trainer.accelerator.unwrap_model(model)
    with trainer.compute_loss_context_manager():
        with base_of(inner) as base:
            base_BTV = base(**inputs).logits
        total = kl_sum(inner(**inputs).logits, base_BTV, labels_BT)
    targets = (labels_BT[:, 1:] != IGNORE).sum().clamp(min=1)
    if metrics := getattr(trainer, "_metrics", None):  # TRL's
        metrics["train"]["ppx/kl"].append(float(total.detach() / targets))
    return total / targets if items is None else _of_step(trainer, total, targets, items)


def _of_step(trainer: Any, total: torch.Tensor, targets: torch.Tensor, items: Any) -> torch.Tensor:
    """The micro-batch's share of the step, as `Trainer.training_step` will take it."""
    if not (trainer.model_accepts_loss_kwargs or trainer.compute_loss_func):
        return total / targets  # a mean of means: the trainer divides by the micro-batches
    processes = trainer.accelerator.num_processes
    scale = processes if trainer.args.average_tokens_across_devices else 1
    share: torch.Tensor = total / items * scale
    return share


def _check(trainer: Any) -> None:
    model = trainer.accelerator.unwrap_model(trainer.model)
    if not getattr(model, "peft_config", None):
        raise ValueError(
            "ppx.kl: the base is the model with its adapters switched off, and there is none here: "
            "train an adapter (LoRA), or take the stage out"
        )
    plugin = getattr(trainer.accelerator.state, "deepspeed_plugin", None)
    if trainer.is_fsdp_enabled or (plugin is not None and plugin.zero_stage == 3):
        raise ValueError(
            "ppx.kl: FSDP and ZeRO-3 cut the model in parts, of which the base cannot be asked. "
            "Take the stage out, or train without them"
        )
