"""Never a silent plain run: what is wrong is an error that names it and says the mend."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.conftest import ROOT
from tests.hosts.axolotl.conftest import PLUGIN

pytestmark = pytest.mark.axolotl

Config = Callable[..., Path]
Prepare = Callable[[Path], SimpleNamespace]
ONLINE = {"mask": {"use": "stm", "apply": "online"}}
STM = {"mask": {"use": "stm"}}


@pytest.mark.parametrize(
    ("block", "said"),
    [
        ({"maks": {"use": "stm"}}, "ppx.maks: unknown key. Did you mean `mask`?"),
        (
            {"mask": {"use": "stm", "ppl_treshold": 3}},
            "ppx.mask.ppl_treshold: unknown key. Did you mean `ppl_threshold`?",
        ),
        (
            {"mask": {"use": "stm"}, "scoring": {"dtyp": "float32"}},
            "ppx.scoring.dtyp: unknown key. Did you mean `dtype`?",
        ),
        ({"mask": {"use": "smt"}}, "no mask is called 'smt'. Did you mean 'stm'?"),
        ({"seed": 3}, "ppx: names no stage"),
        ({}, "ppx: names no stage"),
    ],
)
def test_misspelt_keys(config: Config, prepare: Prepare, block: Any, said: str) -> None:
    with pytest.raises(ValueError, match="the ppx block has 1 problem") as caught:
        prepare(config(ppx=block))
    assert said in str(caught.value)


def test_listed_without_a_block(config: Config, prepare: Prepare) -> None:
    with pytest.raises(ValueError, match="this would be a plain run") as caught:
        prepare(config(plugins=[PLUGIN], pxx=STM))
    assert "Did you mean `ppx` where the config says `pxx`?" in str(caught.value)


@pytest.mark.parametrize(
    ("block", "changes", "said"),
    [
        (ONLINE, {"adapter": None}, "online needs an adapter"),
        (
            ONLINE,
            {"sample_packing": True, "attn_implementation": None},
            "keeps the documents of a pack apart",
        ),
        (ONLINE, {"peft_init_lora_weights": "pissa"}, "rewrites the base's own weights"),
        (STM, {"streaming": True, "max_steps": 3}, "Remove `streaming: true`"),
        (STM, {"rl": "dpo"}, "Remove the mask, or train with plain SFT"),
    ],
    ids=["full", "packed", "pissa", "streaming", "rl"],
)
def test_modes_that_cannot_be_right(
    config: Config, prepare: Prepare, block: Any, changes: dict[str, Any], said: str
) -> None:
    with pytest.raises(ValueError, match=r"ppx\.mask") as caught:
        prepare(config(ppx=block, **changes))
    assert said in str(caught.value)


def test_broken_method_of_somebody_else(
    config: Config, prepare: Prepare, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    info = tmp_path / "site" / "their_method-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: their-method\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[ppx_ext]\ntheirs = their_method\n")
    (info.parent / "their_method.py").write_text("import a_module_that_is_not_there\n")
    monkeypatch.syspath_prepend(str(info.parent))
    with pytest.raises(ValueError, match="their-method") as caught:
        prepare(config(ppx=STM))
    assert "pip uninstall their-method" in str(caught.value)
    assert not isinstance(caught.value, ImportError)


def test_missing_dependency_stops_axolotl() -> None:
    """Axolotl would swallow an ImportError, and train without us."""
    code = f"""
import sys
from axolotl.integrations.base import PluginManager

for missing in ("pluggy", "ppx_ext.plan", "ppx_ext.pipeline"):
    for name in [name for name in sys.modules if name.startswith("ppx_ext")]:
        del sys.modules[name]
    kept, sys.modules[missing] = sys.modules.get(missing), None
    try:
        PluginManager.get_instance().register({PLUGIN!r})
    except RuntimeError as error:
        print("stopped:", missing, "|", error)
    sys.modules[missing] = kept
"""
    found = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=300
    )
    stopped = [line for line in found.stdout.splitlines() if line.startswith("stopped:")]
    assert len(stopped) == 3, found.stderr
    assert all("plain run" in line and "pip install" in line for line in stopped)


def test_trainer_made_behind_our_back(config: Config) -> None:
    from axolotl.cli.config import load_cfg
    from axolotl.common.datasets import load_datasets
    from axolotl.train import setup_model_and_trainer

    cfg = load_cfg(str(config(ppx=STM)))
    with pytest.raises(RuntimeError, match="nothing is built, chosen or masked"):
        setup_model_and_trainer(cfg, load_datasets(cfg=cfg))


def test_data_changed_behind_our_back(config: Config) -> None:
    from axolotl.cli.config import load_cfg
    from axolotl.common.datasets import load_datasets
    from axolotl.integrations.base import PluginManager
    from axolotl.train import setup_model_and_trainer

    block = {"mask": {"use": "stm", "ppl_threshold": 100}}
    cfg = load_cfg(str(config(ppx=block)))
    PluginManager.get_instance().load_datasets(cfg)
    with pytest.raises(RuntimeError, match="not the 24 rows which ppx-ext prepared"):
        setup_model_and_trainer(cfg, load_datasets(cfg=cfg))


def test_plugin_of_an_earlier_config_leaves_later_ones_alone(config: Config) -> None:
    from axolotl.cli.config import load_cfg
    from axolotl.integrations.base import PluginManager

    load_cfg(str(config(ppx=STM)))
    later = load_cfg(str(config()))
    assert PluginManager.get_instance().load_datasets(later) is None
