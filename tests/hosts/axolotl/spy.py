"""An Axolotl plugin that keeps what reaches the loss, and seeds what nobody else seeds."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import torch
from axolotl.integrations.base import BasePlugin

SEEN: list[dict[str, Any]] = []
"""One entry for each call of compute_loss: its ids, labels, positions, loss, and if it trained."""

FINAL: dict[str, Any] = {}
"""Of the last run: trainer, and its trained weights."""


def reset() -> None:
    SEEN.clear()
    FINAL.clear()


class SpyPlugin(BasePlugin):
    def load_datasets(self, cfg: Any, preprocess: bool = False) -> None:
        if not torch.cuda.is_available():
            cfg.device_map = None  # Axolotl names the process's GPU even where there is none

    def pre_model_load(self, cfg: Any) -> None:
        from transformers import set_seed

        if not cfg.ppx:  # the plain run that others are compared with
            set_seed(cfg.seed)

    def post_trainer_create(self, cfg: Any, trainer: Any) -> None:
        reset()
        FINAL["trainer"] = trainer
        inner = trainer.compute_loss

        def compute_loss(model: Any, inputs: Any, *args: Any, **kwargs: Any) -> Any:
            entry = {name: inputs[name].tolist() for name in _KEPT if name in inputs}
            entry["training"] = model.training
            entry["count"] = kwargs.get("num_items_in_batch")
            loss = inner(model, inputs, *args, **kwargs)
            value = loss[0] if isinstance(loss, tuple) else loss
            entry["loss"] = float(value.detach())
            SEEN.append(entry)
            return loss

        trainer.compute_loss = compute_loss

    def post_train(self, cfg: Any, model: Any) -> None:
        FINAL["weights"] = {
            name: parameter.detach().clone()
            for name, parameter in model.named_parameters()
            if parameter.requires_grad
        }
        folder = os.environ.get("PPX_SPY")
        if folder and SEEN:
            rank = os.environ.get("RANK", "0")
            shown = [{**entry, "count": _number(entry["count"])} for entry in SEEN]
            Path(folder, f"spy-{rank}.json").write_text(json.dumps(shown))


_KEPT = ("input_ids", "labels", "position_ids", "attention_mask")


def _number(value: Any) -> float | None:
    return None if value is None else float(torch.as_tensor(value))
