"""Numbers about learning and forgetting, always recomputed from raw scores.

TI and BWT are those of the STM paper (arXiv 2501.14315, section 4.1): relative changes against the
base, in percent. The average drop in points is that of S3FT (arXiv 2502.08130, Table 4). Their
95 % intervals are of a paired bootstrap: items are drawn anew within each task, the same for both
models, and the number is recomputed from what was drawn.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

from ppx_ext.significance import interval, resampled
from ppx_ext.suites import TaskScore

if TYPE_CHECKING:
    import numpy.typing as npt

    Drawn: TypeAlias = npt.NDArray[Any]

Interval: TypeAlias = tuple[float, float]


class ZeroBaseError(ValueError):
    """A relative change is undefined because the base scored nothing on a task."""

    def __init__(self, metric: str, tasks: Sequence[str]) -> None:
        named = ", ".join(repr(task) for task in tasks)
        super().__init__(
            f"{metric} is undefined: the base scores 0 on {named}, and a change relative to zero "
            "has no value. Compare accuracies in points, or leave the task out."
        )


def target_improvement(before: float, after: float, *, task: str = "target") -> float:
    """TI = 100 (R1 - R0) / R0, in percent of the base's score.

    Raises:
        ZeroBaseError: ``before`` is 0.
    """
    if before == 0:
        raise ZeroBaseError("TI", [task])
    return 100 * (after - before) / before


def backward_transfer(before: Mapping[str, float], after: Mapping[str, float]) -> float:
    """BWT: mean over the non-target tasks of 100 (R1 - R0) / R0, in percent; below 0 = forgetting.

    Raises:
        ZeroBaseError: the base scores 0 on a task (all such tasks are named).
        ValueError: no task, or the two do not name the same tasks.
    """
    _check_tasks(before, after)
    if zero := [task for task, score in before.items() if score == 0]:
        raise ZeroBaseError("BWT", zero)
    return 100 * sum((after[t] - r) / r for t, r in before.items()) / len(before)


def average_drop(before: Mapping[str, float], after: Mapping[str, float]) -> float:
    """Mean loss of accuracy over the non-target tasks in points (percent); above 0 = forgetting.

    Raises:
        ValueError: no task, or the two do not name the same tasks.
    """
    _check_tasks(before, after)
    return 100 * sum(before[task] - after[task] for task in before) / len(before)


def _check_tasks(before: Mapping[str, float], after: Mapping[str, float]) -> None:
    if before.keys() != after.keys():
        odd = ", ".join(sorted(before.keys() ^ after.keys()))
        raise ValueError(f"the two models were not measured on the same tasks; only one has: {odd}")
    if not before:
        raise ValueError("no task besides the target was measured, so forgetting is unknown")


@dataclass(frozen=True, kw_only=True)
class Change:
    """A tuned model against its base.

    Attributes:
        ti, bwt: in percent; None where undefined, and ``undefined`` then says why.
        drop: average loss on the other tasks, in points; None where there is no other task.
        undefined: one sentence for each number that has no value.
    """

    ti: float | None
    bwt: float | None
    drop: float | None
    undefined: tuple[str, ...] = ()


def change(before: Sequence[TaskScore], after: Sequence[TaskScore]) -> Change:
    """TI, BWT and average drop of ``after`` against ``before``; undefined ones in words, never inf.

    Several target tasks give the mean of their TIs.

    Raises:
        ValueError: the two were not measured on the same tasks, or on as many items.
    """
    pairs = pair(before, after)
    reasons: list[str] = []

    def value(function: Any, target: bool) -> float | None:
        old = {a.task: a.accuracy for a, _ in pairs if a.target == target}
        new = {b.task: b.accuracy for _, b in pairs if b.target == target}
        try:
            return float(function(old, new))
        except ValueError as error:
            if str(error) not in reasons:
                reasons.append(str(error))
            return None

    return Change(
        ti=value(_mean_improvement, True),
        bwt=value(backward_transfer, False),
        drop=value(average_drop, False),
        undefined=tuple(reasons),
    )


def _mean_improvement(before: Mapping[str, float], after: Mapping[str, float]) -> float:
    if not before:
        raise ValueError("TI is undefined: no task is marked as the target")
    return sum(target_improvement(r, after[t], task=t) for t, r in before.items()) / len(before)


@dataclass(frozen=True, kw_only=True)
class Intervals:
    """95 % intervals of the numbers of a `Change`, each in its unit.

    Attributes:
        ti, bwt, drop: (low, high); None where there is none.
        undefined: one sentence for each that could have been one and has no value.
    """

    ti: Interval | None = None
    bwt: Interval | None = None
    drop: Interval | None = None
    undefined: tuple[str, ...] = field(default=())


def intervals(
    before: Sequence[TaskScore], after: Sequence[TaskScore], *, seed: int = 0
) -> Intervals:
    """What chance allows for TI, BWT and average drop: a paired bootstrap over items.

    Args:
        before, after: of the base and of the tuned model.
        seed: of the resampling.

    Raises:
        ValueError: as `change`.
    """
    pairs = pair(before, after)
    reasons: list[str] = []
    ti = _resampled(pairs, True, seed, reasons, "TI")
    others = _resampled(pairs, False, seed, reasons, "BWT and average drop")
    return Intervals(
        ti=None if ti is None else _relative("TI", *ti, reasons),
        bwt=None if others is None else _relative("BWT", *others, reasons),
        drop=None if others is None else interval(100 * (others[0] - others[1]).mean(axis=1)),
        undefined=tuple(reasons),
    )


def _resampled(
    pairs: Sequence[tuple[TaskScore, TaskScore]],
    target: bool,
    seed: int,
    reasons: list[str],
    metric: str,
) -> tuple[Drawn, Drawn] | None:
    chosen = [(a, b) for a, b in pairs if a.target == target]
    if not chosen:
        return None
    if single := [a.task for a, _ in chosen if len(a.correct) == 1]:
        reasons.append(f"{metric} has no interval: {single[0]!r} has a single item")
        return None
    return resampled([(a.correct, b.correct) for a, b in chosen], seed=seed)


def _relative(
    metric: str, before_RT: Drawn, after_RT: Drawn, reasons: list[str]
) -> Interval | None:
    if not before_RT.any(axis=0).all():
        return None  # the change itself is undefined, and says so
    if not before_RT.all():
        reasons.append(
            f"{metric} has no interval: the base has so little right that it scores 0 on some "
            "draws of the items, and a change relative to zero has no value"
        )
        return None
    return interval((100 * (after_RT - before_RT) / before_RT).mean(axis=1))


def pair(
    before: Sequence[TaskScore], after: Sequence[TaskScore]
) -> list[tuple[TaskScore, TaskScore]]:
    """The scores of two models side by side.

    Raises:
        ValueError: tasks or numbers of items differ (the task is named).
    """
    other = {score.task: score for score in after}
    if odd := sorted({score.task for score in before} ^ other.keys()):
        raise ValueError(f"the two models were not measured on the same tasks: {', '.join(odd)}")
    for score in before:
        prints = {score.fingerprint, other[score.task].fingerprint} - {""}
        if len(prints) > 1:
            raise ValueError(
                f"task {score.task!r}: the two models were given different items; measure both on "
                "the same"
            )
        if len(score.correct) != len(other[score.task].correct):
            raise ValueError(
                f"task {score.task!r}: {len(score.correct)} items for one model and "
                f"{len(other[score.task].correct)} for the other; measure both on the same items"
            )
    return [(score, other[score.task]) for score in before]


def frontier(means: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Names whose ``target`` and ``other`` (accuracies) no other reaches both of, and beats one."""
    points = {
        name: (mean["target"], mean["other"])
        for name, mean in means.items()
        if mean.get("target") is not None and mean.get("other") is not None
    }

    def beaten(mine: tuple[float, float]) -> bool:
        return any(
            other != mine and other[0] >= mine[0] and other[1] >= mine[1]
            for other in points.values()
        )

    return [name for name, mine in points.items() if not beaten(mine)]
