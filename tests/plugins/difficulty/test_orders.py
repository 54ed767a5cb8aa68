"""Curriculum and remove_tail: the order that is asked for, each row once in an epoch."""

from __future__ import annotations

from typing import Any

import numpy as np
import pydantic
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from ppx_difficulty.curriculum import CurriculumSettings
from ppx_difficulty.tails import TailSettings
from ppx_ext import Candidates, Choice
from tests.plugins.difficulty.pools import alive, choose, pool, pools

SEEDS = st.integers(0, 2**31)


def passes(choice: Choice) -> list[Any]:
    ends = np.cumsum(choice.numbers["rows_of_each_epoch"])
    assert ends[-1] == len(choice.index_K)
    return np.split(choice.index_K, ends[:-1])


@given(pools(), st.integers(1, 3), st.sampled_from(["easy_to_hard", "hard_to_easy"]), SEEDS)
def test_every_epoch_goes_through_all_rows_in_order(
    candidates: Candidates, epochs: int, order: str, seed: int
) -> None:
    found = choose("curriculum", candidates, seed, order=order, epochs=epochs)
    assert found.ordered
    assert (found.epochs, len(passes(found))) == (epochs, epochs)
    sign = 1 if order == "easy_to_hard" else -1
    for one in passes(found):
        assert sorted(one) == alive(candidates).tolist()
        assert (sign * np.diff(candidates.score_N[one]) >= 0).all()


@given(pools(), st.floats(0, 0.9), SEEDS)
def test_replay_puts_a_share_off_and_leaves_the_rest_in_order(
    candidates: Candidates, share: float, seed: int
) -> None:
    found = choose("curriculum", candidates, seed, replay=share)
    rows = len(found.index_K)
    assert sorted(found.index_K) == alive(candidates).tolist()
    # Without the rows that were put off, what is left still climbs: a climbing part of that length.
    climbing = _longest_climb(candidates.score_N[found.index_K].tolist())
    assert climbing >= rows - round(share * rows)


def _longest_climb(values: list[float]) -> int:
    import bisect

    ends: list[float] = []
    for value in values:
        at = bisect.bisect_right(ends, value)
        ends[at : at + 1] = [value]
    return len(ends)


def test_rows_are_put_off_and_never_brought_forward() -> None:
    found = choose("curriculum", pool(range(1000)), 3, replay=0.3)
    place = np.empty(1000, dtype=int)
    place[found.index_K] = np.arange(1000)
    # Others move forward only by what was put off before them.
    assert (np.arange(1000) - place).max() <= 300
    late = (place - np.arange(1000)) > 300
    assert 50 < late.sum() <= 300


@given(pools(least=8), st.integers(2, 4), st.sampled_from([0.0, 0.2, 0.5]), SEEDS)
def test_stages_are_bands_that_share_no_row_but_what_is_replayed(
    candidates: Candidates, epochs: int, replay: float, seed: int
) -> None:
    there = alive(candidates)
    edges = [round(band / epochs * len(there)) for band in range(epochs + 1)]
    assume(len(set(edges)) == len(edges))
    found = choose("curriculum", candidates, seed, order="staged", epochs=epochs, replay=replay)
    before: set[int] = set()
    hardest = -np.inf
    for one in passes(found):
        assert len(set(one)) == len(one)
        new = [at for at in one if at not in before]
        again = len(one) - len(new)
        assert again == min(round(replay / (1 - replay) * len(new)), len(before))
        assert candidates.score_N[new].min() >= hardest
        hardest = candidates.score_N[new].max()
        before |= set(new)
    assert before == set(there)
    assert found.notes == (
        f"staged: the {epochs} epochs have "
        + ", ".join(str(len(one)) for one in passes(found))
        + " rows",
    )


@given(pools(), SEEDS)
def test_the_same_seed_gives_the_same_order(candidates: Candidates, seed: int) -> None:
    given_: dict[str, Any] = {"epochs": 2, "replay": 0.3}
    one, two = (choose("curriculum", candidates, seed, **given_) for _ in range(2))
    np.testing.assert_array_equal(one.index_K, two.index_K)
    left, right = (
        choose("remove_tail", candidates, seed, drop="hardest", share=0.2) for _ in range(2)
    )
    np.testing.assert_array_equal(left.index_K, right.index_K)


def test_a_stage_is_shuffled_within() -> None:
    found = choose("curriculum", pool(range(100)), order="staged", epochs=2)
    first, second = passes(found)
    assert sorted(first) == list(range(50))
    assert list(first) != list(range(50))
    assert sorted(second) == list(range(50, 100))


@given(pools(), st.sampled_from(["hardest", "easiest"]), st.floats(0.01, 0.99), SEEDS)
def test_one_tail_is_dropped_and_the_rest_stays(
    candidates: Candidates, drop: str, share: float, seed: int
) -> None:
    there = alive(candidates)
    edge = round((1 - share) * len(there)) if drop == "hardest" else round(share * len(there))
    kept = edge if drop == "hardest" else len(there) - edge
    if not kept:
        with pytest.raises(ValueError, match="what is left is empty"):
            choose("remove_tail", candidates, seed, drop=drop, share=share)
        return
    found = choose("remove_tail", candidates, seed, drop=drop, share=share)
    assert len(found.index_K) == kept
    assert (np.diff(found.index_K) > 0).all()
    scores = np.sort(candidates.score_N[there])
    wanted = scores[:kept] if drop == "hardest" else scores[-kept:]
    np.testing.assert_array_equal(np.sort(candidates.score_N[found.index_K]), wanted)
    assert bool(found.notes) == (kept == len(there))


def test_tails_by_hand() -> None:
    candidates = pool([5, 1, 4, 2, 3, 6])
    hard = choose("remove_tail", candidates, drop="hardest")
    assert hard.index_K.tolist() == [1, 2, 3, 4]
    assert hard.left_out == {"the hardest": 2}
    easy = choose("remove_tail", candidates, drop="easiest", share=0.5)
    assert easy.index_K.tolist() == [0, 2, 5]
    assert easy.window == (0.5, 1.0)


def test_nothing_to_order_by_and_too_few_rows_for_the_stages() -> None:
    for name, settings in (("curriculum", {}), ("remove_tail", {"drop": "hardest"})):
        with pytest.raises(ValueError, match=rf"`{name}` has nothing to order by"):
            choose(name, pool([2, 2]), **settings)
    with pytest.raises(ValueError, match=r"band \d of 5 is empty"):
        choose("curriculum", pool([1, 2, 3]), order="staged", epochs=5)


def test_settings_that_make_no_sense() -> None:
    for settings in ({"order": "staged"}, {"replay": 1.0}, {"epochs": 0}, {"order": "random"}):
        with pytest.raises(pydantic.ValidationError):
            CurriculumSettings.model_validate(settings)
    for tail in ({}, {"drop": "hardest", "share": 0.0}, {"drop": "both"}):
        with pytest.raises(pydantic.ValidationError):
            TailSettings.model_validate(tail)
