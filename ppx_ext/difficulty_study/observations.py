"""The protocol's judgements: observations, the claims they are made of, and their intervals."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from ppx_ext.difficulty_study.protocol import DFT, EASY, HARD, MEDIUM, SFT, STM, STRONG, WEAK
from ppx_ext.difficulty_study.table import MEASURES, Measure, Table, average

Outcome = Literal["holds", "fails", "open"]
Verdict = Literal["reproduced", "not reproduced", "not significant"]

CONFIDENCE = 0.95
FLOOR = 0.05
"""Accuracy that something compared must reach on average; else nll is judged."""


@dataclass(frozen=True, kw_only=True)
class Interval:
    """A mean over seeds with its 95 % interval of Student's t; no ends where there is one seed."""

    mean: float
    low: float | None
    high: float | None
    seeds: int

    @property
    def outcome(self) -> Outcome:
        """Of the claim that the mean is positive."""
        if self.low is not None and self.low > 0:
            return "holds"
        if self.high is not None and self.high < 0:
            return "fails"
        return "open"


def interval(values: Sequence[float]) -> Interval:
    """Mean and interval of one value a seed."""
    from scipy.stats import t

    mean, count = average(values), len(values)
    if count < 2:
        return Interval(mean=mean, low=None, high=None, seeds=count)
    spread = math.sqrt(sum((value - mean) ** 2 for value in values) / (count - 1) / count)
    reach = float(t.ppf((1 + CONFIDENCE) / 2, count - 1)) * spread
    return Interval(mean=mean, low=mean - reach, high=mean + reach, seeds=count)


@dataclass(frozen=True, kw_only=True)
class Claim:
    """A number that is said to be positive, by each measure; ``by`` is the one that is judged."""

    words: str
    by: Measure
    intervals: dict[Measure, Interval]

    @property
    def outcome(self) -> Outcome:
        """By the measure that counts."""
        return self.intervals[self.by].outcome


@dataclass(frozen=True, kw_only=True)
class Observation:
    """What the paper (or, from 7 on, this study) says, and what became of it."""

    number: int
    words: str
    claims: tuple[Claim, ...]
    note: str = ""

    @property
    def verdict(self) -> Verdict:
        """All claims hold, one fails, or neither; a note says that it could not be tested."""
        outcomes = {claim.outcome for claim in self.claims}
        if self.note:
            return "not significant"
        if outcomes == {"holds"}:
            return "reproduced"
        return "not reproduced" if "fails" in outcomes else "not significant"


PerSeed = Callable[[Measure, int], float]
"""(measure, seed) -> a number."""


def observe(table: Table) -> list[Observation]:
    """All judgements, in the protocol's order."""
    small, large = table.protocol.budgets[0], table.protocol.budgets[-1]
    return [
        _hard_and_few(table),
        _easy(table),
        _medium(table),
        _stronger(table),
        _against(table, 5, "Few and hard: DFT is better than SFT", DFT, (HARD,), small, sign=1),
        _against(table, 6, "Many: SFT is better than DFT", DFT, tuple(table.protocol.ranges),
                 large, sign=-1),
        _drift(table),
        _against(table, 8, "Few and hard: STM is better than SFT", STM, (HARD,), small, sign=1),
        _against(table, 9, "Many: SFT is better than STM", STM, tuple(table.protocol.ranges),
                 large, sign=-1),
        _generalization(table),
        _extrapolation(table),
    ]  # fmt: skip


def _claim(table: Table, words: str, value: PerSeed, compared: Sequence[PerSeed]) -> Claim:
    seeds = range(table.seeds)
    reached = max(average(one("accuracy", seed) for seed in seeds) for one in compared)
    return Claim(
        words=words,
        by="accuracy" if reached >= FLOOR else "nll",
        intervals={
            measure: interval([value(measure, seed) for seed in seeds]) for measure in MEASURES
        },
    )


def _difference(table: Table, words: str, better: PerSeed, worse: PerSeed) -> Claim:
    def value(measure: Measure, seed: int) -> float:
        return better(measure, seed) - worse(measure, seed)

    return _claim(table, words, value, (better, worse))


def _gain(table: Table, name: str, n: int, band: str, *, up: bool) -> Claim:
    def before(measure: Measure, seed: int) -> float:
        return table.of_base(WEAK, measure, band)

    def after(measure: Measure, seed: int) -> float:
        return table.after(measure, name, n, seed, band=band)

    words = f"{name}, n = {n}: {band} slices go {'up' if up else 'down'}"
    better, worse = (after, before) if up else (before, after)
    return _difference(table, words, better, worse)


