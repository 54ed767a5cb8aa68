"""An Axolotl recipe checked without its model and without a card: the card is pretended."""

from __future__ import annotations

import contextlib
import dataclasses
import difflib
import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ppx_ext.hosts.axolotl_doctor import Finding

CARD: Mapping[str, Any] = {
    "bf16": True,
    "fp8": False,
    "tf32": True,
    "n_gpu": 1,
    "n_node": 1,
    "compute_capability": "sm_80",
}
"""What Axolotl asks of the hardware, as an A100 would answer."""


def examine(settings: Mapping[str, Any], model: Path | None) -> list[Finding]:
    """What Axolotl would refuse or drop, and whether ends of turns are trained.

    Args:
        settings: the recipe.
        model: a folder with the configuration and tokenizer of its model; None where there is
            none, and then no template is looked at.
    """
    os.environ.setdefault("AXOLOTL_DO_NOT_TRACK", "1")
    with contextlib.redirect_stdout(sys.stderr), _plugins_forgotten():
        return list(_examine(settings, model))


def _examine(settings: Mapping[str, Any], model: Path | None) -> Iterator[Finding]:
    from ppx_ext.hosts import axolotl_doctor as doctor

    listed = list(doctor.plugin(settings))
    yield from (one for one in listed if one.level != "ok")
    for found in doctor.unknown_keys(settings):
        yield dataclasses.replace(found, level="error")
    yield from _unknown_names(settings)
    refused = list(_refused(settings))
    yield from refused
    if model is None or refused:
        return
    with_model = {**settings, "base_model": str(model)}
    chats = [e for e in settings.get("datasets") or () if e.get("type") == "chat_template"]
    seen = list(doctor.end_of_turn(with_model))
    for found in seen:
        yield dataclasses.replace(found, level="ok" if found.level == "ok" else "error")
    if chats and not seen:
        yield Finding(level="error", where="datasets", message="no chat could be rendered")


def _unknown_names(settings: Mapping[str, Any]) -> Iterator[Finding]:
    """Its schema takes any text for these; the trainer does not."""
    from axolotl.utils.schemas.enums import CustomSupportedOptimizers
    from transformers import SchedulerType
    from transformers.training_args import OptimizerNames

    known = {
        "optimizer": [one.value for one in (*OptimizerNames, *CustomSupportedOptimizers)],
        "lr_scheduler": [*(one.value for one in SchedulerType), "one_cycle", "rex"],
    }
    for key, names in known.items():
        value = settings.get(key)
        if value is not None and value not in names:
            near = difflib.get_close_matches(str(value), names, n=1)
            hint = f" Did you mean `{near[0]}`?" if near else f" There are: {', '.join(names)}."
            yield Finding(level="error", where=key, message=f"there is no {value!r}.{hint}")


def _refused(settings: Mapping[str, Any]) -> Iterator[Finding]:
    """What Axolotl's own schema says with the pretended card."""
    import pydantic
    from axolotl.cli.config import prepare_plugins
    from axolotl.utils.config import validate_config
    from axolotl.utils.dict import DictDefault

    cfg = DictDefault(dict(settings))
    try:
        prepare_plugins(cfg)
        validate_config(cfg, capabilities=dict(CARD), env_capabilities={"torch_version": "2.11.0"})
    except pydantic.ValidationError as error:
        for problem in error.errors():
            where = ".".join(str(part) for part in problem["loc"]) or "recipe"
            yield Finding(level="error", where=where, message=f"Axolotl: {problem['msg']}")
    except Exception as error:  # whatever the host raises is what a user would see
        problems = getattr(error, "problems", None) or [f"recipe: {type(error).__name__}: {error}"]
        for text in problems:
            where, _, message = str(text).partition(": ")
            yield Finding(level="error", where=where, message=message)


@contextlib.contextmanager
def _plugins_forgotten() -> Iterator[None]:
    """Axolotl keeps the plugins of earlier configs of a process."""
    from axolotl.integrations.base import PluginManager

    try:
        yield
    finally:
        PluginManager.get_instance().plugins.clear()
