"""Choosing by scores, against naive numpy: the same rows, whatever the chunks and the sample."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from ppx_ext.selecting import budget, choose, draw, in_window, shares, strata
from ppx_ext.selecting.order import hashes

FEW = st.integers(0, 5)
TYPES = st.sampled_from([np.float32, np.float64, np.float16, np.int8, np.int64, np.uint8, np.bool_])


@pytest.fixture(autouse=True, params=["whole", "sampled in small chunks"])
def small(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """The sampled path and many chunks, with data of a size that can be checked."""
    if request.param != "whole":
        for module in (budget, strata):
            monkeypatch.setattr(module, "CHUNK", 7)
            monkeypatch.setattr(module, "SAMPLE", 11)
        kept = budget._Kept
        monkeypatch.setattr(budget, "_Kept", lambda **values: kept(capacity=9, **values))


@st.composite
def scored(draw_: Any) -> np.ndarray:
    kind = draw_(TYPES)
    size = draw_(st.integers(0, 90))
    values = st.integers(0, 1) if kind == np.bool_ else st.integers(0, draw_(st.integers(0, 100)))
    found: np.ndarray = draw_(arrays.arrays(np.int64, size, elements=values)).astype(kind)
    return found


def in_order(scores: np.ndarray, *, hardest: bool = False, seed: int = 0) -> np.ndarray:
    """All positions, by score and hash."""
    found: np.ndarray = np.lexsort((hashes(np.arange(len(scores)), seed), scores))
    return found[::-1] if hardest else found


@given(scored(), st.integers(0, 100), st.booleans(), FEW)
@settings(max_examples=200)
def test_a_count_is_what_a_sort_would_give(
    scores: np.ndarray, count: int, hardest: bool, seed: int
) -> None:
    chosen = choose(scores, count=count, hardest=hardest, seed=seed)
    wanted = np.sort(in_order(scores, hardest=hardest, seed=seed)[:count])
    assert chosen.rows.tolist() == wanted.tolist()
    assert chosen.short == max(count - len(scores), 0)
    assert chosen.rows.dtype == np.int64


@given(scored(), st.data(), st.booleans(), FEW)
@settings(max_examples=200)
def test_a_token_budget_is_what_sort_and_running_sum_give(
    scores: np.ndarray, data: Any, hardest: bool, seed: int
) -> None:
    few = data.draw(st.integers(0, 20))
    lengths = data.draw(arrays.arrays(np.int32, len(scores), elements=st.integers(0, few)))
    tokens = data.draw(st.integers(0, 900))
    chosen = choose(scores, tokens=tokens, lengths=lengths, hardest=hardest, seed=seed)
    order = in_order(scores, hardest=hardest, seed=seed)
    wanted = order[np.cumsum(lengths[order]) <= tokens]
    assert chosen.rows.tolist() == np.sort(wanted).tolist()
    assert chosen.tokens == int(lengths[wanted].sum())
    assert chosen.short == tokens - chosen.tokens


@given(scored(), st.lists(st.floats(0, 1), min_size=1, max_size=4), FEW)
def test_windows_that_touch_part_the_rows(
    scores: np.ndarray, edges: list[float], seed: int
) -> None:
    cuts = sorted({0.0, 1.0, *edges})
    parts = [in_window(scores, low, high, seed=seed) for low, high in itertools.pairwise(cuts)]
    order = in_order(scores, seed=seed)
    for part, low, high in zip(parts, cuts[:-1], cuts[1:], strict=True):
        there = order[round(low * len(scores)) : round(high * len(scores))]
        assert part.tolist() == np.sort(there).tolist()
    assert np.sort(np.concatenate(parts)).tolist() == list(range(len(scores)))


@given(st.integers(1, 300), st.integers(1, 5), st.data(), FEW)
@settings(max_examples=200)
def test_strata_give_the_rows_of_the_lowest_hashes(
    rows: int, names: int, data: Any, seed: int
) -> None:
    labels = data.draw(arrays.arrays(np.int8, rows, elements=st.integers(0, names - 1)))
    wanted = data.draw(st.lists(st.integers(0, 40), min_size=names, max_size=names))
    drawn = draw(rows, lambda at: labels[at], wanted, seed=seed)
    order = hashes(np.arange(rows), seed)
    naive = []
    for name, count in enumerate(wanted):
        there = np.flatnonzero(labels == name)
        naive += there[np.argsort(order[there])][:count].tolist()
        assert drawn.counts[name] == min(count, len(there))
        assert drawn.short[name] == count - drawn.counts[name]
    assert drawn.rows.tolist() == sorted(naive)


@given(st.integers(0, 1000), st.lists(st.integers(0, 50), min_size=1), st.booleans())
def test_shares_add_up_and_are_within_one_of_their_part(
    count: int, sizes: list[int], proportional: bool
) -> None:
    if proportional and not sum(sizes):
        with pytest.raises(ValueError, match="cannot be parted"):
            shares(count, sizes, proportional=True)
        return
    found = shares(count, sizes, proportional=proportional)
    weights = sizes if proportional else [1] * len(sizes)
    assert sum(found) == count
    for share, weight in zip(found, weights, strict=True):
        assert abs(share - count * weight / sum(weights)) < 1


def test_shares_by_hand() -> None:
    assert shares(10, [5, 3, 1], proportional=False) == (4, 3, 3)
    # 10 * (5, 3, 1) / 9 = 5 5/9, 3 3/9, 1 1/9: the one left goes to the first.
    assert shares(10, [5, 3, 1], proportional=True) == (6, 3, 1)


def test_a_count_by_hand() -> None:
    scores = np.array([0.5, -np.inf, 2.0, np.inf, 0.0, 1.0])
    assert choose(scores, count=3).rows.tolist() == [0, 1, 4]
    assert choose(scores, count=2, hardest=True).rows.tolist() == [2, 3]
    smallest = np.array([3, -128, 127, -127], dtype=np.int8)
    assert choose(smallest, count=1, hardest=True).rows.tolist() == [2]
    assert choose(smallest, count=2).rows.tolist() == [1, 3]


def test_a_token_budget_stops_at_the_first_row_that_does_not_fit() -> None:
    scores, lengths = np.array([3.0, 1.0, 2.0]), np.array([1, 4, 9])
    chosen = choose(scores, tokens=10, lengths=lengths)
    assert (chosen.rows.tolist(), chosen.tokens, chosen.short) == ([1], 4, 6)
    every = choose(scores, tokens=20, lengths=lengths)
    assert (every.rows.tolist(), every.tokens, every.short) == ([0, 1, 2], 14, 6)


@pytest.mark.parametrize("kind", ["sorted", "reversed", "constant", "hidden"])
@pytest.mark.parametrize("hardest", [False, True])
def test_data_that_misleads_is_chosen_exactly(kind: str, hardest: bool) -> None:
    rows, count = 3000, 100
    scores = np.arange(rows, dtype=np.float32)
    if kind == "reversed":
        scores = scores[::-1].copy()
    elif kind == "constant":
        scores[:] = 1.0
    elif kind == "hidden":
        scores[:], scores[-3:] = 5.0, -1.0
    chosen = choose(scores, count=count, hardest=hardest, seed=3)
    wanted = in_order(scores, hardest=hardest, seed=3)[:count]
    assert chosen.rows.tolist() == np.sort(wanted).tolist()


def test_a_bound_that_misled_is_widened(monkeypatch: pytest.MonkeyPatch) -> None:
    scores = np.random.default_rng(0).normal(size=5000)
    asked: list[float | None] = []

    def misled(scores: Any, lengths: Any, limit: int, margin: float | None, **_: Any) -> Any:
        asked.append(margin)
        return None if margin is None else np.partition(scores, 3)[3]

    monkeypatch.setattr(budget, "_bound", misled)
    assert choose(scores, count=50).rows.tolist() == np.sort(np.argsort(scores)[:50]).tolist()
    lengths = np.full(5000, 3)
    assert len(choose(scores, tokens=150, lengths=lengths).rows) == 50
    assert asked == [6.0, 60.0, None] * 2


def test_equal_scores_hang_on_the_seed_alone() -> None:
    scores = np.zeros(1000)
    one, other = (choose(scores, count=100, seed=seed).rows.tolist() for seed in (1, 2))
    assert one == choose(scores, count=100, seed=1).rows.tolist()
    assert one != other
    assert 5 < len(set(one) & set(other)) < 25  # 10 expected of two independent tenths


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"count": 1, "tokens": 1}, "one of the two"),
        ({}, "one of the two"),
        ({"tokens": 1}, "needs the lengths"),
        ({"count": -1}, "0 or more, not -1"),
        ({"tokens": 1, "lengths": np.ones(2, dtype=int)}, "one whole number for each of 3"),
        ({"tokens": 9, "lengths": np.array([1, 1, -1])}, "length of row 2 .* is below 0"),
    ],
)
def test_what_does_not_fit_together_is_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        choose(np.arange(3.0), **arguments)


def test_a_score_that_is_no_number_is_named() -> None:
    scores = np.zeros(50, dtype=np.float32)
    scores[[33, 40]] = np.nan
    for work in (lambda: choose(scores, count=1), lambda: in_window(scores, 0, 0.1)):
        with pytest.raises(ValueError, match=r"row 33 .* not a number"):
            work()
    with pytest.raises(ValueError, match="not <U1"):
        choose(np.array(["a"]), count=1)
    with pytest.raises(ValueError, match="0 <= low < high <= 1"):
        in_window(np.zeros(3), 0.5, 0.5)


def test_quantile_bins(monkeypatch: pytest.MonkeyPatch) -> None:
    label = strata.quantile_bins(np.array([5.0, 1.0, 3.0, 7.0, 2.0, 6.0, 4.0, 0.0]), 4)
    assert label(np.arange(8)).tolist() == [2, 0, 1, 3, 1, 3, 2, 0]
    scores = np.random.default_rng(0).normal(size=50_000)
    monkeypatch.setattr(strata, "EDGES", 20_000)
    sizes = np.bincount(strata.quantile_bins(scores, 5)(np.arange(50_000)), minlength=5)
    assert abs(sizes - 10_000).max() < 700  # 4 standard deviations are 0.4 * 4 / sqrt(2e4) = 1.1 %
    with pytest.raises(ValueError, match=r"row 1 .* not a number"):
        strata.quantile_bins(np.array([1.0, np.nan]), 1)(np.arange(2))
    with pytest.raises(ValueError, match="0 scores cannot"):
        strata.quantile_bins(np.array([]), 2)


def test_a_label_without_a_stratum_is_named() -> None:
    labels = np.array([0, 1, 2])
    with pytest.raises(ValueError, match=r"row 2 .* none of 2 strata"):
        draw(3, lambda at: labels[at], [1, 1])
