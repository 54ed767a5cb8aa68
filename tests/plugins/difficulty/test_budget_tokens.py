"""Budgets of tokens: what strata leave is used, and `auto` takes a window that holds them."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ppx_ext import Candidates
from tests.plugins.difficulty.pools import alive, choose, pool, pools


def test_what_strata_leave_of_the_tokens_is_used_too() -> None:
    """Equal shares are 8 and 9 tokens; of all 17, one more row of 9 would not fit."""
    candidates = pool(range(4), tokens=[9] * 4, strata=list("aabb"))
    found = choose("budget", candidates, max_tokens=17, strata="kind", share="equal")
    assert len(found.index_K) == 1
    assert "9 of 17 target tokens are used: no other row fits" in found.notes
    # Shares of 5 hold no row of 9, and all 10 hold one.
    one = choose("budget", candidates, max_tokens=10, strata="kind", share="equal")
    assert len(one.index_K) == 1


@given(pools(strata=True), st.integers(200, 4000), st.integers(0, 2**31))
def test_with_strata_too_no_row_left_would_have_fitted(
    candidates: Candidates, tokens: int, seed: int
) -> None:
    found = choose("budget", candidates, seed, max_tokens=tokens, strata="kind", share="equal")
    left = tokens - int(candidates.tokens_N[found.index_K].sum())
    rest = np.setdiff1d(alive(candidates), found.index_K)
    assert left >= 0
    assert all(candidates.tokens_N[rest] > left)


def test_auto_holds_its_tokens_though_easy_rows_are_short() -> None:
    """Rows of 1 to 300 tokens: the easiest third holds a ninth of them, and a third is asked."""
    candidates = pool(range(300), tokens=range(1, 301))
    total = 300 * 301 // 2
    found = choose("budget", candidates, band="auto", max_tokens=total // 3)
    used = int(candidates.tokens_N[found.index_K].sum())
    assert total // 3 - 300 < used <= total // 3
    assert found.window is not None
    # The easiest rows up to the quantile q hold q squared of the tokens.
    assert found.window == (0.0, pytest.approx(math.sqrt(1 / 3), abs=0.02))


def test_a_window_that_is_used_up_is_named() -> None:
    candidates = pool(range(9), tokens=[10] * 9)
    whole = choose("budget", candidates, band="auto", max_tokens=1000)
    assert whole.notes[-1].endswith("90 of 1000 target tokens are used: that is all there is")
    easy = choose("budget", candidates, band="easy", max_tokens=1000)
    assert easy.notes[-1].endswith("that is all there is in the window")
    some = choose("budget", candidates, band="easy", max_tokens=25)
    assert some.notes[-1].endswith("no other row in the window fits")
