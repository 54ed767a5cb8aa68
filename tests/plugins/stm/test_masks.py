"""Each equation on numbers worked out by hand, and what must hold for any numbers."""

from __future__ import annotations

import math
import pickle

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from ppx_ext import masking, store
from ppx_stm.masks import ppl_rise
from tests.plugins.stm.rows import keep, row, stage

LOG = math.log
NLLS = st.lists(st.floats(0, 20, width=16), min_size=1, max_size=40)
THRESHOLDS = st.floats(1.01, 1e6)


def nll(*perplexities: float) -> dict[str, list[float]]:
    return {"nll": [LOG(value) for value in perplexities]}


def test_stm_masks_what_lies_above_the_threshold() -> None:
    # Section 3 with tau = 2.5: perplexities 1, 2.4, 2.6, 100 -> the last two go.
    assert keep(stage(), row(nll(1, 2.4, 2.6, 100))) == [True, True, False, False]


def test_the_line_itself_is_kept() -> None:
    assert keep(stage(ppl_threshold=3), row(nll(3, math.nextafter(3, 4), 3.1))) == [
        True,
        True,  # one float64 step of perplexity vanishes in the logarithm
        False,
    ]


def test_a_users_perplexity_is_compared_in_its_own_unit() -> None:
    chosen = stage(ppl_threshold=1000, scores_from="p")
    scores = {"perplexity": [1000.0, math.nextafter(1000, 0), math.nextafter(1000, 2000)]}
    assert LOG(scores["perplexity"][2]) == LOG(1000)  # in nats they could not be told apart
    assert keep(chosen, row(scores)) == [True, True, False]


def test_half_precision_scores_do_not_round_the_threshold() -> None:
    threshold = 2.5
    assert float(np.float16(LOG(threshold))) > LOG(threshold)
    scored = row({"nll": np.array([np.float16(LOG(threshold)), 0.5], dtype=np.float16)})
    assert keep(stage(), scored) == [False, True]


def test_the_end_of_a_turn_is_kept_unless_asked() -> None:
    scored = row(nll(1, 50, 50), ends=[2])
    assert keep(stage(), scored) == [True, False, True]
    assert keep(stage(mask_end_of_turn=True), scored) == [True, False, False]


def test_a_row_keeps_at_least_its_easiest_targets() -> None:
    scored = row(nll(9, 5, 7, 5))
    assert keep(stage(min_kept_tokens=0), scored) == [False, False, False, False]
    assert keep(stage(), scored) == [False, True, False, False]
    assert keep(stage(min_kept_tokens=3), scored) == [False, True, True, True]
    assert keep(stage(min_kept_tokens=9), scored) == [True, True, True, True]


def test_what_is_kept_anyway_counts_towards_the_least() -> None:
    scored = row(nll(9, 5, 50), ends=[2])
    assert keep(stage(min_kept_tokens=1), scored) == [False, False, True]
    assert keep(stage(min_kept_tokens=2), scored) == [False, True, True]


def test_infinity_keeps_all() -> None:
    chosen = stage(ppl_threshold=math.inf)
    assert keep(chosen, row({"nll": [0.0, 11.0, 60000.0]})) == [True, True, True]
    assert masking.fit(chosen, []) == {"nll_threshold": None, "ppl_threshold": None}


def test_the_state_tells_the_threshold_in_nats() -> None:
    state = masking.fit(stage(ppl_threshold=2.5), [])
    assert state["nll_threshold"] == pytest.approx(0.9162907318741551)


def test_random_masks_as_many_in_each_row_and_hangs_on_the_seed_and_row() -> None:
    perplexities = [1.0] * 12 + [50.0] * 8
    results = set()
    for number in range(20):
        scored = row(nll(*perplexities), ends=[19], number=number)
        kept = keep(stage("random"), scored, seed=3)
        assert kept.count(False) == 7
        assert kept[19]
        assert kept == keep(stage("random"), scored, seed=3)
        results.add(tuple(kept))
    assert len(results) == 20


def test_random_draws_evenly() -> None:
    counts = np.zeros(4)
    for number in range(2000):
        scored = row(nll(1, 1, 50, 50), number=number)
        counts += ~np.array(keep(stage("random"), scored))
    # Binomial(2000, 1/2): 1000 +- 22; six standard deviations.
    assert np.all(np.abs(counts - 1000) < 135), counts


def test_lowest_masks_as_many_of_the_easiest() -> None:
    scored = row(nll(4, 1.5, 1.2, 3, 1.1), ends=[4])
    assert keep(stage("lowest"), scored) == [True, False, False, True, True]


def test_the_rise_in_perplexity() -> None:
    # Appendix G by hand: ppl 2 -> 5 rises by 3, 8 -> 2 falls by 6, 3 -> 3 stays.
    base, tuned = np.log([2.0, 8.0, 3.0]), np.log([5.0, 2.0, 3.0])
    assert ppl_rise(base, tuned) == pytest.approx([3.0, -6.0, 0.0])
    assert ppl_rise(base, tuned)[2] == 0.0


def test_the_rise_is_a_number_even_where_perplexities_overflow() -> None:
    rise = ppl_rise(np.array([60000.0, 60000.0, 0.0]), np.array([60000.0, 0.0, 60000.0]))
    assert rise[0] == 0.0
    assert rise[1] < 0 < rise[2]


def test_dpf_keeps_what_did_not_become_harder() -> None:
    scored = row({"nll": np.log([2.0, 8.0, 3.0]), "nll_tuned": np.log([5.0, 2.0, 3.0])})
    assert keep(stage("dpf", tuned="x"), scored) == [False, True, True]
    assert keep(stage("dpf", tuned="x", dpf_threshold=3.5), scored) == [True, True, True]
    assert keep(stage("dpf", tuned="x", dpf_threshold=-1), scored) == [False, True, False]