def _hard_and_few(table: Table) -> Observation:
    n = table.protocol.budgets[0]
    claims = tuple(_gain(table, HARD, n, band, up=False) for band in table.protocol.ranges)
    return Observation(number=1, words="Hard and few: all slices drop", claims=claims)


def _easy(table: Table) -> Observation:
    def claims() -> Iterator[Claim]:
        for n in table.protocol.budgets:
            yield _gain(table, EASY, n, EASY, up=True)
            yield _gain(table, EASY, n, HARD, up=False)

    words = "Easy, however many: easy slices up, hard slices down"
    return Observation(number=2, words=words, claims=tuple(claims()))


def _over_budgets(table: Table, name: str) -> PerSeed:
    def value(measure: Measure, seed: int) -> float:
        return average(table.after(measure, name, n, seed) for n in table.protocol.budgets)

    return value


def _medium(table: Table) -> Observation:
    claims = tuple(
        _difference(
            table,
            f"overall, mean over n: {MEDIUM} above {other}",
            _over_budgets(table, MEDIUM),
            _over_budgets(table, other),
        )
        for other in (EASY, HARD)
    )
    return Observation(number=3, words="Medium is best overall", claims=claims)


def _best(table: Table, measure: Measure, n: int, seed: int, base: str = WEAK) -> int:
    """Place of the range with the best overall measure; the easier of equals."""
    found = [table.after(measure, name, n, seed, base=base) for name in table.protocol.ranges]
    return found.index(max(found))


def _all_after(table: Table, *bases: str) -> list[PerSeed]:
    def of(base: str, name: str, n: int) -> PerSeed:
        return lambda measure, seed: table.after(measure, name, n, seed, base=base)

    protocol = table.protocol
    return [of(b, name, n) for b in bases for name in protocol.ranges for n in protocol.budgets]


def _stronger(table: Table) -> Observation:
    def value(measure: Measure, seed: int) -> float:
        return average(
            _best(table, measure, n, seed, STRONG) - _best(table, measure, n, seed)
            for n in table.protocol.budgets
        )

    words = "place of the best range, mean over n: strong base above weak"
    claim = _claim(table, words, value, _all_after(table, WEAK, STRONG))
    weak, strong = (table.of_base(base, claim.by) for base in (WEAK, STRONG))
    return Observation(
        number=4,
        words="A stronger base moves the optimum to harder problems",
        claims=(claim,),
        note="" if strong > weak else "The strong base is not better overall: this is not tested.",
    )


def _against(
    table: Table, number: int, words: str, arm: str, names: Sequence[str], n: int, *, sign: int
) -> Observation:
    def of(one: str) -> PerSeed:
        return lambda measure, seed: average(
            table.after(measure, name, n, seed, arm=one) for name in names
        )

    better, worse = (arm, SFT) if sign > 0 else (SFT, arm)
    where = " and ".join(names) if len(names) == 1 else "mean over ranges"
    said = f"overall, n = {n}, {where}: {better.upper()} above {worse.upper()}"
    claim = _difference(table, said, of(better), of(worse))
    return Observation(number=number, words=words, claims=(claim,))


def _drift(table: Table) -> Observation:
    small, large = table.protocol.budgets[0], table.protocol.budgets[-1]

    def value(measure: Measure, seed: int) -> float:
        return _best(table, measure, large, seed) - _best(table, measure, small, seed)

    words = f"place of the best range: n = {large} above n = {small}"
    claim = _claim(table, words, value, _all_after(table, WEAK))
    return Observation(number=7, words="The optimum moves harder as n grows", claims=(claim,))


def _gap(table: Table, words: str, value: Callable[[int], float]) -> Claim:
    """A claim about gaps: they are of losses, so that there is one measure."""
    found = interval([value(seed) for seed in range(table.seeds)])
    return Claim(words=words, by="nll", intervals={"nll": found})


def _generalization(table: Table) -> Observation:
    small, large = table.protocol.budgets[0], table.protocol.budgets[-1]

    def value(seed: int) -> float:
        return average(
            table.run(name, small, seed)["gaps"]["generalization"]
            - table.run(name, large, seed)["gaps"]["generalization"]
            for name in table.protocol.ranges
        )

    claim = _gap(table, f"mean over ranges: n = {small} above n = {large}", value)
    return Observation(number=10, words="The generalization gap falls with n", claims=(claim,))


def _extrapolation(table: Table) -> Observation:
    def value(seed: int) -> float:
        return average(
            table.run(EASY, n, seed)["gaps"]["extrapolation"]
            - table.run(HARD, n, seed)["gaps"]["extrapolation"]
            for n in table.protocol.budgets
        )

    claim = _gap(table, "mean over n: easy above hard", value)
    words = "The extrapolation gap is smaller for harder data"
    return Observation(number=11, words=words, claims=(claim,))
