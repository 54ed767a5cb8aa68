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


def sentences(tests: Sequence[Json]) -> list[str]:
    """The verdict: against the first arm, against the base, and then every other pair of arms."""
    order = ("reference", "base", "others")
    found = [
        (order.index(test[key]["family"]), _sentence(test, key))
        for test in tests
        for key in ("other", "target")
        if test[key] is not None
    ]
    return [sentence for _, sentence in sorted(found, key=lambda one: one[0])]


def _sentence(test: Json, key: str) -> str:
    found = test[key]
    arm, against = test["arm"], test["against"]
    where = "On the target task" if key == "target" else "On the other tasks"
    old, new = found["values"]
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
    said = f"{verdict}: {', '.join(map(chance, found['tests']))}"
    if not found["alone"] or found["comparisons"] == 1:
        return said
    return f"{said}; p = {found['holm']:.2g} among {found['comparisons']} comparisons (Holm)"


def chance(test: Json) -> str:
    """One test in words, for instance ``p = 0.031 over 6 seeds``; intervals in points."""
    over = test["test"].rpartition(" ")[2]
    over = f"{test['n']:,} {over if test['n'] != 1 else over.removesuffix('s')}"
    if test["p"] is not None:
        return f"p = {test['p']:.2g} over {over}"
    if test["low"] == test["high"]:  # items drawn anew are the same ones: no interval in truth
        return f"all {over} changed by {points(test['low'])}, so that they give no interval"
    return f"95 % CI {test['low']:+.1f} to {test['high']:+.1f} over {over}"


def warnings(
    base: Json, arms: Sequence[Json], tests: Sequence[Json], scores: Sequence[TaskScore]
) -> list[str]:
    """What a reader must know before believing a number; ``scores`` are the base's."""
    return [
        *dict.fromkeys(reason for arm in arms for reason in arm["undefined"]),
        *_seed_warnings(arms, tests),
        *_item_warnings(scores),
        *_room_warnings(base, scores),
        *_step_warnings(arms),
        *_update_warnings(arms),
    ]


def _seed_warnings(arms: Sequence[Json], tests: Sequence[Json]) -> list[str]:
    seeds = max((arm["n"] for arm in arms), default=0)
    if seeds == 1:
        return [
            "One seed: tests over items say whether these models differ, nothing here says whether "
            "another run would come out the same."
        ]
    least, level = smallest_p(seeds), 1 - CONFIDENCE
    if least >= level:
        return [
            f"{seeds} seeds: the sign-flip test cannot give a p below {least:.2g}, so "
            "no difference can be significant over seeds here, however large. Take 6 or more."
        ]
    return [
        f"{seeds} seeds: the sign-flip test cannot give a p below {least:.2g}, so that none of "
        f"the {count} comparisons {_FAMILY[family]} can be significant: Holm's "
        f"correction begins at {level / count:.2g}. Take {_seeds_for(level / count)} seeds."
        for family, count in _families(tests).items()
        if least * count >= level
    ]


_FAMILY = {
    "reference": "with the first arm",
    "base": "with the base",
    "others": "of all other pairs",
}


def _families(tests: Sequence[Json]) -> dict[str, int]:
    found = [test[key] for test in tests for key in ("other", "target") if test[key]]
    return {one["family"]: one["comparisons"] for one in found}


def _seeds_for(level: float) -> int:
    return next(seeds for seeds in range(2, 64) if smallest_p(seeds) < level)


def _step_warnings(arms: Sequence[Json]) -> list[str]:
    """Arms that saw fewer or more rows."""
    steps = {arm["name"]: arm["mean"].get("steps") for arm in arms}
    first, *others = steps.items()
    return [
        f"{name} trained {number:g} step{'' if number == 1 else 's'} where {first[0]} trained "
        f"{first[1]:g}: part of any difference can come from that alone."
        for name, number in others
        if first[1] and number and number != first[1]
    ]


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
        "rate for the reference, `sft_matched`, or (for a mask) the masks `random` and `lowest`."
        for name, norm in others
        if first[1] and norm and norm < SMALL_UPDATE * first[1] and "@lr=" not in name
    ]
