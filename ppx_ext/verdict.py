"""What numbers say, in plain words: no more than the tests carry, and the doubts first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ppx_ext.significance import CONFIDENCE, smallest_p, wilson
from ppx_ext.suites import TaskScore

FEW_ITEMS = 100
NEAR_FULL = 98.0
NEAR_NOTHING = 10.0
SMALL_UPDATE = 0.8

Json = Mapping[str, Any]


def percent(value: float | None, *, sign: bool = False) -> str:
    """For instance ``81.2 %``, ``+3.0 %`` or ``undefined``."""
    if value is None:
        return "undefined"
    rounded = round(value, 1) + 0.0  # no "-0.0"
    return f"{rounded:+.1f} %" if sign else f"{rounded:.1f} %"


def points(value: float) -> str:
    """For instance ``+3.0 points``."""
    return f"{round(value, 1) + 0.0:+.1f} points"


def sentences(base: Json, arms: Sequence[Json], tests: Sequence[Json]) -> list[str]:
    """The verdict: comparisons of arms first, then each arm against the base."""
    means = {"base": base, **{arm["name"]: arm["mean"] for arm in arms}}
    between = [test for test in tests if test["against"] != "base"]
    against_base = [test for test in tests if test["against"] == "base"]
    return [
        sentence
        for test in (*between, *against_base)
        for key in ("other", "target")
        if (sentence := _sentence(test, key, means))
    ]


def _sentence(test: Json, key: str, means: Mapping[str, Json]) -> str | None:
    found = test[key]
    if found is None:
        return None
    arm, against = test["arm"], test["against"]
    where = "On the target task" if key == "target" else "On the other tasks"
    new, old = means[arm][key], means[against][key]
    if found["significant"]:
        direction = "higher" if found["points"] > 0 else "lower"
        said = f"{arm} scores {direction} than {_name(against)}"
    else:
        said = f"no difference between {arm} and {_name(against)} could be shown"
    return (
        f"{where}, {said}: {percent(new)} against {percent(old)} ({points(found['points'])}; "
        f"{_why(found)})."
    )


def _name(arm: str) -> str:
    return "the untouched base" if arm == "base" else arm


def _why(found: Json) -> str:
    verdict = "significant" if found["significant"] else "not significant"
    return f"{verdict}: {', '.join(map(chance, found['tests']))}"


def chance(test: Json) -> str:
    """One test in words, for instance ``p = 0.031 over 6 seeds``; intervals in points."""
    over = test["test"].rpartition(" ")[2]
    if test["p"] is not None:
        return f"p = {test['p']:.2g} over {test['n']:,} {over}"
    return f"95 % CI {test['low']:+.1f} to {test['high']:+.1f} over {test['n']:,} {over}"


def warnings(base: Json, arms: Sequence[Json], scores: Sequence[TaskScore]) -> list[str]:
    """What a reader must know before believing a number; ``scores`` are the base's."""
    return [
        *dict.fromkeys(reason for arm in arms for reason in arm["undefined"]),
        *_seed_warnings(arms),
        *_item_warnings(scores),
        *_room_warnings(base, scores),
        *_update_warnings(arms),
    ]


def _seed_warnings(arms: Sequence[Json]) -> list[str]:
    seeds = max((arm["n"] for arm in arms), default=0)
    if seeds == 1:
        return [
            "One seed: tests over items say whether these models differ, nothing here says whether "
            "another run would come out the same."
        ]
    if smallest_p(seeds) >= 1 - CONFIDENCE:
        return [
            f"{seeds} seeds: the sign-flip test cannot give a p below {smallest_p(seeds):.2g}, so "
            "no difference can be significant over seeds here, however large. Take 6 or more."
        ]
    return []


def _item_warnings(scores: Sequence[TaskScore]) -> list[str]:
    few = [score for score in scores if len(score.correct) < FEW_ITEMS]
    if not few:
        return []
    least = min(few, key=lambda score: len(score.correct))
    low, high = wilson(len(least.correct) // 2, len(least.correct))
    names = ", ".join(score.task for score in few)
    return [
        f"Few items ({names}): an accuracy near one half over {len(least.correct)} items is known "
        f"only to within {50 * (high - low):.0f} points either way (95 % Wilson interval)."
    ]


def _room_warnings(base: Json, scores: Sequence[TaskScore]) -> list[str]:
    found = []
    if any(score.target and 100 * score.accuracy >= NEAR_FULL for score in scores):
        found.append("The base is already near full marks on the target: there is little to gain.")
    low = [s.task for s in scores if not s.target and 100 * s.accuracy < NEAR_NOTHING]
    if low:
        found.append(
            f"The base can hardly do {', '.join(low)}: there is little to forget, and BWT weighs "
            "every item there heavily."
        )
    return found


def _update_warnings(arms: Sequence[Json]) -> list[str]:
    moved = {arm["name"]: arm["mean"].get("update_norm") for arm in arms}
    first, *others = moved.items()
    return [
        f"{name} moved the weights {norm / first[1]:.2f} times as far as {first[0]} (L2 norm): "
        "part of any difference can come from the smaller step alone. Controls: a lower learning "
        "rate for the reference, or (for a mask) the masks `random` and `lowest`."
        for name, norm in others
        if first[1] and norm and norm < SMALL_UPDATE * first[1]
    ]
