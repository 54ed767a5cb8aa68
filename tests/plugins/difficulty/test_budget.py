"""Budget: met or the shortfall told; bands apart and whole; strata by largest remainders."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ppx_difficulty import ordering
from ppx_difficulty.budget import BANDS, BudgetSettings
from ppx_ext import Candidates, prior_window
from tests.plugins.difficulty.pools import alive, choose, pool, pools

SEEDS = st.integers(0, 2**31)


@given(pools(), st.integers(1, 80), SEEDS)
def test_so_many_examples_exactly_or_the_shortfall_is_told(
    candidates: Candidates, count: int, seed: int
) -> None:
    found = choose("budget", candidates, seed, max_examples=count)
    there = alive(candidates)
    assert len(found.index_K) == min(count, len(there))
    assert set(found.index_K) <= set(there)
    assert (np.diff(found.index_K) > 0).all()
    assert not found.ordered
    told = [note for note in found.notes if "asked for" in note]
    assert len(told) == (count > len(there))
    if told:
        assert f"{count - len(there)} fewer" in told[0]


@given(pools(), st.integers(1, 4000), SEEDS)
def test_as_many_tokens_as_fit_and_no_row_left_would_have_fitted(
    candidates: Candidates, tokens: int, seed: int
) -> None:
    there = alive(candidates)
    if candidates.tokens_N[there].min() > tokens:
        with pytest.raises(ValueError, match=f"not one row fits into {tokens} target tokens"):
            choose("budget", candidates, seed, max_tokens=tokens)
        return
    found = choose("budget", candidates, seed, max_tokens=tokens)
    used = int(candidates.tokens_N[found.index_K].sum())
    rest = np.setdiff1d(there, found.index_K)
    assert used <= tokens
    assert all(candidates.tokens_N[rest] > tokens - used)
    assert any(f"{used} of {tokens} target tokens" in note for note in found.notes) == (
        used < tokens
    )


def test_tokens_are_filled_in_the_order_that_is_asked_for() -> None:
    candidates = pool([1, 2, 3, 4], tokens=[5, 9, 4, 1])
    # Easiest first: 5 fits into 10, 9 does not, 4 does, 1 does.
    easy = choose("budget", candidates, max_tokens=10, take="easiest")
    assert easy.index_K.tolist() == [0, 2, 3]
    # Hardest first: 1, 4, then 9 no longer fits, 5 does.
    hard = choose("budget", candidates, max_tokens=10, take="hardest")
    assert hard.index_K.tolist() == [0, 2, 3]
    assert choose("budget", candidates, max_tokens=5, take="hardest").index_K.tolist() == [2, 3]
    assert choose("budget", candidates, max_tokens=5, take="easiest").index_K.tolist() == [0]


@given(pools(), SEEDS)
def test_the_same_seed_chooses_the_same(candidates: Candidates, seed: int) -> None:
    count = max(1, len(candidates) // 2)
    first, again = (choose("budget", candidates, seed, max_examples=count) for _ in range(2))
    np.testing.assert_array_equal(first.index_K, again.index_K)


def test_other_seeds_choose_others_and_all_rows_alike() -> None:
    candidates = pool(range(60))
    draws = [choose("budget", candidates, seed, max_examples=20).index_K for seed in range(300)]
    often = np.bincount(np.concatenate(draws), minlength=60)
    # Binomial(300, 1/3): mean 100, deviation 8.2.
    assert (abs(often - 100) < 5 * 8.2).all()


@given(pools(least=3), SEEDS)
def test_bands_share_no_row_miss_none_and_are_ordered(candidates: Candidates, seed: int) -> None:
    there = alive(candidates)
    bands = []
    for band in ("easy", "medium", "hard"):
        low, high = (round(edge * len(there)) for edge in BANDS[band])
        if low == high:
            with pytest.raises(ValueError, match=f"band: {band} is empty"):
                choose("budget", candidates, seed, band=band)
        found = choose("budget", candidates, seed, band=band).index_K if low < high else there[:0]
        bands.append(found)
    together = np.concatenate(bands)
    assert sorted(together) == there.tolist()
    for easier, harder in itertools.pairwise(bands):
        if len(easier) and len(harder):
            assert candidates.score_N[easier].max() <= candidates.score_N[harder].min()
    sizes = [round(edge * len(there)) for edge in (0, 1 / 3, 2 / 3, 1)]
    assert [len(band) for band in bands] == np.diff(sizes).tolist()


@given(pools(), st.floats(0, 1), st.floats(0, 1), SEEDS)
def test_a_window_holds_the_rows_of_its_quantiles(
    candidates: Candidates, one: float, other: float, seed: int
) -> None:
    low, high = sorted((one, other))
    there = alive(candidates)
    size = round(high * len(there)) - round(low * len(there))
    if low == high:
        return
    if not size:
        with pytest.raises(ValueError, match=r"window is empty: from quantile"):
            choose("budget", candidates, seed, window=(low, high))
        return
    found = choose("budget", candidates, seed, window=(low, high))
    assert len(found.index_K) == size
    if (low, high) != (0.0, 1.0):
        scores = np.sort(candidates.score_N[there])
        taken = np.sort(candidates.score_N[found.index_K])
        np.testing.assert_array_equal(taken, scores[round(low * len(there)) :][:size])


@given(pools(), st.integers(1, 60), SEEDS)
def test_the_easiest_and_the_hardest_are_taken(
    candidates: Candidates, count: int, seed: int
) -> None:
    scores = np.sort(candidates.score_N[alive(candidates)])
    count = min(count, len(scores))
    easy = choose("budget", candidates, seed, max_examples=count, take="easiest").index_K
    hard = choose("budget", candidates, seed, max_examples=count, take="hardest").index_K
    np.testing.assert_array_equal(np.sort(candidates.score_N[easy]), scores[:count])
    np.testing.assert_array_equal(np.sort(candidates.score_N[hard]), scores[-count:])


def test_ties_are_broken_by_the_seed() -> None:
    candidates = pool([1] * 20 + [2])
    draws = {
        tuple(choose("budget", candidates, seed, max_examples=5, take="easiest").index_K)
        for seed in range(20)
    }
    assert len(draws) > 10


@given(pools(strata=True), st.integers(1, 60), SEEDS)
def test_proportional_strata_follow_the_largest_remainders(
    candidates: Candidates, count: int, seed: int
) -> None:
    assert candidates.stratum_N is not None
    there = [candidates.stratum_N[at] for at in alive(candidates)]
    names = sorted(set(there))
    found = choose("budget", candidates, seed, max_examples=count, strata="kind")
    taken = [candidates.stratum_N[at] for at in found.index_K]
    total = min(count, len(there))
    assert len(taken) == total
    exact = {name: total * there.count(name) / len(there) for name in names}
    for name in names:
        assert math.floor(exact[name] - 1e-9) <= taken.count(name) <= math.ceil(exact[name] + 1e-9)
    # Whoever got one more has a remainder at least as large as whoever did not.
    up = [exact[n] % 1 for n in names if taken.count(n) > exact[n] + 1e-9]
    down = [exact[n] % 1 for n in names if taken.count(n) < exact[n] - 1e-9]
    assert not up or not down or min(up) >= max(down) - 1e-9


@given(pools(strata=True), st.integers(1, 60), SEEDS)
def test_equal_strata_are_equal_but_where_one_is_used_up(
    candidates: Candidates, count: int, seed: int
) -> None:
    assert candidates.stratum_N is not None
    there = [candidates.stratum_N[at] for at in alive(candidates)]
    found = choose("budget", candidates, seed, max_examples=count, strata="kind", share="equal")
    taken = [candidates.stratum_N[at] for at in found.index_K]
    assert len(taken) == min(count, len(there))
    open_ = [taken.count(n) for n in set(there) if taken.count(n) < there.count(n)]
    if open_:
        assert max(open_) - min(open_) <= 1
        full = [taken.count(n) for n in set(there) if taken.count(n) == there.count(n)]
        assert all(one <= max(open_) + 1 for one in full)


def test_quotas_by_hand() -> None:
    # Exact shares of 10 among 5, 3, 3: 4.55, 2.73, 2.73. The two that miss go to the .73s.
    assert ordering.proportional(10, [5, 3, 3]) == [4, 3, 3]
    assert ordering.proportional(1, [1, 1, 1]) == [1, 0, 0]
    assert ordering.proportional(7, [2, 0, 5]) == [2, 0, 5]
    # The second has but 1; the others share the rest.
    assert ordering.equal(10, [9, 1, 9]) == [5, 1, 4]
    assert ordering.equal(2, [5, 5, 5]) == [1, 1, 0]
    assert ordering.equal(6, [1, 2, 3]) == [1, 2, 3]


@given(st.lists(st.integers(0, 50), min_size=1, max_size=6), st.data())
def test_quotas_add_up_and_none_is_too_large(sizes: list[int], data: st.DataObject) -> None:
    total = data.draw(st.integers(0, sum(sizes)))
    if not sum(sizes):
        return
    for quotas in (ordering.proportional(total, sizes), ordering.equal(total, sizes)):
        assert sum(quotas) == total
        assert all(0 <= quota <= size for quota, size in zip(quotas, sizes, strict=True))


def test_strata_of_tokens_share_the_tokens() -> None:
    candidates = pool(range(8), tokens=[10] * 8, strata=list("aaaaaabb"))
    found = choose("budget", candidates, max_tokens=40, strata="kind", share="equal")
    assert sorted(candidates.stratum_N[at] for at in found.index_K) == list("aabb")  # type: ignore[index]


def test_a_stratum_of_which_nothing_is_chosen_is_told() -> None:
    candidates = pool(range(9), strata=list("aaabbbccc"))
    found = choose("budget", candidates, band="easy", max_examples=3, strata="kind")
    assert {"no row of kind 'b' is chosen", "no row of kind 'c' is chosen"} <= set(found.notes)


def test_duplicates_go_first_or_stay_when_told() -> None:
    candidates = pool([1, 2, 1, 3, 2], first=[0, 1, 0, 3, 1])
    found = choose("budget", candidates, max_examples=5)
    assert found.index_K.tolist() == [0, 1, 3]
    assert found.left_out == {"duplicates": 2}
    both = choose("budget", candidates, max_examples=5, unique=False)
    assert both.index_K.tolist() == [0, 1, 2, 3, 4]


def test_what_is_left_out_is_told_by_reason() -> None:
    candidates = pool(range(9), first=[*range(8), 0])
    found = choose("budget", candidates, window=(0.5, 1.0), max_examples=3)
    assert found.window == (0.5, 1.0)
    assert found.left_out == {"duplicates": 1, "outside the window": 4, "over the budget": 1}
    assert found.numbers == {"rows_in_the_window": 4}


@pytest.mark.parametrize("count", [1, 7, 33, 50, 99, 100])
def test_auto_takes_the_prior_and_says_that_it_is_no_finding(count: int) -> None:
    found = choose("budget", pool(range(100)), band="auto", max_examples=count)
    assert len(found.index_K) == count
    assert found.prior
    assert "a prior, not a finding" in found.notes[0]
    low, high = prior_window(count, 100)
    assert found.window is None or found.window == (
        math.floor(low * 100) / 100,
        math.ceil(high * 100) / 100,
    )


@given(st.integers(2, 400), st.integers(1, 400))
def test_the_window_of_auto_always_holds_its_budget(rows: int, count: int) -> None:
    found = choose("budget", pool(range(rows)), band="auto", max_examples=count)
    assert len(found.index_K) == min(rows, count)


def test_auto_goes_by_examples_where_the_budget_is_of_tokens() -> None:
    candidates = pool(range(3000), tokens=[10] * 3000)
    by_tokens = choose("budget", candidates, band="auto", max_tokens=20_000)
    assert by_tokens.window == choose("budget", candidates, band="auto", max_examples=2000).window


@pytest.mark.parametrize(
    "settings", [{"band": "easy"}, {"window": (0, 0.5)}, {"take": "easiest", "max_examples": 2}]
)
def test_a_constant_score_orders_nothing(settings: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"every one of the 4 rows has the difficulty 3.*`by`"):
        choose("budget", pool([3, 3, 3, 3]), **settings)
    assert len(choose("budget", pool([3, 3, 3, 3]), max_examples=2).index_K) == 2


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({}, "give a budget"),
        ({"max_examples": 1, "max_tokens": 1}, "exclude each other"),
        ({"band": "easy", "window": (0, 1)}, "exclude each other"),
        ({"band": "auto"}, "goes by the budget"),
        ({"window": (0.5, 0.5)}, "0 <= low < high <= 1"),
        ({"window": (0.5, 1.5)}, "0 <= low < high <= 1"),
        ({"window": (float("nan"), 1)}, "0 <= low < high <= 1"),
        ({"max_examples": 0}, "greater than 0"),
        ({"max_examples": 5, "share": "equal"}, "no meaning without strata"),
        ({"band": "easy", "take": "hardest"}, "without a budget"),
        ({"max_examples": 5, "bnad": "easy"}, "Extra inputs"),
    ],
)
def test_settings_that_contradict_each_other(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(pydantic.ValidationError, match=words):
        BudgetSettings.model_validate(settings)
