"""Both hosts run in this process, as their commands would: for smoke runs of many recipes."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any


def trl(recipe: Path, prepared: Path) -> None:
    """`ppx prepare`, into ``prepared``, and `ppx train` of a TRL recipe.

    A recipe without stages that change data is trained only.
    """
    from ppx_ext import pipeline
    from ppx_ext.hosts import trl as host

    pipeline.prepare(host.tokenized(recipe), prepared)
    host.train(recipe)


def axolotl(recipe: Path) -> None:
    """`axolotl preprocess` and `axolotl train` of an Axolotl recipe."""
    os.environ.setdefault("AXOLOTL_DO_NOT_TRACK", "1")
    from axolotl.cli.args import PreprocessCliArgs, TrainerCliArgs
    from axolotl.cli.config import load_cfg
    from axolotl.cli.preprocess import do_preprocess
    from axolotl.cli.train import do_train
    from axolotl.integrations.base import PluginManager

    plugins: Any = PluginManager.get_instance().plugins
    try:
        os.environ["AXOLOTL_IS_PREPROCESS"] = "1"
        plugins.clear()  # it keeps those of earlier recipes
        cfg = load_cfg(str(recipe), is_preprocess=True)
        do_preprocess(cfg, PreprocessCliArgs(download=False))
        del os.environ["AXOLOTL_IS_PREPROCESS"]
        plugins.clear()
        do_train(load_cfg(str(recipe)), TrainerCliArgs())
    finally:
        os.environ.pop("AXOLOTL_IS_PREPROCESS", None)
        plugins.clear()
