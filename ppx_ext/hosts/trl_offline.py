"""A TRL recipe checked without its model and without a card."""

from __future__ import annotations

import contextlib
import dataclasses
import difflib
import io
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ppx_ext.hosts.axolotl_doctor import Finding

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
        return unknown or list(_parsed(recipe, model))


def unknown_keys(settings: Mapping[str, Any]) -> Iterator[Finding]:
    """Keys that none of TRL's arguments is called by."""
    from trl import DatasetMixtureConfig, ModelConfig

    from ppx_ext.hosts.trl_config import PpxScriptArguments, PpxSFTConfig

    kinds = (PpxScriptArguments, PpxSFTConfig, ModelConfig, DatasetMixtureConfig)
    known = {field.name for kind in kinds for field in dataclasses.fields(kind)} | {"env"}
    for key in sorted(set(settings) - known):
        near = difflib.get_close_matches(key, known, n=1)
        hint = f" Did you mean `{near[0]}`?" if near else ""
        message = f"TRL does not know this key and will refuse it.{hint}"
        yield Finding(level="error", where=key, message=message)


def _parsed(recipe: Path, model: Path | None) -> Iterator[Finding]:
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
        yield from _raised(error)
        return
    if model is None:
        return
    try:
        yield _end_of_turn(trl_recipe.load_tokenizer(found), found)
    except Exception as error:  # a template or a token that the model does not have
        yield from _raised(error)


def _raised(error: BaseException) -> Iterator[Finding]:
    for text in getattr(error, "problems", None) or [f"recipe: {type(error).__name__}: {error}"]:
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
