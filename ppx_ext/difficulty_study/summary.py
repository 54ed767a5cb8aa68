"""A study's numbers over seeds: what the report shows beside its judgements."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from ppx_ext.difficulty_study.protocol import SFT, STRONG, WEAK
from ppx_ext.difficulty_study.table import MEASURES, Measure, Table, average

Json = dict[str, Any]


def bases(table: Table, results: Json) -> list[Json]:
    """Of each base: trained on which operations, and its share solved, answered and nll a slice."""
    return [
        {
            "name": name,
            "ops": list(table.protocol.bases[name]),
            "accuracy": table.of_base(name, "accuracy"),
            "nll": -table.of_base(name, "nll"),
            "slices": [_slice(found["slices"][str(ops)], ops) for ops in table.protocol.slices],
        }
        for name, found in results["bases"].items()
    ]


def _slice(found: Json, ops: int) -> Json:
    return {
        "ops": ops,
        "solved": average(found["solved"]),
        "answered": average(found["answered"]),
        "nll": average(found["nll"]),
    }


def cells(table: Table, results: Json) -> list[Json]:
    """Of each (base, arm, range, n): means and standard deviations over seeds."""
    keys = dict.fromkeys((r["base"], r["arm"], r["range"], r["n"]) for r in results["runs"])
    return [_cell(table, *key) for key in keys]


def _cell(table: Table, base: str, arm: str, name: str, n: int) -> Json:
    runs = [table.run(name, n, seed, base=base, arm=arm) for seed in range(table.seeds)]

    def over(value: Callable[[Any], float]) -> Json:
        found = [value(run) for run in runs]
        return {"mean": average(found), "sd": statistics.stdev(found) if len(found) > 1 else None}

    def gain(measure: Measure) -> Callable[[Any], float]:
        return lambda run: table.mean(run, measure) - table.of_base(base, measure)

    return {
        "base": base,
        "arm": arm,
        "range": name,
        "n": n,
        "accuracy": over(lambda run: table.mean(run, "accuracy")),
        "answers": over(
            lambda run: average(average(s["answered"]) for s in run["slices"].values())
        ),
        "nll": over(lambda run: -table.mean(run, "nll")),
        "gain": {measure: over(gain(measure)) for measure in MEASURES},
        "slice_gains": {measure: _slice_gains(table, base, runs, measure) for measure in MEASURES},
        "generalization_gap": over(lambda run: run["gaps"]["generalization"]),
        "extrapolation_gap": over(lambda run: run["gaps"]["extrapolation"]),
        "train_loss": over(lambda run: run["losses"]["train"]),
        "total_variation": runs[0]["total_variation"],
        "update_norm": over(lambda run: run["update_norm"]),
    }


def _slice_gains(table: Table, base: str, runs: Sequence[Any], measure: Measure) -> list[float]:
    gains = [table.gains(base, run, measure) for run in runs]
    return [average(values) for values in zip(*gains, strict=True)]


def optima(table: Table, found: Sequence[Json]) -> Iterator[Json]:
    """The best range of each n under plain fine-tuning: by the mean over seeds."""
    for base in (WEAK, STRONG):
        for n in table.protocol.budgets:
            row = [c for c in found if (c["base"], c["arm"], c["n"]) == (base, SFT, n)]
            best = {m: max(row, key=lambda c: c["gain"][m]["mean"])["range"] for m in MEASURES}
            yield {"base": base, "n": n, "best": best}