def test_stm_dpf_masks_what_either_masks() -> None:
    # Appendix G: diff > 0 goes (the first), ppl_base > 100 goes (the last), the rest stays.
    base, tuned = np.log([2.0, 8.0, 99.0, 101.0]), np.log([5.0, 2.0, 9.0, 9.0])
    scored = row({"nll": base, "nll_tuned": tuned})
    assert keep(stage("stm_dpf", tuned="x"), scored) == [False, True, True, False]


def test_dpf_with_a_users_perplexities() -> None:
    scored = row({"perplexity": [2.0, 8.0, 101.0], "nll_tuned": np.log([5.0, 2.0, 9.0])})
    assert keep(stage("dpf", tuned="x", scores_from="p"), scored) == [False, True, True]
    assert keep(stage("stm_dpf", tuned="x", scores_from="p"), scored) == [False, True, False]


def test_newlines_are_normalised_and_nothing_else() -> None:
    chosen = stage(normalize_newlines=True)
    edit = chosen.component.edit_text
    assert edit is not None
    assert edit(chosen.settings, "a \r\n\tb\rc\n\r\n d ") == "a \n\tb\nc\n\n d "
    assert edit(stage().settings, "a \r\n") == "a \r\n"


def test_blanks_at_the_ends_of_lines_are_taken_out() -> None:
    edit = stage().component.edit_text
    assert edit is not None
    alone = stage(strip_line_ends=True).settings
    assert edit(alone, "a \t\r\n\tb\n d  e ") == "a\r\n\tb\n d  e"
    both = stage(strip_line_ends=True, normalize_newlines=True).settings
    assert edit(both, "a \r\n\tb ") == "a\n\tb"


def test_masks_can_be_sent_to_other_processes() -> None:
    for name in ("stm", "random", "lowest"):
        assert pickle.loads(pickle.dumps(stage(name))).settings == stage(name).settings
    for name in ("dpf", "stm_dpf"):
        assert pickle.loads(pickle.dumps(stage(name, tuned="x"))).component.name == name


@given(NLLS, THRESHOLDS, THRESHOLDS, st.integers(0, 5))
def test_a_higher_threshold_never_masks_more(
    values: list[float], one: float, other: float, least: int
) -> None:
    low, high = sorted((one, other))
    scored = row({"nll": values}, ends=[len(values) - 1])
    kept_low = np.array(keep(stage(ppl_threshold=low, min_kept_tokens=least), scored))
    kept_high = np.array(keep(stage(ppl_threshold=high, min_kept_tokens=least), scored))
    assert not (kept_low & ~kept_high).any()
    assert kept_low.sum() >= min(least, len(values))


@given(NLLS, THRESHOLDS)
def test_every_mask_keeps_as_many_as_its_measure(values: list[float], threshold: float) -> None:
    scored = row({"nll": values}, ends=[len(values) - 1])
    kept = keep(stage(ppl_threshold=threshold), scored)
    for name in ("random", "lowest"):
        control = keep(stage(name, ppl_threshold=threshold), scored)
        assert sum(control) == sum(kept)
        assert control[-1]


@given(st.lists(NLLS, min_size=1, max_size=6), st.floats(0, 0.99))
def test_a_fraction_is_never_passed_and_is_reached_but_for_ties(
    rows: list[list[float]], fraction: float
) -> None:
    chosen = stage(mask_fraction=fraction, min_kept_tokens=0)
    scored = [
        row({"nll": store.quantize(np.array(values))}, ends=[0], number=number)
        for number, values in enumerate(rows)
    ]
    state = masking.fit(chosen, scored)
    masked = sum(int((~masking.keep_targets(chosen, state, s, seed=0)).sum()) for s in scored)
    total = sum(map(len, rows))
    assert masked == round(state["share_above"] * total)
    assert masked <= fraction * total + 1e-9
    assume(masked < total - len(rows))  # all but the ends of turns may go
    assert masked + state["tied_at_threshold"] > fraction * total - 1


def test_a_fraction_by_hand() -> None:
    # Ten targets, 0.3: three may go; 9, 8, 7 lie above 6.
    chosen = stage(mask_fraction=0.3)
    scored = row({"nll": [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]})
    state = masking.fit(chosen, [scored])
    assert state["nll_threshold"] == 6.0
    assert state["share_above"] == 0.3
    assert state["tied_at_threshold"] == 1
    assert keep(chosen, scored) == [True] * 7 + [False] * 3


def test_ties_at_the_line_are_kept_and_told() -> None:
    chosen = stage(mask_fraction=0.5)
    scored = row({"nll": [0, 1, 1, 1]})
    assert masking.fit(chosen, [scored])["tied_at_threshold"] == 3
    assert keep(chosen, scored) == [True] * 4


def test_a_fraction_of_a_users_perplexities_is_told_in_both_units() -> None:
    chosen = stage(mask_fraction=0.5, scores_from="p")
    state = masking.fit(chosen, [row({"perplexity": [1.5, 2.5, 4.0, 8.0]})])
    assert state["ppl_threshold"] == pytest.approx(2.5)
    assert state["nll_threshold"] == pytest.approx(LOG(2.5))


def test_the_quantile_is_exact_over_many_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    from ppx_stm import quantile

    monkeypatch.setattr(quantile, "BUFFER_VALUES", 100)
    values = np.random.default_rng(0).exponential(size=(50, 37))
    rows = [(row_R, np.ones(37, dtype=np.bool_)) for row_R in values]
    found = quantile.upper_quantile(iter(rows), 0.2)
    assert found.above == int(0.2 * values.size)
    assert found.line == np.sort(values.ravel())[-found.above - 1]
    assert found.total == values.size
