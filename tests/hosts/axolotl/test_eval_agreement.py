"""`ppx eval` on an adapter that Axolotl saved gives, item by item, what the run measured itself."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from ppx_ext.hosts.axolotl_base import loading
from tests.hosts import measured
from tests.hosts.agreement import agree

pytestmark = pytest.mark.axolotl


QLORA = {"adapter": "qlora", "load_in_4bit": True}


@pytest.mark.parametrize("more", [{}, QLORA], ids=["as configured", "QLoRA"])
def test_item_by_item(
    more: dict[str, Any],
    config: Callable[..., Path],
    train: Callable[[Path], SimpleNamespace],
    tmp_path: Path,
) -> None:
    stage = measured.block(tmp_path / "tasks", harness=False, every=2, gate={"max_drop": 100})
    changes = {
        "max_steps": 4,
        "save_strategy": "steps",
        "save_steps": 2,
        "learning_rate": 0.02,
        **more,
    }
    recipe = config(ppx={"eval": stage}, num_epochs=2, **changes)
    run = train(recipe)
    assert measured.times(run.out) == [("before", 0), ("during", 2), ("after", 4)]
    found = agree(run.out, [run.out / "checkpoint-2", run.out], recipe, tmp_path / "again")
    assert [one["step"] for one in found["models"]] == [2, 4]


def test_weights_are_read_in_the_dtype_of_the_host() -> None:
    from axolotl.utils.config import resolve_dtype
    from axolotl.utils.dict import DictDefault

    keys = ("bf16", "fp16", "bfloat16", "float16", "load_in_8bit")
    for values in itertools.product([None, False, True], repeat=len(keys)):
        settings = {k: v for k, v in zip(keys, values, strict=True) if v is not None}
        cfg = DictDefault(dict(settings))
        resolve_dtype(cfg)
        assert f"torch.{loading(settings)['dtype']}" == str(cfg.torch_dtype), settings
