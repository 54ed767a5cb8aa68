"""The base behind adapters; and models are left as they were."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from ppx_ext.scoring import (
    SCORES,
    NotFiniteError,
    base_of,
    token_scores,
)
from tests.core.scored_models import ADAPTERS, assert_close, rows_of, with_lora
from tests.models import tiny_model

peft = pytest.importorskip("peft")


@pytest.fixture(scope="module")
def llama() -> Any:
    return tiny_model("llama")


def state_of(model: Any) -> Any:
    return (
        {name: module.training for name, module in model.named_modules()},
        {name: parameter.requires_grad for name, parameter in model.named_parameters()},
        {
            n: m._disable_adapters
            for n, m in model.named_modules()
            if hasattr(m, "_disable_adapters")
        },
        model.config.use_cache,
        model.config._attn_implementation,
        [name for name, module in model.named_modules() if "forward" in module.__dict__],
    )


def test_scoring_leaves_model_as_it_was_even_after_an_error() -> None:
    model = tiny_model("llama", attention_dropout=0.5).train()
    model.model.layers[0].eval()
    before = state_of(model)
    ids, targets = rows_of([9, 7])
    one, other = (token_scores(model, ids, targets) for _ in range(2))
    assert_close(one, other, atol=0)  # dropout was off
    assert state_of(model) == before
    model.model.norm.weight.data.fill_(float("nan"))
    with pytest.raises(NotFiniteError):
        token_scores(model, ids, targets)
    assert state_of(model) == before


@pytest.mark.parametrize("kind", ADAPTERS)
def test_base_of_is_the_untouched_base(kind: str) -> None:
    base = tiny_model("qwen2")
    ids, targets = rows_of([20, 9])
    expected = token_scores(base, ids, targets, names=SCORES)
    model = with_lora(copy.deepcopy(base), **ADAPTERS[kind]).train()
    model.gradient_checkpointing_enable()
    if kind == "modules_to_save":
        model.base_model.model.lm_head.modules_to_save["default"].weight.data.add_(1.0)
    adapted = token_scores(model, ids, targets)
    before = state_of(model)
    with base_of(model) as lent:
        assert not torch.is_grad_enabled()
        assert not lent.training
        assert lent.config.use_cache is False
        found = token_scores(lent, ids, targets, names=SCORES)
    assert_close(found, expected, atol=1e-6)
    assert not np.allclose(adapted[0]["nll"], expected[0]["nll"], atol=1e-3)
    assert state_of(model) == before
    assert_close(token_scores(model, ids, targets), adapted, atol=0)


def test_base_of_keeps_adapters_off_that_were_off() -> None:
    model = with_lora(tiny_model("llama"))
    model.base_model.disable_adapter_layers()
    before = state_of(model)
    with base_of(model):
        pass
    assert state_of(model) == before


def test_base_of_restores_after_an_error_and_training_goes_on() -> None:
    model = with_lora(tiny_model("llama")).train()
    before = state_of(model)
    with pytest.raises(RuntimeError, match="stop"), base_of(model):
        raise RuntimeError("stop")
    assert state_of(model) == before
    row = torch.arange(3, 12)[None]
    model(input_ids=row, labels=row).loss.backward()
    grads = {n for n, p in model.named_parameters() if p.grad is not None}
    assert grads
    assert all("lora_" in name for name in grads)


def test_base_of_reaches_through_a_wrapper_such_as_ddp() -> None:
    class Wrapper(nn.Module):
        def __init__(self, module: Any) -> None:
            super().__init__()
            self.module = module

        def forward(self, **inputs: Any) -> Any:
            return self.module(**inputs)

    plain = tiny_model("llama")
    ids, targets = rows_of([12])
    expected = token_scores(plain, ids, targets)
    wrapper = Wrapper(with_lora(copy.deepcopy(plain))).train()
    before = state_of(wrapper.module)
    row = torch.from_numpy(ids[0].astype(np.int64))[None]
    with base_of(wrapper) as lent:
        assert_close(token_scores(lent, ids, targets), expected, atol=1e-6)
        assert torch.allclose(wrapper(input_ids=row).logits, plain(row).logits, atol=1e-5)
    assert state_of(wrapper.module) == before
    assert wrapper.training
    with pytest.raises(ValueError, match="biases"), base_of(Wrapper(with_lora(plain, bias="all"))):
        pass


def test_base_of_a_plain_model_is_that_model(llama: Any) -> None:
    with base_of(llama) as lent:
        assert lent is llama


def test_adapters_that_cannot_be_switched_off_are_refused() -> None:
    prompt = peft.get_peft_model(
        tiny_model("llama"),
        peft.PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=4),
    )
    with pytest.raises(ValueError, match="learns prompts"), base_of(prompt):
        pass
    with pytest.raises(ValueError, match="learns prompts"):
        token_scores(prompt, *rows_of([4]))
    biased = with_lora(tiny_model("qwen2"), bias="all")
    with pytest.raises(ValueError, match="biases"), base_of(biased):
        pass
    merged = with_lora(tiny_model("llama"))
    merged.merge_adapter()
    with pytest.raises(ValueError, match="merged"), base_of(merged):
        pass
