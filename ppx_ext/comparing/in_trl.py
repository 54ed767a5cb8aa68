"""A run in TRL: `ppx train` in this process, and the model that it leaves in memory."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ppx_ext.comparing.perform import Made


def ready() -> None:
    """Load all libraries."""
    import trl.trainer.sft_trainer  # noqa: F401

    import ppx_ext.hosts.trl  # noqa: F401


def unknown_keys(settings: Mapping[str, Any]) -> Iterator[Any]:
    """Keys of a recipe that TRL does not know."""
    from ppx_ext.hosts import trl_offline

    return trl_offline.unknown_keys(settings)


def trained(recipe: Path, folder: Path) -> Made:
    """Train the recipe."""
    from ppx_ext.hosts import trl

    trainer = trl.train(recipe)
    model = trainer.accelerator.unwrap_model(trainer.model)
    return Made(model=model, tokenizer=trainer.processing_class)


def base(recipe: Path) -> Made:
    """The base, as the trainer would load it."""
    from trl import get_quantization_config  # type: ignore[attr-defined]

    from ppx_ext.hosts import trl_base, trl_recipe

    found = trl_recipe.read(recipe)
    tokenizer = trl_recipe.load_tokenizer(found)
    found.args.model_init_kwargs = found.init
    model = trl_base.load_model(
        {
            "model": found.model.model_name_or_path,
            "args": found.args,
            "processing_class": tokenizer,
            "quantization_config": get_quantization_config(found.model),
        }
    )
    if not getattr(model, "hf_device_map", None):
        model = model.to(found.args.device)
    return Made(model=model, tokenizer=tokenizer)
