"""`ppx doctor`: what a recipe would run, on which stack, and whether our part would be active.

Nothing is trained or written here.
"""

from __future__ import annotations

import contextlib
import dataclasses
import difflib
import importlib.metadata
import importlib.util
import os
import platform
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ppx_ext import catalog as catalogs
from ppx_ext import plan as plans
from ppx_ext import recipes
from ppx_ext.hosts import axolotl_config, chosen, evaluated
from ppx_ext.hosts.axolotl_doctor import Finding

STACK = (
    *("ppx-ext", "axolotl", "trl", "transformers", "peft", "datasets", "accelerate"),
    *("bitsandbytes", "torch"),
)
_TITLES: Mapping[recipes.Host, str] = {"trl": "TRL", "axolotl": "Axolotl"}
_MODEL_KEY: Mapping[recipes.Host, str] = {"trl": "model_name_or_path", "axolotl": "base_model"}
_DATA_FILES = {".arrow", ".csv", ".json", ".jsonl", ".parquet", ".txt"}


@dataclass(frozen=True, kw_only=True)
class Examination:
    """All that was seen; ``active`` is False where anything is an error."""

    recipe: str
    host: recipes.Host
    stack: Mapping[str, str]
    findings: Sequence[Finding]

    @property
    def active(self) -> bool:
        """Whether our part would run, and as asked."""
        return all(finding.level != "error" for finding in self.findings)

    def dump(self) -> dict[str, Any]:
        """As plain JSON values."""
        return {**dataclasses.asdict(self), "active": self.active}


def examine(name_or_path: str, *, folders: Sequence[Path] = ()) -> Examination:
    """Look at a recipe.

    Raises:
        RecipeError: it cannot be found or read, or its host cannot be told.
    """
    recipe = recipes.load(name_or_path, folders=folders)
    looks = (_host, _model, _quantization, _data, _device)
    return Examination(
        recipe=str(recipe.path),
        host=recipe.host,
        stack=stack(),
        findings=[finding for look in looks for finding in look(recipe)],
    )


