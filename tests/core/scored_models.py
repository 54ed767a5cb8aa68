"""What the tests of scoring share: random rows, comparison, adapters."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from tests.models import VOCAB_SIZE

ADAPTERS: dict[str, dict[str, Any]] = {
    "lora": {},
    "dora": {"use_dora": True},
    "modules_to_save": {"modules_to_save": ["lm_head"]},
    "embeddings": {"target_modules": ["embed_tokens", "q_proj"]},
}


def rows_of(lengths: list[int], *, seed: int = 0) -> tuple[list[Any], list[Any]]:
    rng = np.random.default_rng(seed)
    ids = [rng.integers(3, VOCAB_SIZE, length).astype(np.int32) for length in lengths]
    targets = [rng.random(length) < 0.6 for length in lengths]
    for target_T in targets:
        target_T[:1] = False
    return ids, targets


def assert_close(found: Any, expected: Any, *, atol: float = 1e-4) -> None:
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        for name in one:
            np.testing.assert_allclose(one[name], other[name], atol=atol, rtol=0)


def with_lora(model: Any, **kwargs: Any) -> Any:
    torch.manual_seed(1)
    import peft

    settings = {"r": 4, "target_modules": ["q_proj", "down_proj"], "lora_dropout": 0.3, **kwargs}
    wrapped = peft.get_peft_model(model, peft.LoraConfig(init_lora_weights=False, **settings))
    return wrapped
