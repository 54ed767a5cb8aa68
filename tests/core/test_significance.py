"""Intervals and tests against numbers worked out by hand or by formula."""

from __future__ import annotations

import math

import numpy as np
import pytest

from ppx_ext.significance import (
    chance_of_zero,
    holm,
    interval,
    mcnemar,
    over_seeds,
    paired_bootstrap,
    resampled,
    smallest_p,
    wilson,
)


def test_wilson_is_its_formula() -> None:
    correct, n, z = 7, 10, 1.959963984540054
    share = correct / n
    centre = (share + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * math.sqrt(share * (1 - share) / n + z**2 / (4 * n**2))
    assert wilson(correct, n) == pytest.approx((centre - half, centre + half))
    assert wilson(0, 20)[0] == 0
    assert wilson(0, 20)[1] > 0.1


def test_mcnemar_counts_only_items_that_differ() -> None:
    # 1 item only a has right, 6 only b: p = 2 (C(7,0) + C(7,1)) / 2**7 = 16 / 128.
    a = [True] + [False] * 6 + [True] * 50
    b = [False] + [True] * 6 + [True] * 50
    found = mcnemar(a, b)
    assert found.p == pytest.approx(16 / 128)
    assert found.mean == pytest.approx(5 / 57)
    assert found.words().startswith("not significant (p = 0.12")
    assert mcnemar(a, a).p == 1.0
    assert mcnemar([False] * 6, [True] * 6).significant


def test_mcnemar_refuses_different_items() -> None:
    with pytest.raises(ValueError, match="zip"):
        mcnemar([True], [True, False])


def test_sign_flips_are_counted_exactly() -> None:
    # Of the 8 sign patterns of (2, -1, 4), |mean| >= 5/3 holds for (+,-,+), (+,+,+) and mirrors.
    found = over_seeds([1.0, 3.0, 1.0], [3.0, 2.0, 5.0])
    assert found.p == pytest.approx(4 / 8)
    assert found.mean == pytest.approx(5 / 3)


@pytest.mark.parametrize("seeds", [2, 5, 6, 8])
def test_the_smallest_p_is_reached_where_all_seeds_agree(seeds: int) -> None:
    found = over_seeds([0.0] * seeds, [float(s + 1) for s in range(seeds)])
    assert found.p == pytest.approx(smallest_p(seeds))
    assert found.significant == (seeds >= 6)


def test_no_difference_is_not_significant() -> None:
    assert over_seeds([0.5, 0.6], [0.5, 0.6]).p == 1.0
    found = paired_bootstrap(([0.5] * 4, [0.5] * 4))
    assert (found.low, found.high, found.significant) == (0, 0, False)


def test_bootstrap_covers_what_normal_theory_gives() -> None:
    a, b = [0.0] * 400, [1.0] * 240 + [0.0] * 160
    found = paired_bootstrap((a, b), seed=1)
    half = 1.96 * math.sqrt(0.6 * 0.4 / 400)
    assert found.low == pytest.approx(0.6 - half, abs=0.01)
    assert found.high == pytest.approx(0.6 + half, abs=0.01)
    assert found.significant
    assert "95 % CI +0.5" in found.words()
    assert paired_bootstrap((a, b), seed=1) == found


def test_one_pair_is_too_few() -> None:
    with pytest.raises(ValueError, match="two or more pairs"):
        over_seeds([1.0], [2.0])
    with pytest.raises(ValueError, match="two or more pairs"):
        paired_bootstrap(([1.0, 2.0], [2.0]))
    with pytest.raises(ValueError, match="at least one task"):
        paired_bootstrap()


def test_tasks_weigh_alike_however_many_items_they_have() -> None:
    # +0.5 on 10 items and -0.1 on 1000: the mean of the two is +0.2, not that of all items.
    few = ([0.0] * 10, [1.0] * 5 + [0.0] * 5)
    many = ([1.0] * 1000, [1.0] * 900 + [0.0] * 100)
    found = paired_bootstrap(few, many)
    assert found.mean == pytest.approx(0.2)
    assert found.n == 1010
    half = 1.96 * math.sqrt(0.25 / 10 + 0.09 / 1000) / 2
    assert found.low == pytest.approx(0.2 - half, abs=0.02)


def test_both_models_are_drawn_on_the_same_items() -> None:
    import numpy as np

    # b = 1 - a on every item: so is every drawn mean, which independent draws would not give.
    a = [0.1, 0.4, 0.4, 0.9, 0.0]
    drawn_a, drawn_b = resampled([(a, [1 - value for value in a]), ([0.0, 1.0], [0.5, 0.5])])
    assert drawn_a.shape == (9_999, 2)
    assert np.allclose(drawn_a[:, 0] + drawn_b[:, 0], 1)
    assert np.all(drawn_b[:, 1] == 0.5)
    # Means of two items drawn out of {0, 1} are 0, 1/2 and 1, with chances 1/4, 1/2 and 1/4.
    shares = [float(np.mean(drawn_a[:, 1] == mean)) for mean in (0.0, 0.5, 1.0)]
    assert shares == pytest.approx([0.25, 0.5, 0.25], abs=0.02)
    spread = math.sqrt(sum((x - 0.36) ** 2 for x in a) / 5 / 5)
    assert drawn_a[:, 0].std() == pytest.approx(spread, rel=0.03)
    low, high = interval(drawn_a[:, 0])
    assert 0 <= low < 0.36 < high <= 0.9


def test_holm_by_hand() -> None:
    # Sorted: 0.01 * 3, max(0.03, 0.02 * 2), max(0.04, 0.3 * 1).
    assert holm([0.3, 0.01, 0.02]) == pytest.approx([0.3, 0.03, 0.04])
    assert holm([0.04, 0.04]) == pytest.approx([0.08, 0.08])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []


def test_the_chance_of_zero_by_hand() -> None:
    # 99 draws, 4 of them at or below 0: 2 * (4 + 1) / 100.
    assert chance_of_zero(np.array([-1.0] * 4 + [1.0] * 95)) == pytest.approx(0.1)
    assert chance_of_zero(np.zeros(99)) == 1.0
