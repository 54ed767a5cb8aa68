"""Packed and padded scores equal the naive loop, whatever the architecture makes of attention."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from ppx_ext.scoring import SCORES, packing, scores, token_scores
from ppx_ext.scoring.packing import Route
from tests.models import ARCHITECTURES, WINDOW, tiny_model
from tests.reference.naive import naive_scores

VOCABULARY = 200
LENGTHS = (40, 25, 25, 3 * WINDOW, 7, 2, 33)
ROUTES = (
    Route(True, True, True),
    Route(True, True),
    Route(False, True),
    Route(False, False),
)


def rows() -> tuple[list[Any], list[Any]]:
    rng = np.random.default_rng(0)
    ids = [rng.integers(3, VOCABULARY, length).astype(np.int32) for length in LENGTHS]
    targets = [rng.random(length) < 0.5 for length in LENGTHS]
    for target_T in targets:
        target_T[0] = False
    return ids, targets


def worst(found: Any, expected: Any) -> float:
    return max(
        float(np.abs(one[name] - other[name]).max(initial=0.0))
        for one, other in zip(found, expected, strict=True)
        for name in SCORES
    )


CASES = [(arch, impl) for arch in ARCHITECTURES for impl in ("eager", "sdpa")]
CASES.remove(("gemma2", "sdpa"))  # refused by newer transformers, uncapped on older ones


@pytest.mark.parametrize(("arch", "attention"), CASES)
def test_every_route_equals_the_naive_loop(arch: str, attention: str) -> None:
    model = tiny_model(arch, vocab_size=VOCABULARY, attn_implementation=attention)
    ids, targets = rows()
    expected = naive_scores(model, ids, targets)
    assert packing.route_of(model) == ROUTES[0], "this architecture is known to pack"
    for route in ROUTES:
        packing._ROUTES[model][attention] = route
        for budget in (None, 70):
            found = token_scores(model, ids, targets, names=SCORES, batch_tokens=budget)
            assert worst(found, expected) < 1e-4, (route, budget)
        assert model.config._attn_implementation == attention


@pytest.mark.parametrize(
    ("arch", "changed"),
    [
        ("mistral", {"sliding_window": None}),
        ("gemma2", {"attn_logit_softcapping": None}),
        ("gemma2", {"final_logit_softcapping": None}),
        ("gemma2", {"sliding_window": 64}),
    ],
)
def test_windows_and_caps_matter_in_these_models(arch: str, changed: dict[str, Any]) -> None:
    """Guards the tests above: leaving out what they protect would change the scores a lot."""
    ids, targets = rows()
    with_it = token_scores(tiny_model(arch, vocab_size=VOCABULARY), ids, targets, names=SCORES)
    without = tiny_model(arch, vocab_size=VOCABULARY, **changed)
    assert worst(token_scores(without, ids, targets, names=SCORES), with_it) > 0.05


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_half_precision_is_near_float32(arch: str) -> None:
    ids, targets = rows()
    exact = token_scores(tiny_model(arch, vocab_size=VOCABULARY), ids, targets)
    half = tiny_model(arch, vocab_size=VOCABULARY, dtype=torch.bfloat16)
    assert packing.route_of(half).packed
    found = token_scores(half, ids, targets)
    errors = np.concatenate(
        [abs(one["nll"] - other["nll"]) for one, other in zip(found, exact, strict=True)]
    )
    assert errors.mean() < 0.05


def build(config: Any) -> Any:
    from transformers import AutoModelForCausalLM

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return AutoModelForCausalLM.from_config(config).eval()


SMALL: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "initializer_range": 0.2,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
OTHERS: dict[str, tuple[str, dict[str, Any], Route]] = {
    "logit scaling": ("GraniteConfig", {**SMALL, "logits_scaling": 8.0}, ROUTES[0]),
    "experts": (
        "Qwen3MoeConfig",
        {**SMALL, "head_dim": 8, "num_experts": 4, "num_experts_per_tok": 2},
        ROUTES[0],
    ),
    "sinks": (
        "GptOssConfig",
        {**SMALL, "head_dim": 8, "num_local_experts": 4, "sliding_window": WINDOW},
        ROUTES[0],
    ),
    "state space": (
        "MambaConfig",
        {"vocab_size": VOCABULARY, "hidden_size": 32, "num_hidden_layers": 2, "state_size": 8},
        ROUTES[2],
    ),
    "attention of its own": (
        "BloomConfig",
        {"vocab_size": VOCABULARY, "hidden_size": 32, "n_layer": 2, "n_head": 4},
        ROUTES[2],
    ),
    "positions not passed on": (
        "OPTConfig",
        {
            "vocab_size": VOCABULARY,
            "hidden_size": 32,
            "word_embed_proj_dim": 32,
            "ffn_dim": 64,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
        },
        ROUTES[0],
    ),
}


@pytest.mark.parametrize("kind", OTHERS)
def test_other_families_take_a_route_that_is_right(kind: str) -> None:
    import transformers

    name, settings, route = OTHERS[kind]
    model = build(getattr(transformers, name)(**settings))
    ids, targets = rows()
    found = token_scores(model, ids, targets, names=SCORES, batch_tokens=90)
    assert worst(found, naive_scores(model, ids, targets)) < 1e-4
    assert packing.route_of(model) == route


def test_a_leak_between_documents_is_found_and_padding_taken(monkeypatch: Any) -> None:
    from ppx_ext.scoring import varlen

    def leaky(module: Any, query: Any, key: Any, value: Any, mask: Any, **kwargs: Any) -> Any:
        attend = varlen._original("sdpa", module)
        return attend(module, query, key, value, None, **kwargs)

    monkeypatch.setattr(varlen, "_attend", leaky)
    model = tiny_model("llama", vocab_size=VOCABULARY)
    ids, targets = rows()
    found = token_scores(model, ids, targets, names=SCORES)
    assert packing.route_of(model) == ROUTES[2]
    assert worst(found, naive_scores(model, ids, targets)) < 1e-4


def test_flash_attention_is_told_the_documents_bounds() -> None:
    model = tiny_model("llama", vocab_size=VOCABULARY)
    model.config._attn_implementation_internal = "flash_attention_2"
    batch = packing.make_batch(model, [np.arange(4), np.arange(3)], Route(True, True))
    assert batch.inputs["cu_seq_lens_q"].tolist() == [0, 4, 7]
    assert batch.inputs["max_length_k"] == 4
    assert batch.inputs["position_ids"].tolist() == [[0, 1, 2, 3, 0, 1, 2]]
    assert [batch.places(document)[0] for document in (0, 1)] == [0, 4]


def test_on_a_gpu_the_default_budget_is_larger() -> None:
    assert scores._BUDGET == {"cpu": 2048}
    assert scores._GPU_BUDGET == 16384
