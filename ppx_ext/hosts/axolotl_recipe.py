"""An Axolotl recipe outside `axolotl train`: its tokens for `ppx prepare`, and its training."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ppx_ext import catalog as catalogs
from ppx_ext import plan as plans
from ppx_ext import recipes
from ppx_ext.hosts import axolotl_config, axolotl_data
from ppx_ext.hosts.axolotl_base import base_of
from ppx_ext.pipeline import Tokenized
from ppx_ext.records import write_text

if TYPE_CHECKING:
    from axolotl.utils.dict import DictDefault

    from ppx_ext.building import BuiltRows
    from ppx_ext.catalog import Catalog
    from ppx_ext.plan import Plan

_ADDED = {"attention_mask", "position_ids", "length", "token_type_ids"}
_PLACE = ("path", "data_files", "name", "split", "revision", "shards", "shards_idx", "ds_type")


def tokenized(recipe: str | Path, data: str | None = None, model: str | None = None) -> Tokenized:
    """Tokenise a recipe's rows as `axolotl train` would; no model is loaded, but by a builder.

    Args:
        recipe: path or name of a recipe.
        data: train on this instead, in the format of the recipe's first data set.
        model: start from this base instead.

    Raises:
        ValueError: the recipe is wrong, or does not list the plugin.
    """
    cfg, plan, catalog = _loaded(recipe, data, model)
    base = base_of(cfg, plan)
    found = axolotl_data.tokenize(cfg, plan, catalog, base)
    # What Axolotl adds for its own collators (masks, positions, lengths), it adds again.
    added = set(found.train.column_names) & _ADDED
    return Tokenized(
        dataset=found.train.remove_columns(sorted(added)),
        tokenizer=found.tokenizer,
        base=base,
        plan=plan,
        catalog=catalog,
        records=found.records,
    )


def built(
    recipe: str | Path,
    *,
    data: str | None = None,
    model: str | None = None,
    out: Path | None = None,
    rows: int | None = None,
    command: str = "",
) -> BuiltRows:
    """Build a recipe's rows, as `axolotl train` and `axolotl preprocess` do before they read them.

    Args:
        recipe: path or name of a recipe with a `build:` stage.
        data: build from this instead, in the format of the recipe's first data set.
        model: let this base answer instead.
        out: build here, and not where `axolotl train` looks for built rows.
        rows: build only so many, from the first on.
        command: for the card: what a reader can run to have the same.

    Raises:
        ValueError: the recipe is wrong, or names several data sets.
    """
    cfg, plan, catalog = _loaded(recipe, data, model)
    if plan.build is None:
        raise plans.PlanError(["ppx.build: is not there; for instance `build: {use: s3ft}`"])
    base = base_of(cfg, plan)
    return axolotl_data.build_only(cfg, plan, catalog, base, out, max_rows=rows, command=command)


def _loaded(
    recipe: str | Path, data: str | None, model: str | None
) -> tuple[DictDefault, Plan, Catalog]:
    from axolotl.cli.config import load_cfg
    from axolotl.utils.dict import DictDefault

    settings = changed(recipes.load(recipe).settings, data=data, model=model)
    require_plugin(settings)
    catalog = catalogs.load()
    cfg = load_cfg(DictDefault(settings))
    return cfg, axolotl_config.parse(cfg, catalog), catalog


def train(
    recipe: str | Path,
    *,
    data: str | None = None,
    model: str | None = None,
    out: Path | None = None,
) -> None:
    """Run `axolotl train` on a recipe, and on nothing but it.

    A changed recipe is written to the output folder first, so that it can be run again.

    Raises:
        ValueError: the recipe does not list the plugin.
        OSError: the training failed; it has said why.
    """
    loaded = recipes.load(recipe)
    settings = changed(loaded.settings, data=data, model=model, out=out)
    require_plugin(settings)
    path = loaded.path
    if settings != dict(loaded.settings):
        path = Path(settings.get("output_dir") or "model-out") / "recipe.axolotl.yaml"
        write_text(path, _yaml(settings))
    command = [sys.executable, "-m", "axolotl.cli.main", "train", str(path)]
    # Axolotl starts `accelerate` by name; an environment that is not activated is not on the path.
    search = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
    code = subprocess.run(command, check=False, env={**os.environ, "PATH": search}).returncode
    if code:
        raise OSError(f"`axolotl train {path}` failed (exit code {code}); see its messages above")


def changed(
    settings: Mapping[str, Any],
    *,
    data: str | None = None,
    model: str | None = None,
    out: Path | None = None,
) -> dict[str, Any]:
    """A recipe's settings with other data, another base or another output folder."""
    found = dict(settings)
    if model is not None:
        found["base_model"] = model
    if out is not None:
        found["output_dir"] = str(out)
    if data is not None:
        first = (found.get("datasets") or [{"type": "chat_template"}])[0]
        kept = {key: value for key, value in first.items() if key not in _PLACE}
        found["datasets"] = [{"path": data, **kept}]
    return found


def require_plugin(settings: Mapping[str, Any]) -> None:
    """Raise `ValueError` where Axolotl would never load the plugin, and so drop the block."""
    if axolotl_config.PLUGIN not in (settings.get("plugins") or ()):
        raise ValueError(
            f"the recipe does not list the plugin, so that Axolotl would drop the "
            f"`{axolotl_config.BLOCK}:` block without a word. Add:\n"
            f"plugins:\n  - {axolotl_config.PLUGIN}"
        )


def _yaml(settings: Mapping[str, Any]) -> str:
    import yaml

    return str(yaml.safe_dump(dict(settings), sort_keys=False))
