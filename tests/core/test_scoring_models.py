"""Fingerprints of models, and loading."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
import torch

from ppx_ext.scoring import (
    base_of,
    load_causal_lm,
    model_fingerprint,
    token_scores,
)
from tests.core.scored_models import ADAPTERS, assert_close, rows_of, with_lora
from tests.models import tiny_model

peft = pytest.importorskip("peft")


@pytest.fixture(scope="module")
def llama() -> Any:
    return tiny_model("llama")


@pytest.mark.parametrize("kind", ADAPTERS)
def test_peft_model_has_the_fingerprint_of_its_base(kind: str) -> None:
    base = tiny_model("llama", dtype=torch.bfloat16)
    expected = model_fingerprint(base)
    assert len(expected) == 32
    model = with_lora(copy.deepcopy(base), **ADAPTERS[kind])
    assert model_fingerprint(model) == expected
    with base_of(model) as lent:
        assert model_fingerprint(lent) == expected


def test_module_fingerprint_sees_weights_dtype_config_and_buffers() -> None:
    prints = {
        model_fingerprint(tiny_model("llama")),
        model_fingerprint(tiny_model("llama", seed=1)),
        model_fingerprint(tiny_model("llama", dtype=torch.bfloat16)),
        model_fingerprint(tiny_model("llama", rms_norm_eps=1e-3)),
        model_fingerprint(tiny_model("olmo2")),
    }
    assert len(prints) == 5
    model = tiny_model("llama")
    assert model_fingerprint(model) in prints
    model.register_buffer("scale", torch.tensor(2.0))
    assert model_fingerprint(model) not in prints


def test_module_fingerprint_ignores_what_trainers_change(llama: Any) -> None:
    before = model_fingerprint(llama)
    model = copy.deepcopy(llama).train()
    model.config.use_cache = False
    model.config.pad_token_id = 1
    token_scores(model, *rows_of([8]))
    assert model_fingerprint(model) == before


def test_quantised_weights_have_a_fingerprint() -> None:
    bnb = pytest.importorskip("bitsandbytes")
    prints = []
    for scale in (1.0, 1.0, 3.0):
        torch.manual_seed(0)
        weight = torch.randn(64, 64) * scale
        layer = bnb.nn.Linear4bit(64, 64, bias=False, quant_type="nf4")
        layer.weight = bnb.nn.Params4bit(weight, requires_grad=False, quant_type="nf4").to("cpu")
        assert layer.weight.quant_state is not None
        prints.append(model_fingerprint(layer))
    # The codes of the scaled weight are the same: only the scales tell the two apart.
    assert prints[0] == prints[1] != prints[2]


def test_path_fingerprint_follows_content(tmp_path: Path, llama: Any) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    llama.save_pretrained(one)
    llama.save_pretrained(other)
    assert model_fingerprint(one) == model_fingerprint(str(other))
    config = json.loads((one / "config.json").read_text())
    (one / "config.json").write_text(json.dumps({**config, "rope_theta": 7.0}))
    assert model_fingerprint(one) != model_fingerprint(other)
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="safetensors"):
        model_fingerprint(tmp_path / "empty")


def test_loading_round_trip_with_an_adapter(tmp_path: Path) -> None:
    model = with_lora(tiny_model("llama"))
    ids, targets = rows_of([14])
    adapted = token_scores(model, ids, targets)
    model.save_pretrained(tmp_path / "adapter")
    plain = tiny_model("llama")
    plain.save_pretrained(tmp_path / "base")
    loaded = load_causal_lm(tmp_path / "base", device="cpu")
    assert not loaded.training
    assert_close(token_scores(loaded, ids, targets), token_scores(plain, ids, targets), atol=0)
    both = load_causal_lm(tmp_path / "base", adapter=tmp_path / "adapter", device="cpu")
    assert_close(token_scores(both, ids, targets), adapted, atol=1e-5)
    half = load_causal_lm(tmp_path / "base", dtype="bfloat16", device="cpu")
    assert half.dtype == torch.bfloat16


def test_soft_capped_models_load_with_attention_that_caps(tmp_path: Path) -> None:
    model = tiny_model("gemma2")
    model.save_pretrained(tmp_path)
    loaded = load_causal_lm(tmp_path, device="cpu")
    ids, targets = rows_of([20])
    assert_close(token_scores(loaded, ids, targets), token_scores(model, ids, targets), atol=1e-6)


def test_missing_models_are_told_plainly(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    missing = str(tmp_path / "no" / "model")
    with pytest.raises(ValueError, match="neither a folder"):
        load_causal_lm(missing)
    with pytest.raises(ValueError, match="neither a folder"):
        model_fingerprint(missing)
    tiny_model("llama").save_pretrained(tmp_path / "base")
    with pytest.raises(ValueError, match="adapter"):
        load_causal_lm(tmp_path / "base", adapter=tmp_path / "nothing", device="cpu")
