"""Scores of tokens: by hand, by the naive loop, and their properties."""

from __future__ import annotations

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
    check_finite,
    packing,
    token_scores,
)
from tests.core.scored_models import assert_close, rows_of
from tests.models import VOCAB_SIZE, tiny_model
from tests.reference.naive import naive_scores


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


@pytest.fixture(scope="module")
def llama() -> Any:
    return tiny_model("llama")


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
ROUTES = st.builds(packing.Route, packed=st.booleans(), held=st.just(True))


@settings(max_examples=15, deadline=None)
@given(lengths=LENGTHS, seed=st.integers(0, 99), shuffle=st.randoms(use_true_random=False))
def test_order_of_rows_does_not_matter(llama: Any, lengths: Any, seed: int, shuffle: Any) -> None:
    ids, targets = rows_of(lengths, seed=seed)
    order = list(range(len(ids)))
    shuffle.shuffle(order)
    names = ("nll", "entropy")  # ranks of near ties may differ
    expected = token_scores(llama, ids, targets, names=names)
    moved = token_scores(llama, [ids[i] for i in order], [targets[i] for i in order], names=names)
    assert_close(moved, [expected[i] for i in order], atol=1e-5)


@settings(max_examples=15, deadline=None)
@given(lengths=LENGTHS, budget=st.integers(1, 80), route=ROUTES)
def test_budget_and_packing_do_not_matter(
    llama: Any, lengths: Any, budget: int, route: Any
) -> None:
    ids, targets = rows_of(lengths)
    expected = token_scores(llama, ids, targets)
    routes = packing._ROUTES.setdefault(llama, {})
    before = routes.get("sdpa")
    routes["sdpa"] = route
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
@given(lengths=st.lists(st.integers(1, 50)), budget=st.integers(1, 100), route=ROUTES)
def test_plan_holds_each_row_once_within_the_budget(lengths: Any, budget: int, route: Any) -> None:
    rng = np.random.default_rng(0)
    documents = [rng.integers(0, 99, length) for length in lengths]
    groups = packing.plan(documents, budget=budget, route=route)
    assert sorted(i for group in groups for i in group) == list(range(len(lengths)))
    for group in groups:
        sizes = [lengths[i] for i in group]
        assert max(sizes) == sizes[0]
        cost = sum(sizes) if route.packed else len(sizes) * max(sizes)
        assert cost <= budget or len(group) == 1


def test_the_head_sees_targets_only_and_a_few_at_a_time(monkeypatch: Any) -> None:
    from ppx_ext.scoring import scores

    model = tiny_model("llama")
    ids, targets = rows_of([60, 50])
    expected = token_scores(model, ids, targets)
    shapes: list[Any] = []
    model.lm_head.register_forward_hook(lambda *seen: shapes.append(tuple(seen[2].shape)))
    monkeypatch.setattr(scores, "_FEWEST_ROWS", 10)
    monkeypatch.setitem(scores._CELLS, "cpu", (16 * VOCAB_SIZE, 7 * VOCAB_SIZE))
    found = token_scores(model, ids, targets)
    assert sum(shape[1] for shape in shapes) == sum(int(t.sum()) for t in targets)
    assert max(shape[1] for shape in shapes) == 32
    assert_close(found, expected, atol=1e-5)
