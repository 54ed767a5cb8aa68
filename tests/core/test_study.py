"""A study's analysis against numbers worked out by hand."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest

from ppx_ext import TaskScore
from ppx_ext.study import Arm, Run, Study, analyse, dump_study, load_study


def score(task: Any, right: Any, n: Any, *, target: Any = False) -> Any:
    return TaskScore(task=task, correct=(True,) * right + (False,) * (n - right), target=target)


def run(target: Any, *others: Any, seed: Any = None, n: Any = 100, **numbers: Any) -> Any:
    tasks = [score("t", target, n, target=True)]
    tasks += [score(f"o{i}", right, n) for i, right in enumerate(others)]
    return Run(scores=tuple(tasks), seed=seed, numbers=numbers)


def arm(name: str, rows: Any, **numbers: Any) -> Any:
    runs = [run(*row, seed=seed, **numbers) for seed, row in enumerate(rows)]
    return Arm(name=name, runs=tuple(runs))


FORGETS = [(80, 50, 60), (82, 52, 58), (78, 48, 62), (80, 51, 61), (81, 49, 59), (79, 50, 60)]
KEEPS = [(80, 89, 80), (81, 90, 79), (79, 91, 81), (80, 90, 80), (82, 88, 80), (78, 90, 80)]
STUDY = Study(
    base=run(40, 90, 80),
    arms=(
        arm("SFT", FORGETS, update_norm=2.0, tokens_masked=0.0),
        arm("STM", KEEPS, update_norm=1.0, tokens_masked=0.25),
    ),
)


def test_means_deviations_and_changes_are_recomputed_from_items() -> None:
    found = analyse(STUDY)
    sft, stm = found["arms"]
    assert sft["mean"]["target"] == pytest.approx(80)
    assert sft["sd"]["target"] == pytest.approx(2**0.5)
    assert sft["mean"]["other"] == pytest.approx(55)
    assert sft["mean"]["ti"] == pytest.approx(100)
    assert sft["mean"]["bwt"] == pytest.approx((100 * (50 - 90) / 90 + 100 * (60 - 80) / 80) / 2)
    assert sft["mean"]["drop"] == pytest.approx(30)
    assert stm["mean"]["tasks"]["o0"] == pytest.approx(538 / 6)
    assert stm["mean"]["tokens_masked"] == 0.25
    assert found["base"]["other"] == 85


def test_a_difference_must_hold_over_seeds_and_over_items() -> None:
    found = analyse(STUDY)
    between = found["tests"][-1]
    assert (between["arm"], between["against"]) == ("STM", "SFT")
    assert between["other"]["points"] == pytest.approx(100 * (538 / 6 + 80 - 110) / 200)
    assert between["other"]["significant"]
    assert not between["target"]["significant"]
    assert found["verdict"][0].startswith("On the other tasks, STM scores higher than SFT: 84.8 %")
    assert "significant: 95 % CI +" in found["verdict"][0]
    assert "p = 0.031 over 6 seeds" in found["verdict"][0]
    assert "no difference between STM and SFT could be shown" in found["verdict"][1]


def test_one_test_alone_is_not_enough() -> None:
    """Five seeds can never be significant over seeds, whatever the items say."""
    five = Study(base=STUDY.base, arms=tuple(Arm(name=a.name, runs=a.runs[:5]) for a in STUDY.arms))
    found = analyse(five)
    items, seeds = found["tests"][-1]["other"]["tests"]
    assert items["significant"]
    assert seeds["p"] == pytest.approx(2 / 2**5)
    assert not found["tests"][-1]["other"]["significant"]
    assert "no difference" in found["verdict"][0]
    assert any("5 seeds: the sign-flip test cannot give a p below 0.062" in w
               for w in found["warnings"])  # fmt: skip


def test_smaller_steps_are_told() -> None:
    assert any("0.50 times as far as SFT" in warning for warning in analyse(STUDY)["warnings"])


def test_the_direction_is_told_when_the_mask_does_worse() -> None:
    worse = Study(base=STUDY.base, arms=(STUDY.arms[1], STUDY.arms[0]))
    assert analyse(worse)["verdict"][0].startswith("On the other tasks, SFT scores lower than STM")


def test_undefined_numbers_are_words() -> None:
    zero = Study(base=run(0, 50), arms=(Arm(name="a", runs=(run(10, 40, seed=0),)),))
    found = analyse(zero)
    assert found["arms"][0]["mean"].get("ti") is None
    assert "TI is undefined" in found["warnings"][0]
    assert any(warning.startswith("One seed:") for warning in found["warnings"])
    json.dumps(found, allow_nan=False)


def test_items_are_paired_not_just_counted() -> None:
    """Ten right of twenty each, but on other items: McNemar sees the swaps."""
    ones, zeros = (True,) * 10, (False,) * 10
    before = Run(scores=(TaskScore(task="t", correct=ones + zeros, target=True),))
    after = Run(scores=(TaskScore(task="t", correct=zeros + ones, target=True),), seed=0)
    found = analyse(Study(base=before, arms=(Arm(name="a", runs=(after,)),)))
    test = found["tests"][0]["target"]["tests"][0]
    assert test["test"].startswith("exact McNemar")
    assert test["p"] == 1.0
    assert found["tests"][0]["other"] is None


def test_items_must_match() -> None:
    with pytest.raises(ValueError, match="'t': 100 items for one model and 50"):
        analyse(Study(base=STUDY.base, arms=(Arm(name="a", runs=(run(1, 1, 1, n=50),)),)))


def test_round_trip() -> None:
    assert load_study(json.loads(json.dumps(dump_study(STUDY)))) == STUDY
    with pytest.raises(ValueError, match="not a study"):
        load_study({"base": {}})
    with pytest.raises(ValueError, match="'SFT' of the study has no run"):
        load_study({**dump_study(STUDY), "arms": [{"name": "SFT", "runs": []}]})


def test_equal_arms_are_rarely_told_apart() -> None:
    """Two arms drawn from one distribution: the rule keeps its 5 %."""
    rng = random.Random(0)

    def drawn(name: str) -> Any:
        rows = [(50, rng.randint(40, 60)) for _ in range(6)]
        return arm(name, rows)

    studies = [Study(base=run(50, 50), arms=(drawn("a"), drawn("b"))) for _ in range(20)]
    hits = sum(analyse(study)["tests"][-1]["other"]["significant"] for study in studies)
    assert hits <= 4


def test_arms_are_compared_on_the_seeds_that_both_have() -> None:
    sft, stm = STUDY.arms
    fewer = Arm(name="STM", runs=stm.runs[2:])
    found = analyse(Study(base=STUDY.base, arms=(sft, fewer)))
    between = found["tests"][-1]["target"]
    assert between["seeds"] == 4
    assert between["values"] == pytest.approx([79.5, 79.75])  # seeds 2 to 5 of both
    strangers = Arm(name="STM", runs=(run(80, 90, 80, seed=9),))
    alone = analyse(Study(base=STUDY.base, arms=(sft, strangers)))
    assert [test["against"] for test in alone["tests"]] == ["base", "base"]


def test_many_comparisons_are_corrected_within_their_family() -> None:
    """Six seeds: p is 2 / 64 at best, which two comparisons with the first arm do not survive."""
    third = Arm(name="x", runs=STUDY.arms[1].runs)
    found = analyse(Study(base=STUDY.base, arms=(*STUDY.arms, third)))
    tests = {(test["arm"], test["against"]): test["other"] for test in found["tests"]}
    assert len(tests) == 6
    assert tests["STM", "SFT"]["family"] == tests["x", "SFT"]["family"] == "reference"
    assert tests["x", "STM"]["family"] == "others"
    assert tests["STM", "SFT"]["p"] == pytest.approx(2 / 2**6)
    assert tests["STM", "SFT"]["holm"] == pytest.approx(2 * 2 / 2**6)
    assert tests["STM", "SFT"]["alone"]
    assert not tests["STM", "SFT"]["significant"]
    assert "not significant" in found["verdict"][0]
    assert "p = 0.062 among 2 comparisons (Holm)" in found["verdict"][0]
    assert any(
        "none of the 2 comparisons with the first arm" in warning and "Take 7 seeds" in warning
        for warning in found["warnings"]
    )


def test_the_frontier_has_what_nothing_beats_on_both() -> None:
    found = analyse(STUDY)
    # The base (40, 85), SFT (80, 55), STM (80, 84.8).
    assert found["frontier"] == ["base", "STM"]


def test_arms_of_other_lengths_are_told() -> None:
    short = Arm(name="easy", runs=tuple(run(80, 90, 80, seed=s, steps=25) for s in range(6)))
    long = Arm(name="SFT", runs=tuple(run(80, 90, 80, seed=s, steps=75) for s in range(6)))
    found = analyse(Study(base=STUDY.base, arms=(long, short)))
    assert any("easy trained 25 steps where SFT trained 75" in one for one in found["warnings"])


def test_intervals_hold_the_numbers_that_they_are_of() -> None:
    for arm in analyse(STUDY)["arms"]:
        for key in ("ti", "bwt", "drop"):
            low, high = arm["intervals"][key]
            assert low < arm["mean"][key] < high


def test_items_that_all_change_alike_give_no_interval() -> None:
    same = Study(base=run(40, 90, 80), arms=(arm("SFT", [(40, 90, 80)] * 2),))
    said = analyse(same)["verdict"]
    assert said[1].endswith("not significant: p = 1 over 100 items, p = 1 over 2 seeds).")
    assert said[0] == (
        "On the other tasks, no difference between SFT and the untouched base could be shown: "
        "85.0 % against 85.0 % (+0.0 points; not significant: all 200 items changed by +0.0 "
        "points, so that they give no interval, p = 1 over 2 seeds)."
    )


def test_one_item_is_no_items() -> None:
    one = Study(base=run(0, 0, n=1), arms=(Arm(name="SFT", runs=(run(1, 1, n=1),)),))
    assert all("p = 1 over 1 item)" in said for said in analyse(one)["verdict"])
