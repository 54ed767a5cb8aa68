"""The surface: by hand, without noise, against scipy; and what chance allows, by simulation."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy.optimize import least_squares

from ppx_ext.advising import doubt
from ppx_ext.advising.pilots import Results
from ppx_ext.advising.surface import Cells, Surfaces, cells_of, fit, flat_rss
from tests.core import pilots as known

KNOWN = {"level": 0.5, "rise": 0.1, "bend": 0.5, "curve": 0.3, "centre": 0.45, "drift": 0.15}


def test_a_surface_by_hand() -> None:
    one = Surfaces(
        level_B=np.array([0.5]), rise_B=np.array([0.1]), bend_B=np.array([0.5]),
        curve_B=np.array([2.0]), centre_B=np.array([0.4]), drift_B=np.array([0.3]),
        spread_B=np.array([0.06]), rss_B=np.array([0.0]), reference=100.0,
    )  # fmt: skip
    n = 100 * np.e  # x = 1
    risen = 0.1 * (1 - np.exp(-0.5)) / 0.5
    assert one.optimum(n) == pytest.approx(0.7)
    assert one.value(n, 0.9) == pytest.approx(0.5 + risen - 2 * 0.2**2)
    assert one.at_random(n) == pytest.approx(0.5 + risen - 0.06)
    assert one.optimum(100 * np.e**3) == 1.0  # clipped: 0.4 + 0.9
    assert one.value(100, 0.4) == pytest.approx(0.5)


def test_rows_at_random_are_the_mean_over_difficulty_where_none_were_drawn() -> None:
    cells = cells_of(known.drawn(at_random=None))
    found = fit(cells, cells.mean_M[None])
    assert found.spread_B is None
    middles = (np.arange(10_000) + 0.5) / 10_000
    mean = np.mean([known.hill(700, d) for d in middles])
    assert found.at_random(700)[0] == pytest.approx(mean, abs=1e-6)


@pytest.mark.parametrize("bands", [3, 5])
def test_without_noise_the_surface_is_recovered(bands: int) -> None:
    cells = cells_of(known.drawn(bands=bands))
    found = fit(cells, cells.mean_M[None])
    for name, value in KNOWN.items():
        assert getattr(found, f"{name}_B")[0] == pytest.approx(value, abs=2e-4), name
    assert found.spread_B is not None
    assert found.spread_B[0] == pytest.approx(0.05, abs=1e-5)
    assert found.rss_B[0] < 1e-8
    for n in (100, 500, 4000):
        assert found.optimum(n)[0] == pytest.approx(known.optimum(n), abs=1e-3)


def residuals(numbers: Any, cells: Cells, mean_M: Any) -> Any:
    level, rise, spread, curve, bend, centre, drift = numbers
    x = np.log(cells.examples_M / cells.reference)
    risen = x if bend < 1e-9 else (1 - np.exp(-bend * x)) / bend
    away = cells.middle_M - np.clip(centre + drift * x, 0, 1)
    lost = np.where(cells.random_M, spread, curve * away**2)
    return (level + rise * risen - lost - mean_M) * np.sqrt(cells.seeds_M)


@pytest.mark.parametrize("seed", range(4))
def test_no_start_of_scipy_finds_a_better_fit(seed: int) -> None:
    results = known.drawn(noise=0.02, seed=seed, bands=4)
    # Cells of unequal weight.
    results = Results(pilots=results.pilots[:-2], metric="accuracy")
    cells = cells_of(results)
    ours = fit(cells, cells.mean_M[None])
    again = [ours.level_B, ours.rise_B, ours.spread_B, ours.curve_B, ours.bend_B, ours.centre_B,
             ours.drift_B]  # fmt: skip
    sum_of_ours = np.sum(residuals([float(part[0]) for part in again], cells, cells.mean_M) ** 2)
    assert ours.rss_B[0] == pytest.approx(sum_of_ours)
    low = [-9, -9, -9, 0, 0, -0.5, -1]
    high = [9, 9, 9, 9, 2, 1.5, 1]
    rng = np.random.default_rng(seed)
    best = min(
        2 * least_squares(
            residuals,
            [0.5, 0.1, 0.05, 0.3, rng.uniform(0, 2), rng.uniform(0, 1), rng.uniform(-0.5, 0.5)],
            bounds=(low, high), args=(cells, cells.mean_M),
        ).cost
        for _ in range(8)
    )  # fmt: skip
    assert ours.rss_B[0] <= best * (1 + 1e-4)


def test_a_valley_is_no_hill() -> None:
    cells = cells_of(known.drawn(lambda n, d: known.ridge(n) + (d - 0.5) ** 2))
    found = fit(cells, cells.mean_M[None])
    assert found.curve_B[0] >= 0
    assert found.rss_B[0] <= flat_rss(cells, cells.mean_M[None])[0] + 1e-12


def test_all_sets_at_once_are_as_each_alone() -> None:
    cells = cells_of(known.drawn(noise=0.02))
    drawn = cells.mean_M + doubt.deviations(cells, 4, np.random.default_rng(0))
    together = fit(cells, drawn)
    for at in range(4):
        alone = fit(cells, drawn[[at]])
        assert alone.optimum(900)[0] == together.optimum(900)[at]
        assert alone.rss_B[0] == together.rss_B[at]


# ------------------------------------------------------------------------- what is missing is said


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"budgets": (500,)}, r"two or more budgets \(1 here\)"),
        ({"bands": 2}, r"three or more bands \(2 here\)"),
        ({"seeds": 1}, r"a second seed in four or more cells \(0 here\)"),
    ],
)
def test_too_few_pilots(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        cells_of(known.drawn(**settings))


def test_two_budgets_tell_no_bend() -> None:
    cells = cells_of(known.drawn(budgets=(250, 1000), noise=0.01))
    assert fit(cells, cells.mean_M[None]).bend_B[0] == 0


# ------------------------------------------------------------------------------ what chance allows


def test_deviations_have_the_variance_of_a_mean() -> None:
    """By hand: values -1, 0, 1 in each cell have variance 1, and their mean has 1 / 3."""
    base = known.drawn()
    spread = [one.model_copy(update={"value": float(one.seed - 1)}) for one in base.pilots]
    cells = cells_of(Results(pilots=tuple(spread)))
    drawn = doubt.deviations(cells, 40_000, np.random.default_rng(0))
    # Student's t with 4 * 2 degrees of freedom has variance 8 / (8 - 2).
    np.testing.assert_allclose(drawn.var(axis=0), (1 / 3) * (8 / 6), rtol=0.08)
    np.testing.assert_allclose(drawn.mean(axis=0), 0, atol=0.02)


def test_one_seed_borrows_from_the_others() -> None:
    results = known.drawn(noise=0.02)
    fewer = tuple(one for one in results.pilots if one.seed == 0 or one.low > 0.3)
    cells = cells_of(Results(pilots=fewer))
    assert 1 in cells.seeds_M
    spread = doubt.deviations(cells, 20_000, np.random.default_rng(0)).std(axis=0)
    for budget in cells.budgets:
        here = cells.examples_M == budget
        one, three = (spread[here & (cells.seeds_M == seeds)] for seeds in (1, 3))
        np.testing.assert_allclose(one.mean() / three.mean(), np.sqrt(3), rtol=0.05)


def simulated(count: int, *, resamples: int, **settings: Any) -> list[doubt.Fitted]:
    return [
        doubt.fitted(cells_of(known.drawn(seed=seed, **settings)), resamples=resamples, seed=seed)
        for seed in range(count)
    ]


@pytest.mark.slow
def test_intervals_hold_the_truth_at_their_rate() -> None:
    """Of 100 simulations at 90 %, 85 to 97 hold it but in one of twenty-five such tests."""
    found = simulated(100, resamples=60, noise=0.015)
    held = {"optimum": 0, "value": 0}
    for one in found:
        optimum = one.optimum(1000)
        held["optimum"] += optimum.low <= known.optimum(1000) <= optimum.high
        value_B = one.resampled.value(1000, 0.6)
        value = one.interval(value_B, float(one.point.value(1000, 0.6)[0]))
        held["value"] += value.low <= known.hill(1000, 0.6) <= value.high
    assert all(85 <= count <= 97 for count in held.values()), held
    assert all(one.matters for one in found)


@pytest.mark.slow
def test_pure_noise_is_not_significant_at_its_rate() -> None:
    found = simulated(50, resamples=40, value=known.plain, noise=0.02, at_random=known.ridge)
    assert sum(one.matters for one in found) <= 6  # 2.5 are expected at 5 %
    assert np.mean([one.chance for one in found]) == pytest.approx(0.5, abs=0.12)


def test_misfit_is_seen_and_only_where_it_is() -> None:
    wavy = doubt.fitted(
        cells_of(known.drawn(lambda n, d: 0.1 * np.sin(9 * d), noise=0.01, bands=6)), resamples=2
    )
    assert wavy.misfit is not None
    assert wavy.misfit < 1e-6
    # By hand: 21 cells, 7 parameters; residual mean square against that of the seeds.
    cells = wavy.cells
    within = np.mean([values.var(ddof=1) for values in cells.values])
    free = len(cells.values) - 7
    assert wavy.stretch == pytest.approx(np.sqrt(wavy.point.rss_B[0] / free / within))
    right = [one.misfit for one in simulated(20, resamples=2, noise=0.02, bands=5)]
    assert np.mean([one for one in right if one is not None]) > 0.3


def test_the_same_seed_gives_the_same() -> None:
    cells = cells_of(known.drawn(noise=0.02))
    one, two = (doubt.fitted(cells, resamples=50, seed=3) for _ in range(2))
    assert one.optimum(700) == two.optimum(700)
    assert one.chance == two.chance
