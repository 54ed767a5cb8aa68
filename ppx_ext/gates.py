"""How much may be forgotten: two evaluations against the limits of a gate, and the best of many.

A drop is what a task lost against the untouched model, in points of accuracy (percent); the average
is that of arXiv 2502.08130, Table 4, over the tasks that are not trained on.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from ppx_ext.eval_plan import Gate
from ppx_ext.metrics import pair
from ppx_ext.significance import paired_bootstrap
from ppx_ext.suites import Score, TaskScore

AVERAGE = "average"


@dataclass(frozen=True, kw_only=True)
class Drop:
    """What one task, or the average of those not trained on, lost, beside its limit.

    Attributes:
        name: of the task, or `AVERAGE`.
        drop: in points; below 0 is a gain.
        limit: of the gate, in points.
        low, high: paired 95 % interval over items; None for a task of one item.
        breached: whether it is beyond the limit, as the gate goes by it.
    """

    name: str
    drop: float
    limit: float
    low: float | None
    high: float | None
    breached: bool

    @property
    def words(self) -> str:
        """For instance ``law lost 7.5 points (95 % CI +1.2 to +13.8), more than 5.0 allow``."""
        verb = "gained" if self.drop < 0 else "lost"
        what = (
            f"the other tasks {verb} on average" if self.name == AVERAGE else f"{self.name} {verb}"
        )
        found = f"{what} {_number(abs(self.drop))} points ({self._interval()})"
        if self.breached:
            return f"{found}, more than the {self.limit:.1f} that the gate allows"
        beyond = ", beyond it but not beyond chance" if self.drop > self.limit else ""
        return f"{found}; the gate allows {self.limit:.1f}{beyond}"

    def _interval(self) -> str:
        if self.low is None or self.high is None:
            return "one item, so no interval"
        low, high = (0.0 - self.high, 0.0 - self.low) if self.drop < 0 else (self.low, self.high)
        return f"95 % CI {low:+.1f} to {high:+.1f}"

    def dump(self) -> dict[str, Any]:
        """As plain JSON values."""
        return {
            "name": self.name,
            "drop": self.drop,
            "limit": self.limit,
            "low": self.low,
            "high": self.high,
            "breached": self.breached,
            "words": self.words,
        }


@dataclass(frozen=True, kw_only=True)
class Checked:
    """An evaluation against a gate: every drop that has a limit, the average first."""

    drops: tuple[Drop, ...]

    @property
    def breaches(self) -> tuple[Drop, ...]:
        """The drops beyond their limits."""
        return tuple(drop for drop in self.drops if drop.breached)

    @property
    def ok(self) -> bool:
        """Whether none is."""
        return not self.breaches

    @property
    def words(self) -> str:
        """One sentence: what breached the gate; or, where nothing did, how far it is."""
        said = "; ".join(drop.words for drop in (self.breaches or self.drops))
        return f"The gate {'holds' if self.ok else 'is breached'}: {said}."

    def dump(self) -> dict[str, Any]:
        """As plain JSON values."""
        return {
            "ok": self.ok,
            "words": self.words,
            "drops": [drop.dump() for drop in self.drops],
        }


def check(gate: Gate, before: Sequence[Score], after: Sequence[Score]) -> Checked:
    """Drops of ``after`` against ``before``, each beside its limit.

    Perplexities take no part. A target task takes no part in the average; a limit of its own holds.
    With ``beyond_chance`` a drop breaches only where its whole paired 95 % interval is beyond.

    Raises:
        ValueError: the gate names a task that was not measured, or limits the average where only
            targets were; or the two were not measured on the same items.
    """
    check_tasks(gate, before)
    pairs = pair(_tasks(before), _tasks(after))
    found = []
    if gate.max_drop is not None:
        others = [both for both in pairs if not both[0].target]
        found.append(_drop(AVERAGE, others, gate.max_drop, gate))
    for name, limit in gate.tasks.items():
        found.append(_drop(name, [both for both in pairs if both[0].task == name], limit, gate))
    return Checked(drops=tuple(found))


def check_tasks(gate: Gate, scores: Iterable[Score]) -> None:
    """Make sure that what the gate limits is measured; the first evaluation tells that.

    Raises:
        ValueError: it is not, with the nearest name.
    """
    scores = list(scores)
    names = [score.task for score in scores if isinstance(score, TaskScore)]
    for task in gate.tasks:
        if task in names:
            continue
        if task in {score.task for score in scores}:
            raise ValueError(
                f"gate.tasks: {task!r} is a perplexity, which has no points to lose; a gate goes "
                "by tasks with right and wrong answers"
            )
        near = difflib.get_close_matches(task, names, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"measured: {', '.join(names) or 'none'}"
        raise ValueError(f"gate.tasks: no suite measures a task {task!r}; {hint}")
    if gate.max_drop is not None and not any(not score.target for score in _tasks(scores)):
        raise ValueError(
            "gate.max_drop: only the target is measured, so that nothing tells what is forgotten; "
            "add a task that is not trained on"
        )


def _tasks(scores: Iterable[Score]) -> list[TaskScore]:
    return [score for score in scores if isinstance(score, TaskScore)]


def _drop(
    name: str, pairs: Sequence[tuple[TaskScore, TaskScore]], limit: float, gate: Gate
) -> Drop:
    drop = 100 * sum(old.accuracy - new.accuracy for old, new in pairs) / len(pairs)
    low = high = None
    if all(len(old.correct) > 1 for old, _ in pairs):
        # The same draws as of `metrics.intervals`, so that one number has one interval everywhere.
        found = paired_bootstrap(*((old.correct, new.correct) for old, new in pairs))
        assert found.low is not None
        assert found.high is not None
        low, high = 0.0 - 100 * found.high, 0.0 - 100 * found.low
    measured = low if gate.beyond_chance and low is not None else drop
    breached = measured > limit + _ROUNDING and not (gate.beyond_chance and low is None)
    return Drop(name=name, drop=drop, limit=limit, low=low, high=high, breached=breached)


_ROUNDING = 1e-9
"""In points: a drop of exactly the limit is within it, however the mean was rounded."""


def _number(value: float) -> str:
    return f"{round(value, 1) + 0.0:.1f}"


# ------------------------------------------------------------------------------ the best of many


@dataclass(frozen=True, kw_only=True)
class Best:
    """Which evaluation was chosen, and why.

    Attributes:
        at: its place; None where none is within the limits.
        target: mean accuracy on the target tasks of each evaluation, in [0, 1].
        checked: each against the gate; None without a gate.
        words: the reason, in a sentence.
    """

    at: int | None
    target: tuple[float, ...]
    checked: tuple[Checked | None, ...]
    words: str


def best(
    before: Sequence[Score],
    evaluations: Sequence[Sequence[Score]],
    gate: Gate | None,
    *,
    names: Sequence[str] = (),
) -> Best:
    """The evaluation with the best target score among those within the gate; of equals, the first.

    Args:
        before: of the untouched model, against which the gate measures.
        evaluations: at least one, in the order of training.
        gate: None lets all be chosen from.
        names: of the evaluations, for the words; None calls them by their place, from 1.

    Raises:
        ValueError: no task is the target; or see `check`.
    """
    if not any(score.target for score in _tasks(before)):
        raise ValueError(
            "the best evaluation is the one with the best target score, and no task is marked so; "
            "write `target: true` into the task that is trained on"
        )
    checked = [None if gate is None else check(gate, before, one) for one in evaluations]
    if gate is None:
        for one in evaluations:
            pair(_tasks(before), _tasks(one))
    target = [_target(one) for one in evaluations]
    named = list(names) or [f"evaluation {at}" for at in range(1, len(target) + 1)]
    within = [at for at, found in enumerate(checked) if found is None or found.ok]
    at = max(within, key=lambda place: (target[place], -place)) if within else None
    words = _reason(at, within, target, checked, named, gated=gate is not None)
    return Best(at=at, target=tuple(target), checked=tuple(checked), words=words)


def _target(scores: Sequence[Score]) -> float:
    found = [score.accuracy for score in _tasks(scores) if score.target]
    return sum(found) / len(found)


def _reason(
    at: int | None,
    within: Sequence[int],
    target: Sequence[float],
    checked: Sequence[Checked | None],
    names: Sequence[str],
    *,
    gated: bool,
) -> str:
    if at is None:
        closest = min(checked, key=_excess)
        assert closest is not None
        return (
            f"None of the {len(target)} is within the limits of forgetting; nearest is "
            f"{names[checked.index(closest)]}: {'; '.join(d.words for d in closest.breaches)}."
        )
    among = f"{len(within)} of {len(target)} within the limits of forgetting" if gated else "all"
    equal = [names[other] for other in within if other != at and target[other] == target[at]]
    verbs = "equals it, and comes later" if len(equal) == 1 else "equal it, and come later"
    tie = f" ({', '.join(equal)} {verbs})" if equal else ""
    said = f"{names[at]} has the best target score, {100 * target[at]:.1f} %, of {among}{tie}."
    higher = [other for other, score in enumerate(target) if score > target[at]]
    for other in higher:
        found = checked[other]
        assert found is not None
        said += (
            f" {names[other]} has {100 * target[other]:.1f} %, but "
            f"{'; '.join(drop.words for drop in found.breaches)}."
        )
    return said


def _excess(checked: Checked | None) -> float:
    assert checked is not None
    return max(drop.drop - drop.limit for drop in checked.drops)
