"""Scores, the base behind adapters, fingerprints and loading."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from ppx_ext.scoring import (
    SCORES,
    NotFiniteError,
    base_of,
    check_finite,
    load_causal_lm,
    model_fingerprint,
    packing,
    token_scores,
)
from tests.models import VOCAB_SIZE, tiny_model
from tests.reference.naive import naive_scores

peft = pytest.importorskip("peft")


class Table(nn.Module):
    """p(next | last token) from a table of logits: the smallest thing that scores."""

    def __init__(self, logits: list[list[float]]) -> None:
        super().__init__()
        self.table = nn.Embedding.from_pretrained(torch.tensor(logits))
        self.config = SimpleNamespace(vocab_size=len(logits), use_cache=True)

    def get_input_embeddings(self) -> nn.Module:
        return self.table

    def forward(self, input_ids: Any, **kwargs: Any) -> Any:
        return SimpleNamespace(logits=self.table(input_ids))


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


@pytest.fixture(scope="module")
def llama() -> Any:
    return tiny_model("llama")


def with_lora(model: Any, **kwargs: Any) -> Any:
    torch.manual_seed(1)
    settings = {"r": 4, "target_modules": ["q_proj", "down_proj"], "lora_dropout": 0.3, **kwargs}
    wrapped = peft.get_peft_model(model, peft.LoraConfig(init_lora_weights=False, **settings))
    return wrapped


# --- scores -----------------------------------------------------------------------------------


def test_hand_computed_vocabulary_of_three() -> None:
    # After token 0: p = 1/2, 1/4, 1/4. After token 1: p = 1/8, 1/8, 3/4. Token 2 never comes first.
    model = Table([[2.0, 1.0, 1.0], [1.0, 1.0, 6.0], [1.0, 1.0, 1.0]])
    model.table.weight.data.log_()
    ids = [np.array([0, 1, 2], np.int32)]
    (found,) = token_scores(model, ids, [np.array([False, True, True])], names=SCORES)
    ln2, ln3 = np.log(2), np.log(3)
    np.testing.assert_allclose(found["nll"], [2 * ln2, 2 * ln2 - ln3], atol=1e-6)
    entropy = [1.5 * ln2, 0.75 * ln2 + 0.75 * (2 * ln2 - ln3)]
    np.testing.assert_allclose(found["entropy"], entropy, atol=1e-6)
    np.testing.assert_array_equal(found["rank"], [1, 0])


def test_names_shapes_and_dtypes(llama: Any) -> None:
    ids, targets = rows_of([9, 1, 0, 6])
    targets[3][:] = False
    found = token_scores(llama, ids, targets)
    assert [set(row) for row in found] == [{"nll"}] * 4
    assert [row["nll"].shape for row in found] == [(t.sum(),) for t in targets]
    assert all(row["nll"].dtype == np.float32 for row in found)
    assert set(token_scores(llama, ids, targets, names=("rank",))[0]) == {"rank"}
    assert token_scores(llama, [], []) == []


def test_nll_alone_equals_nll_among_all(llama: Any) -> None:
    ids, targets = rows_of([20, 11])
    alone, among = (
        token_scores(llama, ids, targets),
        token_scores(llama, ids, targets, names=SCORES),
    )
    for one, other in zip(alone, among, strict=True):
        np.testing.assert_array_equal(one["nll"], other["nll"])


def test_very_unlikely_target_has_finite_nll() -> None:
    model = Table([[0.0, 500.0], [0.0, 0.0]])
    found = token_scores(model, [np.array([0, 0])], [np.array([False, True])], names=SCORES)[0]
    assert found["nll"][0] == pytest.approx(500.0)
    assert found["entropy"][0] == 0
    assert found["rank"][0] == 1


def test_vocabulary_entries_at_minus_infinity_leave_the_entropy_finite() -> None:
    model = Table([[0.0, 0.0, float("-inf")]] * 3)
    found = token_scores(model, [np.array([0, 1])], [np.array([False, True])], names=SCORES)[0]
    assert found["entropy"][0] == pytest.approx(np.log(2))


@pytest.mark.parametrize(
    ("ids", "targets", "message"),
    [
        ([[3, 4]], [[True, False]], "token 0"),
        ([[3, 4]], [[False]], "equally long"),
        ([[3, VOCAB_SIZE]], [[False, True]], "outside"),
        ([[3, -1]], [[False, True]], "outside"),
        ([[3, 4]], [], "rows of targets"),
    ],
)
def test_malformed_rows_are_refused(llama: Any, ids: Any, targets: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        token_scores(llama, [np.array(i) for i in ids], [np.array(t, bool) for t in targets])


def test_unknown_score_is_refused(llama: Any) -> None:
    with pytest.raises(ValueError, match="unknown scores"):
        token_scores(llama, *rows_of([4]), names=("perplexity",))


def test_nan_names_the_row_and_the_likely_cause() -> None:
    model = Table([[0.0, 0.0, 0.0], [0.0, float("nan"), 0.0], [0.0, 0.0, 0.0]])
    ids = [np.array([0, 2]), np.array([1, 2])]
    with pytest.raises(NotFiniteError, match=r"row 1.*float16.*checkpoint") as caught:
        token_scores(model, ids, [np.array([False, True])] * 2)
    assert caught.value.row == 1


def test_check_finite() -> None:
    check_finite([{"nll": np.array([1.0])}, {"nll": np.array([])}])
    with pytest.raises(ValueError, match="row 0: entropy"):
        check_finite([{"nll": np.array([1.0]), "entropy": np.array([np.inf])}])


def test_bf16_models_give_float32_scores(llama: Any) -> None:
    model = tiny_model("llama", dtype=torch.bfloat16)
    ids, targets = rows_of([30, 12])
    found = token_scores(model, ids, targets, names=SCORES)
    assert all(values.dtype == np.float32 for row in found for values in row.values())
    assert_close(
        [{"nll": row["nll"]} for row in found],
        token_scores(llama, ids, targets),
        atol=0.3,
    )
    # Far more distinct values than bfloat16 could hold between two powers of two.
    assert not np.array_equal(found[0]["nll"], torch.tensor(found[0]["nll"]).bfloat16().float())


@pytest.mark.parametrize("arch", ["llama", "gemma2"])
def test_equals_the_naive_loop(arch: str) -> None:
    model = tiny_model(arch)
    ids, targets = rows_of([24, 9, 16])
    expected = naive_scores(model, ids, targets)
    assert_close(token_scores(model, ids, targets, names=SCORES), expected)


LENGTHS = st.lists(st.integers(0, 24), min_size=1, max_size=6)


@settings(max_examples=15, deadline=None)
@given(lengths=LENGTHS, seed=st.integers(0, 99), shuffle=st.randoms(use_true_random=False))
def test_order_of_rows_does_not_matter(llama: Any, lengths: Any, seed: int, shuffle: Any) -> None:
    ids, targets = rows_of(lengths, seed=seed)
    order = list(range(len(ids)))
    shuffle.shuffle(order)
    expected = token_scores(llama, ids, targets, names=SCORES)
    moved = token_scores(llama, [ids[i] for i in order], [targets[i] for i in order], names=SCORES)
    assert_close(moved, [expected[i] for i in order], atol=1e-5)


@settings(max_examples=15, deadline=None)
@given(lengths=LENGTHS, budget=st.integers(1, 80), packed=st.booleans())
def test_budget_and_packing_do_not_matter(
    llama: Any, lengths: Any, budget: int, packed: bool
) -> None:
    ids, targets = rows_of(lengths)
    expected = token_scores(llama, ids, targets)
    routes = packing._ROUTES.setdefault(llama, {})
    before = routes.get("sdpa")
    routes["sdpa"] = packing.Route(packed=packed, held=True)
    try:
        found = token_scores(llama, ids, targets, batch_tokens=budget)
    finally:
        routes.pop("sdpa") if before is None else routes.update(sdpa=before)
    assert_close(found, expected, atol=1e-5)


@settings(max_examples=10, deadline=None)
@given(lengths=LENGTHS, copies=st.integers(2, 4))
def test_duplicates_have_equal_scores(llama: Any, lengths: Any, copies: int) -> None:
    ids, targets = rows_of(lengths)
    found = token_scores(llama, ids * copies, targets * copies, batch_tokens=30)
    for row in range(len(ids)):
        for again in range(row, len(found), len(ids)):
            np.testing.assert_array_equal(found[row]["nll"], found[again]["nll"])


def test_results_do_not_share_memory(llama: Any) -> None:
    ids, targets = rows_of([12])
    one, other = token_scores(llama, ids * 2, targets * 2)
    one["nll"][:] = -1
    assert (other["nll"] >= 0).all()


@settings(max_examples=50, deadline=None)
@given(lengths=st.lists(st.integers(1, 50)), budget=st.integers(1, 100), packed=st.booleans())
def test_plan_holds_each_row_once_within_the_budget(
    lengths: Any, budget: int, packed: bool
) -> None:
    groups = packing.plan(lengths, budget=budget, packed=packed)
    assert sorted(i for group in groups for i in group) == list(range(len(lengths)))
    for group in groups:
        sizes = [lengths[i] for i in group]
        assert sizes == sorted(sizes, reverse=True)
        cost = sum(sizes) if packed else len(sizes) * max(sizes)
        assert cost <= budget or len(group) == 1


def test_the_head_sees_targets_only_and_a_few_at_a_time(monkeypatch: Any) -> None:
    from ppx_ext.scoring import scores

    model = tiny_model("llama")
    ids, targets = rows_of([60, 50])
    expected = token_scores(model, ids, targets)
    shapes: list[Any] = []
    model.lm_head.register_forward_hook(lambda *seen: shapes.append(tuple(seen[2].shape)))
    monkeypatch.setattr(scores, "_FEWEST_ROWS", 10)
    monkeypatch.setitem(scores._CELLS, "cpu", (32 * VOCAB_SIZE, 7 * VOCAB_SIZE))
    found = token_scores(model, ids, targets)
    assert sum(shape[1] for shape in shapes) == sum(int(t.sum()) for t in targets)
    assert max(shape[1] for shape in shapes) == 32
    assert_close(found, expected, atol=1e-5)


# --- state is left as it was ------------------------------------------------------------------


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


ADAPTERS: dict[str, dict[str, Any]] = {
    "lora": {},
    "dora": {"use_dora": True},
    "modules_to_save": {"modules_to_save": ["lm_head"]},
    "embeddings": {"target_modules": ["embed_tokens", "q_proj"]},
}


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


# --- fingerprints and loading -----------------------------------------------------------------


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
