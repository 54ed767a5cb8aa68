"""A run in Axolotl: `axolotl train` in a process of its own, and the weights that it leaves."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ppx_ext.comparing.perform import Made


def ready() -> None:
    """Load all libraries that measure here; Axolotl trains in a process of its own."""
    import axolotl.loaders  # noqa: F401

    import ppx_ext.hosts.axolotl_recipe  # noqa: F401


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
    loaded.history = _history(folder)
    steps = [entry["step"] for entry in loaded.history if "step" in entry]
    loaded.numbers = {"steps": max(steps)} if steps else {}
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


def _history(folder: Path) -> list[dict[str, Any]]:
    """What the trainer logged, where a checkpoint has it."""
    states = sorted(folder.glob("**/trainer_state.json"), key=lambda path: path.stat().st_mtime)
    if not states:
        return []
    found: list[dict[str, Any]] = json.loads(states[-1].read_text(encoding="utf-8"))["log_history"]
    return found
