"""All results of a study, and the numbers that its claims compare."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

from ppx_ext.difficulty_study.protocol import SFT, WEAK, Protocol

Measure = Literal["accuracy", "nll"]
MEASURES: tuple[Measure, ...] = ("accuracy", "nll")
Json = Mapping[str, Any]
Key = tuple[str, str, str, int, int]


class Table:
    """Looks up what was measured. Larger is better in both measures: nll has its sign turned.

    Args:
        results: ``bases`` (name -> result) and ``runs`` (results), as `run.run` writes them.
        seeds: how many; runs of each are there.
    """

    def __init__(self, protocol: Protocol, results: Json, *, seeds: int) -> None:
        self.protocol, self.seeds = protocol, seeds
        self._bases: Mapping[str, Json] = results["bases"]
        self._runs: dict[Key, Json] = {
            (run["base"], run["arm"], run["range"], run["n"], run["seed"]): run
            for run in results["runs"]
        }

    def run(self, range_: str, n: int, seed: int, *, base: str = WEAK, arm: str = SFT) -> Json:
        """One run's result."""
        return self._runs[base, arm, range_, n, seed]

    def of_base(self, base: str, measure: Measure, band: str | None = None) -> float:
        """Mean of a base's slices (of one band): share solved, or minus nll in nats."""
        return self.mean(self._bases[base], measure, band)

    def mean(self, result: Json, measure: Measure, band: str | None = None) -> float:
        """Mean of the slices of a result: all, or those of one band."""
        slices = self.protocol.slices_of(band) if band else self.protocol.slices
        return average(value_of(result["slices"][str(ops)], measure) for ops in slices)

    def after(
        self, measure: Measure, range_: str, n: int, seed: int, *, band: str | None = None,
        base: str = WEAK, arm: str = SFT,
    ) -> float:  # fmt: skip
        """The same of a tuned model."""
        return self.mean(self.run(range_, n, seed, base=base, arm=arm), measure, band)

    def gains(self, base: str, result: Json, measure: Measure) -> list[float]:
        """Of each slice: tuned less base."""
        before = self._bases[base]["slices"]
        return [
            value_of(result["slices"][str(ops)], measure) - value_of(before[str(ops)], measure)
            for ops in self.protocol.slices
        ]


def value_of(found: Json, measure: Measure) -> float:
    """A slice's share of solved problems, or minus its mean nll (nats)."""
    return average(found["solved"]) if measure == "accuracy" else -average(found["nll"])


def average(values: Iterable[float]) -> float:
    """The mean of one value or more."""
    found: Sequence[float] = list(values)
    return sum(found) / len(found)
