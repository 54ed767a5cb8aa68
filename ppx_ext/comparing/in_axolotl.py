"""A run in Axolotl: `axolotl train` in a process of its own, and the weights that it leaves."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ppx_ext.comparing.perform import Made


def ready() -> None:
    """Load all libraries that measure here; Axolotl trains in a process of its own."""
    import axolotl.loaders  # noqa: F401

    import ppx_ext.hosts.axolotl_recipe  # noqa: F401


def unknown_keys(settings: Mapping[str, Any]) -> Iterator[Any]:
    """Keys of a recipe that Axolotl does not know, and would drop."""
    from ppx_ext.hosts import axolotl_doctor

    return axolotl_doctor.unknown_keys(settings)


def trained(recipe: Path, folder: Path) -> Made:
    """Train the recipe; what it saved is loaded as the base was."""
    from ppx_ext.hosts import axolotl_recipe

    axolotl_recipe.train(recipe)
    cfg, loaded = _loaded(recipe)
    if cfg.adapter:
        from peft import PeftModel

        loaded.model = PeftModel.from_pretrained(loaded.model, folder)
    else:
        from ppx_ext.scoring import load_causal_lm

        dtype = str(loaded.model.dtype).removeprefix("torch.")
        loaded.model = load_causal_lm(str(folder), dtype=dtype)  # type: ignore[arg-type]
    return loaded


def base(recipe: Path) -> Made:
    """The base, as it is scored."""
    return _loaded(recipe)[1]


def _loaded(recipe: Path) -> tuple[Any, Made]:
    from axolotl.loaders import load_tokenizer

    from ppx_ext.hosts import axolotl_recipe
    from ppx_ext.hosts.axolotl_base import base_of

    cfg, plan, _ = axolotl_recipe._loaded(recipe, None, None)
    return cfg, Made(model=base_of(cfg, plan).load(), tokenizer=load_tokenizer(cfg))
