"""The shuffled order that is computed where it is asked for: a permutation, and a random one."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ppx_ext.selecting import Permutation


@given(
    st.integers(0, 3000) | st.integers(2**16 + 1, 2**17 + 9),
    st.integers(-5, 2**64),
    st.integers(0, 1000),
)
@settings(max_examples=60)
def test_a_permutation_has_each_row_once(rows: int, seed: int, epoch: int) -> None:
    order = Permutation(rows, seed, epoch).at(np.arange(rows))
    assert (np.sort(order) == np.arange(rows)).all()
    assert len(order) == rows


@given(st.integers(2**20, 2**60), st.integers(0, 9))
@settings(max_examples=60)
def test_a_large_permutation_stays_within_its_rows_and_repeats_none(rows: int, seed: int) -> None:
    asked = np.unique(np.random.default_rng(seed).integers(0, rows, 5000))
    found = Permutation(rows, seed).at(asked)
    assert found.min() >= 0
    assert found.max() < rows
    assert len(np.unique(found)) == len(asked)


@pytest.mark.parametrize("rows", [1000, 100_000])
def test_a_permutation_is_another_for_each_seed_and_epoch(rows: int) -> None:
    at = np.arange(rows)
    orders = [Permutation(rows, seed, epoch).at(at) for seed in range(4) for epoch in range(4)]
    for one in range(16):
        assert (orders[one] == at).sum() < 10  # one row is expected to stay
        for other in range(one):
            assert (orders[one] == orders[other]).sum() < 10


@pytest.mark.parametrize("rows", [5, 7, 100, 70_000])
def test_each_row_is_equally_likely_at_each_place(rows: int) -> None:
    from scipy.stats import chisquare

    seeds, cells = 4000, 5
    seen = np.zeros((cells, cells))
    for seed in range(seeds):
        order = Permutation(rows, seed).at(np.arange(0, rows, max(rows // cells, 1))[:cells])
        for place, row in enumerate(order):
            seen[place, row * cells // rows] += 1
    sizes = np.bincount(np.arange(rows) * cells // rows) / rows
    for place in range(cells):
        assert chisquare(seen[place], sizes * seeds).pvalue > 1e-5


def test_neighbours_are_independent() -> None:
    order = Permutation(100_000, 1).at(np.arange(100_000)).astype(float)
    for lag in (1, 2, 7, 256):
        assert abs(np.corrcoef(order[:-lag], order[lag:])[0, 1]) < 0.015


def test_places_that_are_not_there_are_refused() -> None:
    with pytest.raises(ValueError, match="from 0 to 4"):
        Permutation(5).at(np.array([5]))
    with pytest.raises(ValueError, match="not -1"):
        Permutation(-1)
