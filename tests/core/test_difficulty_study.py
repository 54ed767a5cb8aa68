"""The study's numbers: gaps, intervals and judgements, each against a case computed by hand."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Any

import pytest

from ppx_ext.difficulty_study import report
from ppx_ext.difficulty_study.jobs import distances, training_rows
from ppx_ext.difficulty_study.jobs import test_rows as rows_of_test
from ppx_ext.difficulty_study.measuring import answered, gaps, solved, total_variation
from ppx_ext.difficulty_study.observations import interval, observe
from ppx_ext.difficulty_study.protocol import (
    DFT,
    EASY,
    HARD,
    MEDIUM,
    SFT,
    SIZES,
    STM,
    STRONG,
    WEAK,
    hash_of,
)
from ppx_ext.difficulty_study.table import Table
from ppx_ext.problems import Settings, distinct

TINY = SIZES["tiny"]  # slices 1, 2, 3, one a range; n = 4 and 8
PLACES = {EASY: 0, MEDIUM: 1, HARD: 2}
Json = dict[str, Any]
Shares = tuple[float, float, float]


def slices(shares: Shares, nll: Shares) -> Json:
    return {
        str(ops): {
            "solved": [int(place < share * 100) for place in range(100)],
            "answered": [0] * 100,
            "nll": [loss] * 100,
        }
        for ops, share, loss in zip((1, 2, 3), shares, nll, strict=True)
    }


def results(value: Callable[..., Shares], *, seeds: int, nll: Callable[..., Shares]) -> Json:
    """Results of every cell: ``value(base, arm, range, n, seed)`` is solved in each slice."""
    runs = []
    for cell in TINY.cells(seeds):
        key = (cell.base, cell.arm, cell.range, cell.n, cell.seed)
        runs.append(
            {
                "base": cell.base, "arm": cell.arm, "range": cell.range, "n": cell.n,
                "seed": cell.seed, "slices": slices(value(*key), nll(*key)), "update_norm": 1.0,
                **distances(TINY, cell.range, slices(value(*key), nll(*key)), [0.25, 0.75]),
            }
        )  # fmt: skip
    weak, strong = slices((0.5, 0.3, 0.1), (1.0, 1.0, 1.0)), slices((0.6, 0.4, 0.2), (0.9,) * 3)
    return {"bases": {WEAK: {"slices": weak}, STRONG: {"slices": strong}}, "runs": runs}


def as_the_paper_says(base: str, arm: str, name: str, n: int, seed: int) -> Shares:
    """Solved shares under which all six observations hold; the seed adds a little noise."""
    noise = 0.01 * (seed % 2)
    if arm == DFT:
        shift = 0.02 if n == 4 else -0.1
        return tuple(x + shift for x in as_the_paper_says(base, SFT, name, n, seed))  # type: ignore[return-value]
    if name == EASY:
        return (0.7 + noise, 0.3, 0.04)
    if name == MEDIUM:
        return (0.7 + noise, 0.5, 0.3)
    few = (0.3 + noise, 0.2, 0.06)
    return (0.9, 0.9, 0.9) if base == STRONG else few if n == 4 else (0.5, 0.5, 0.3)


def flat(*key: object) -> Shares:
    return (1.0, 1.0, 1.0)


def judge(found: Json, seeds: int) -> dict[int, Any]:
    return {one.number: one for one in observe(Table(TINY, found, seeds=seeds))}


def test_gaps_of_three_losses() -> None:
    found = gaps(train=0.5, own=0.75, test=2.0)
    assert (found.generalization, found.extrapolation) == (0.25, 1.25)


def test_distances_by_hand() -> None:
    """Range medium is slice 2 alone: own = 0.8; test = (0.2 + 0.8 + 2.0) / 3 = 1; train = 0.5."""
    found = distances(TINY, MEDIUM, slices((0, 0, 0), (0.2, 0.8, 2.0)), [0.25, 0.75])
    assert found["losses"] == pytest.approx({"train": 0.5, "own": 0.8, "test": 1.0})
    assert found["gaps"] == pytest.approx({"generalization": 0.3, "extrapolation": 0.2})
    assert found["total_variation"] == pytest.approx(2 / 3)


def test_total_variation_by_hand() -> None:
    assert total_variation({1: 2.0, 2: 2.0}, {2: 1.0, 3: 3.0}) == pytest.approx(0.75)
    assert total_variation({1: 5.0}, {1: 2.0}) == 0
    assert total_variation({1: 5.0}, {2: 2.0}) == 1


def test_interval_by_hand() -> None:
    """Mean 2, standard deviation 1, three seeds: 2 -+ 4.3027 / sqrt(3)."""
    found = interval([1.0, 2.0, 3.0])
    reach = 4.302653 / math.sqrt(3)
    assert (found.low, found.high) == pytest.approx((2 - reach, 2 + reach), rel=1e-6)
    assert found.outcome == "open"
    assert interval([1.9, 2.0, 2.1]).outcome == "holds"
    assert interval([-1.9, -2.0, -2.1]).outcome == "fails"
    assert interval([2.0, 2.0]).outcome == "holds"
    assert interval([0.0, 0.0]).outcome == "open"
    assert interval([5.0]).outcome == "open"


def test_all_six_are_reproduced_where_the_numbers_say_so() -> None:
    found = judge(results(as_the_paper_says, seeds=4, nll=flat), 4)
    assert {number: found[number].verdict for number in range(1, 7)} == dict.fromkeys(
        range(1, 7), "reproduced"
    )
    assert all(claim.by == "accuracy" for one in found.values() for claim in one.claims
               if "accuracy" in claim.intervals)  # fmt: skip
    few = found[1].claims[0].intervals["accuracy"]
    assert few.mean == pytest.approx(0.5 - 0.305)  # the base's less the mean of 0.30 and 0.31


def test_none_is_reproduced_where_the_numbers_say_the_opposite() -> None:
    def opposite(base: str, arm: str, name: str, n: int, seed: int) -> Shares:
        place = 2 - PLACES[name] if base == STRONG else PLACES[name]
        up = 0.02 * (seed % 2)
        shift = (-0.1 if n == 4 else 0.1) if arm == DFT else 0.0
        level = 0.7 + 0.05 * place + shift + up
        return (level, level, 0.4 if name == MEDIUM else level)

    found = judge(results(opposite, seeds=4, nll=flat), 4)
    assert {number: found[number].verdict for number in range(1, 7)} == dict.fromkeys(
        range(1, 7), "not reproduced"
    )


def test_no_difference_is_not_significant() -> None:
    found = judge(results(lambda *key: (0.5, 0.3, 0.1), seeds=4, nll=flat), 4)
    assert {one.verdict for one in found.values()} == {"not significant"}


def test_one_seed_decides_nothing() -> None:
    found = judge(results(as_the_paper_says, seeds=1, nll=flat), 1)
    assert {one.verdict for one in found.values()} == {"not significant"}


def test_a_strong_base_that_is_not_stronger_tests_nothing() -> None:
    made = results(as_the_paper_says, seeds=4, nll=flat)
    made["bases"][STRONG] = made["bases"][WEAK]
    found = judge(made, 4)[4]
    assert found.verdict == "not significant"
    assert "not better" in found.note


def test_at_the_floor_nll_is_judged() -> None:
    def losses(base: str, arm: str, name: str, n: int, seed: int) -> Shares:
        level = 1.0 - 0.1 * (arm == DFT) + 0.001 * seed
        return (level, level, level)

    made = results(lambda *key: (0.04, 0.04, 0.04), seeds=3, nll=losses)
    found = judge(made, 3)
    (claim,) = found[5].claims
    assert claim.by == "nll"
    assert claim.intervals["nll"].mean == pytest.approx(0.1)
    assert found[5].verdict == "reproduced"
    assert found[6].verdict == "not reproduced"


def test_a_band_is_at_its_floor_by_itself() -> None:
    def value(base: str, arm: str, name: str, n: int, seed: int) -> Shares:
        return (0.4, 0.2, 0.0)

    made = results(value, seeds=3, nll=flat)
    made["bases"][WEAK]["slices"]["3"]["solved"] = [0] * 100
    assert [claim.by for claim in judge(made, 3)[1].claims] == ["accuracy", "accuracy", "nll"]


def test_the_report_shows_what_was_measured() -> None:
    made = results(as_the_paper_says, seeds=2, nll=flat)
    found = report.collect(protocol=TINY, size="tiny", seeds=2, results=made)
    keys = [(c["base"], c["arm"], c["range"], c["n"]) for c in found["cells"]]
    assert len(keys) == len(set(keys)) == 24
    cell = next(c for c in found["cells"] if (c["base"], c["arm"], c["range"], c["n"])
                == (WEAK, SFT, EASY, 4))  # fmt: skip
    assert cell["slice_gains"]["accuracy"] == pytest.approx([0.205, 0.0, -0.06])
    assert cell["gain"]["accuracy"]["mean"] == pytest.approx(0.145 / 3)
    assert cell["gain"]["accuracy"]["sd"] == pytest.approx(0.01 / 3 / math.sqrt(2))
    best = {(o["base"], o["n"]): o["best"]["accuracy"] for o in found["optima"]}
    assert best == {(WEAK, 4): MEDIUM, (WEAK, 8): MEDIUM, (STRONG, 4): HARD, (STRONG, 8): HARD}
    page = report.render(found)
    assert page.count("<svg") == 10
    assert "http" not in page.replace('xmlns="http', "")
    for one in found["observations"]:
        assert one["words"] in page


@pytest.mark.parametrize("size", SIZES)
def test_a_protocol_is_whole(size: str) -> None:
    protocol = SIZES[size]
    cells = list(protocol.cells(2))
    assert len(cells) == len({cell.name for cell in cells})
    assert [cell.seed for cell in cells] == sorted(cell.seed for cell in cells)
    assert {cell.arm for cell in cells} == {SFT, DFT, STM}
    assert protocol.steps * protocol.batch == protocol.budgets[-1]  # one epoch of the largest n
    widths = {high - low for low, high in protocol.ranges.values()}
    assert len(widths) == 1
    bands = [protocol.slices_of(name) for name in protocol.ranges]
    assert sorted(itertools.chain(*bands)) == list(protocol.slices)
    low, high = protocol.ranges[EASY]  # distinct problems of few operations are scarce
    most = math.ceil(protocol.budgets[-1] / (high - low + 1))
    scarce = Settings(ops=(low, low), modulus=protocol.modulus)
    assert len(distinct(scarce, count=most, seed=0)) == most
    assert {len(rows) for rows in rows_of_test(protocol).values()} == {protocol.test_items}


def test_a_protocol_is_told_from_another() -> None:
    hashes = {hash_of(protocol) for protocol in SIZES.values()}
    assert len(hashes) == len(SIZES)


def test_training_and_test_share_no_problem() -> None:
    protocol = SIZES["small"]
    train = {row["prompt"] for name in protocol.ranges
             for row in training_rows(protocol, name, 640, 0)}  # fmt: skip
    test = {row["prompt"] for rows in rows_of_test(protocol).values() for row in rows}
    assert not train & test
    assert len(train) == 3 * 640


def test_solved_is_every_step_and_answered_the_last_line() -> None:
    row = {"response": "Ann = 2 * 5 = 3. The answer is 3.", "answer": "3"}
    spaced = "Ann = 2 * 5 = 3 . The answer is 3 ."
    assert solved(row, spaced)
    assert answered(row, spaced)
    guessed = "Ann = 2 * 5 = 4 . The answer is 3 ."
    assert not solved(row, guessed)
    assert answered(row, guessed)
    assert not answered(row, "The answer is 33 .")
    assert not answered(row, "Ann = 3 .")