def show(seen: Examination) -> None:
    """Print an examination for a human."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console()
    versions = ", ".join(f"{name} {version}" for name, version in seen.stack.items())
    console.print(Text(f"{seen.recipe}, for {_TITLES[seen.host]}"))
    console.print(Text(versions, style="dim"))
    table = Table.grid(padding=(0, 2))
    styles = {"ok": "green", "warning": "yellow", "error": "bold red"}
    for finding in seen.findings:
        level = Text(finding.level, style=styles[finding.level])
        table.add_row(level, Text(finding.where), Text(finding.message))
    console.print(table)
    said = "ppx-ext would be active." if seen.active else "ppx-ext would not run as asked."
    console.print(Text(said, style="bold"))


def stack() -> dict[str, str]:
    """Versions of Python and of the stack; what is not installed is left out."""
    found = {"python": platform.python_version()}
    for name in STACK:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def _host(recipe: recipes.Recipe) -> Iterator[Finding]:
    if importlib.util.find_spec(recipe.host) is None:
        extra = "[axolotl]" if recipe.host == "axolotl" else ""
        yield _error(
            recipe.host,
            f"{_TITLES[recipe.host]} is not installed here: pip install 'ppx-ext{extra}'",
        )
        yield from _block(recipe)
        return
    yield from {"trl": _trl, "axolotl": _axolotl}[recipe.host](recipe)


def _axolotl(recipe: recipes.Recipe) -> Iterator[Finding]:
    os.environ.setdefault("AXOLOTL_DO_NOT_TRACK", "1")  # looking at a recipe tells nobody of it
    with contextlib.redirect_stdout(sys.stderr):  # where Axolotl's log would go
        from ppx_ext.hosts.axolotl import diagnose

        try:
            yield from diagnose(recipe.path)
        except Exception as error:  # a diagnosis says what is wrong, whatever the host raises
            yield _error("recipe", f"Axolotl cannot take it: {type(error).__name__}: {error}")
            yield from _misspelt_plugin(recipe)


def _misspelt_plugin(recipe: recipes.Recipe) -> Iterator[Finding]:
    listed = [str(name) for name in recipe.settings.get("plugins") or ()]
    near = difflib.get_close_matches(axolotl_config.PLUGIN, listed, n=1)
    if near and axolotl_config.PLUGIN not in listed:
        yield _error("plugins", f"did you mean {axolotl_config.PLUGIN} where it says {near[0]}?")


def _trl(recipe: recipes.Recipe) -> Iterator[Finding]:
    from ppx_ext.hosts import trl_offline

    yield from _block(recipe)
    yield from trl_offline.unknown_keys(recipe.settings)


def _block(recipe: recipes.Recipe) -> Iterator[Finding]:
    if recipe.block is None:
        near = difflib.get_close_matches("ppx", [str(key) for key in recipe.settings], n=1)
        hint = f" Did you mean `ppx:` where the recipe says `{near[0]}:`?" if near else ""
        yield _error("ppx", f"there is no `ppx:` block, so this would be a plain run.{hint}")
        return
    try:
        plan = plans.parse(recipe.block, catalogs.load())
    except plans.PlanError as error:
        for problem in error.problems:
            where, _, message = problem.partition(": ")
            yield _error(where, message)
        return
    stages = {"build": plan.build, "choose": plan.choose, "mask": plan.mask}
    asked = {name: stage for name, stage in stages.items() if stage}
    if not asked and plan.eval is None:
        yield _error("ppx", "names no stage; for instance `mask: {use: stm}`")
    for name, stage in asked.items():
        given = {key: value for key, value in stage.dump().items() if value is not None}
        settings = ", ".join(f"{key}={value}" for key, value in given.items())
        how = f", apply={plan.apply}" if name == "mask" else ""
        shown = chosen.described(plan) if name == "choose" else settings + how
        yield _ok(f"ppx.{name}", shown)
    for level, said in evaluated.seen(plan):
        yield Finding(level=level, where="ppx.eval", message=said)


def _model(recipe: recipes.Recipe) -> Iterator[Finding]:
    key = _MODEL_KEY[recipe.host]
    name = recipe.settings.get(key)
    if not isinstance(name, str):
        yield _error(key, "no base model is named")
    elif Path(name).is_dir():
        has_config = (Path(name) / "config.json").is_file()
        found = _ok(key, f"{name}: a folder with a model")
        yield found if has_config else _error(key, f"{name}: this folder has no config.json")
    else:
        yield _on_hub(key, name)


def _on_hub(key: str, name: str) -> Finding:
    import huggingface_hub
    from huggingface_hub.constants import HF_HUB_OFFLINE
    from huggingface_hub.errors import HFValidationError

    try:
        cached = huggingface_hub.try_to_load_from_cache(name, "config.json")
    except HFValidationError:
        return _error(key, f"{name}: there is no such folder, and it cannot be a hub id")
    if isinstance(cached, str):
        return _ok(key, f"{name}: in the local hub cache")
    if HF_HUB_OFFLINE:
        return _error(
            key, f"{name}: no such folder, not in the local hub cache, and HF_HUB_OFFLINE"
        )
    return _warning(key, f"{name}: no such folder; it would be fetched from the hub")


def _quantization(recipe: recipes.Recipe) -> Iterator[Finding]:
    if importlib.util.find_spec("bitsandbytes") is not None:
        return
    for key in ("load_in_4bit", "load_in_8bit"):
        if recipe.settings.get(key):
            mend = "pip install 'ppx-ext[quantization]'"
            yield _error(key, f"needs bitsandbytes, which is not installed here: {mend}")


def _data(recipe: recipes.Recipe) -> Iterator[Finding]:
    sources = list(_sources(recipe))
    if not sources:
        yield _error("data", "the recipe names no data")
    for key, name in sources:
        if Path(name).exists():
            yield _ok(key, f"{name}: is there")
        elif Path(name).suffix in _DATA_FILES or name.startswith((".", "/", "~")):
            yield _error(key, f"{name}: there is no such file or folder (seen from {Path.cwd()})")
        else:
            yield _warning(key, f"{name}: not here; it would be asked for at the hub")


def _sources(recipe: recipes.Recipe) -> Iterator[tuple[str, str]]:
    named = recipe.settings.get("dataset_name")
    if recipe.host == "trl" and named:
        yield "dataset_name", str(named)
    for list_key in ("datasets", "test_datasets"):
        for at, entry in enumerate(recipe.settings.get(list_key) or ()):
            path = entry.get("path") if isinstance(entry, Mapping) else None
            if path:
                yield f"{list_key}[{at}].path", str(path)


def _device(recipe: recipes.Recipe) -> Iterator[Finding]:
    import torch

    if torch.cuda.is_available():
        yield _ok("device", f"{torch.cuda.device_count()} x {torch.cuda.get_device_name(0)}")
    elif torch.backends.mps.is_available():
        yield _ok("device", "Apple GPU (mps)")
    else:
        yield _warning("device", f"no GPU; {torch.get_num_threads()} CPU threads")


def _ok(where: str, message: str) -> Finding:
    return Finding(level="ok", where=where, message=message)


def _warning(where: str, message: str) -> Finding:
    return Finding(level="warning", where=where, message=message)


def _error(where: str, message: str) -> Finding:
    return Finding(level="error", where=where, message=message)
