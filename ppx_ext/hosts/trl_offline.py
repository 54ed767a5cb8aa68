"""A TRL recipe checked without its model and without a card."""

from __future__ import annotations

import contextlib
import dataclasses
import difflib
import importlib.util
import inspect
import io
import sys
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

from ppx_ext.hosts.axolotl_doctor import Finding

_FSDP = {
    "auto_wrap_policy",
    "min_num_params",
    "transformer_layer_cls_to_wrap",
    "version",
    "xla",
    "xla_fsdp_grad_ckpt",
    "xla_fsdp_settings",
    "xla_fsdp_v2",
}
"""Keys of ``fsdp_config`` that transformers reads itself; the others are accelerate's."""
_CHAT = (
    {"role": "user", "content": "Say hello."},
    {"role": "assistant", "content": "Hello."},
)


def examine(recipe: Path, settings: Mapping[str, Any], model: Path | None) -> list[Finding]:
    """What TRL would refuse, and whether ends of turns are trained.

    Args:
        recipe: its file.
        settings: what it holds.
        model: a folder with the configuration and tokenizer of its model; None where there is
            none, and then no template is looked at.
    """
    with contextlib.redirect_stdout(sys.stderr):
        unknown = list(unknown_keys(settings))
        if unknown or not settings.get("deepspeed") or importlib.util.find_spec("deepspeed"):
            return unknown or list(_parsed(recipe, settings, model))
        message = "DeepSpeed is not installed here, and without it TRL reads no such recipe"
        return [Finding(level="warning", where="deepspeed", message=f"not checked: {message}")]


def unknown_keys(settings: Mapping[str, Any]) -> Iterator[Finding]:
    """Keys that none of TRL's arguments is called by."""
    from trl import DatasetMixtureConfig, ModelConfig

    from ppx_ext.hosts.trl_config import PpxScriptArguments, PpxSFTConfig

    kinds = (PpxScriptArguments, PpxSFTConfig, ModelConfig, DatasetMixtureConfig)
    known = {field.name for kind in kinds for field in dataclasses.fields(kind)} | {"env"}
    yield from _not_among(known, settings, "", "TRL does not know this key and will refuse it.")
    for name, inner in _known_below().items():
        found = settings.get(name)
        if isinstance(found, Mapping):
            said = f"nobody reads this key of `{name}`."
            yield from _not_among(inner, found, f"{name}.", said)


def _not_among(
    known: Collection[str], found: Mapping[str, Any], where: str, said: str
) -> Iterator[Finding]:
    for key in sorted(set(found) - set(known)):
        near = difflib.get_close_matches(key, known, n=1)
        hint = f" Did you mean `{near[0]}`?" if near else ""
        yield Finding(level="error", where=f"{where}{key}", message=said + hint)


def _known_below() -> Mapping[str, Collection[str]]:
    """Keys of mappings that are taken as they are, so that an unknown one is never told."""
    import torch.utils.checkpoint
    from accelerate import FullyShardedDataParallelPlugin

    sharding = {field.name for field in dataclasses.fields(FullyShardedDataParallelPlugin)}
    checkpointing = inspect.signature(torch.utils.checkpoint.checkpoint).parameters
    return {
        "fsdp_config": sharding | _FSDP | {f"fsdp_{key}" for key in sharding | _FSDP},
        "gradient_checkpointing_kwargs": {*checkpointing, "early_stop"} - {"function", "args"},
    }


def _parsed(recipe: Path, settings: Mapping[str, Any], model: Path | None) -> Iterator[Finding]:
    from ppx_ext.hosts import trl_recipe

    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            name = None if model is None else str(model)
            found = trl_recipe.read(recipe, model=name, anywhere=True)
    except SystemExit:  # argparse has said why, and leaves the process
        message = said.getvalue().strip().rpartition("error: ")[2]
        yield Finding(level="error", where="recipe", message=message)
        return
    except Exception as error:  # whatever the host raises is what a user would see
        yield from _raised(error, settings)
        return
    if model is None:
        return
    try:
        yield _end_of_turn(trl_recipe.load_tokenizer(found), found)
    except Exception as error:  # a template or a token that the model does not have
        yield from _raised(error, settings)


def _raised(error: BaseException, settings: Mapping[str, Any]) -> Iterator[Finding]:
    # Of a wrong name, transformers tells the value alone.
    bad = (key for key, value in settings.items() if str(error).startswith(f"{value} is not a "))
    unknown = f"{next(bad, 'recipe')}: {type(error).__name__}: {error}"
    for text in getattr(error, "problems", None) or [unknown]:
        where, _, message = str(text).partition(": ")
        yield Finding(level="error", where=where, message=message)


def _end_of_turn(tokenizer: Any, recipe: Any) -> Finding:
    from ppx_ext import tokens

    where = "chat template"
    row = {"messages": list(_CHAT)}
    (made,) = tokens.tokenize([(0, row)], tokenizer, max_length=recipe.args.max_length)
    if isinstance(made, tokens.Skip):
        return Finding(level="error", where=where, message=f"{made.reason}: {made.detail}")
    if made.end_T.any():
        return Finding(level="ok", where=where, message="the end of each turn is trained")
    return Finding(
        level="error",
        where=where,
        message="the token that ends a turn is not trained, so that the model may not learn to "
        "stop. Set `eos_token` to the one that the template writes, or use another "
        "`chat_template_path`.",
    )
