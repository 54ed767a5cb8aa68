"""A study: one base, one or more ways of tuning it, each over some seeds; and what it shows."""

from __future__ import annotations

import dataclasses
import itertools
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ppx_ext.contracts import Numbers
from ppx_ext.metrics import change, frontier, intervals, pair
from ppx_ext.records import dump_score, load_score
from ppx_ext.significance import (
    CONFIDENCE,
    Difference,
    chance_of_zero,
    holm,
    mcnemar,
    over_seeds,
    paired_bootstrap,
    resampled,
)
from ppx_ext.suites import TaskScore
from ppx_ext.verdict import sentences, warnings


@dataclass(frozen=True, kw_only=True)
class Run:
    """One measured model.

    Attributes:
        scores: one for each task, item by item.
        seed: of its training; None for the base.
        numbers: anything else measured, for instance ``seconds``, ``tokens_masked`` (share of
            targets), ``loss_kept`` (share), ``perplexity`` (of held-out target responses) and
            ``update_norm`` (L2 norm of all weight changes).
    """

    scores: tuple[TaskScore, ...]
    seed: int | None = None
    numbers: Numbers = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Arm:
    """One way of tuning the base, over its seeds."""

    name: str
    runs: tuple[Run, ...]


@dataclass(frozen=True, kw_only=True)
class Study:
    """The base and the arms, all measured on the same items; the first arm is the reference."""

    base: Run
    arms: tuple[Arm, ...]


def dump_study(study: Study) -> dict[str, Any]:
    """Plain JSON values, with every item's result."""
    return {
        "base": _dump_run(study.base),
        "arms": [
            {"name": arm.name, "runs": [_dump_run(run) for run in arm.runs]} for arm in study.arms
        ],
    }


def load_study(found: Mapping[str, Any]) -> Study:
    """What `dump_study` wrote.

    Raises:
        ValueError: a key is missing, a score is not one, or an arm has no run.
    """
    try:
        arms = tuple(
            Arm(name=arm["name"], runs=tuple(map(_load_run, arm["runs"]))) for arm in found["arms"]
        )
        base = _load_run(found["base"])
    except (KeyError, TypeError) as error:
        raise ValueError(f"not a study: {error!r} is missing or has the wrong type") from error
    if empty := [arm.name for arm in arms if not arm.runs]:
        raise ValueError(f"arm {empty[0]!r} of the study has no run")
    return Study(base=base, arms=arms)


def _dump_run(run: Run) -> dict[str, Any]:
    scores = [dump_score(score) for score in run.scores]
    return {"seed": run.seed, "numbers": dict(run.numbers), "scores": scores}


def _load_run(found: Mapping[str, Any]) -> Run:
    scores = tuple(load_score(score) for score in found["scores"])
    return Run(seed=found.get("seed"), numbers=found.get("numbers") or {}, scores=scores)


def analyse(study: Study) -> dict[str, Any]:
    """Everything a report says of a study, as plain JSON values, recomputed from item results.

    Keys: ``base``, ``arms`` (rows of numbers, their mean and standard deviation, and ``intervals``
    of ``ti``, ``bwt`` and ``drop`` over items: [low, high] or None), ``tests`` (each arm against
    the base, and each pair of arms), ``frontier`` (names, ``base`` among them, that none is better
    than on target and other tasks), ``verdict`` and ``warnings`` (sentences).

    A test has ``arm``, ``against`` and, under ``target`` and ``other``, over the seeds that both
    have: ``points``, ``values`` (old, new), ``seeds``, ``tests`` (over items, over seeds), ``p``
    (the larger of theirs), ``family`` (`FAMILIES`) and its size ``comparisons``, ``holm`` (p
    after Holm's correction within family), ``alone`` (significant on its own) and ``significant``.

    Raises:
        ValueError: models were not measured on the same items.
    """
    tests = [_test(study, arm, None) for arm in study.arms]
    pairs = itertools.combinations(study.arms, 2)
    tests += [test for one, other in pairs if (test := _test(study, other, one))]
    tests = [test for test in tests if test]
    _correct(tests, reference=study.arms[0].name if study.arms else "")
    base = _rows(study, (study.base,))[0]
    arms = [
        {**_summary(arm.name, _rows(study, arm.runs)), "intervals": _intervals(study, arm)}
        for arm in study.arms
    ]
    return {
        "base": base,
        "arms": arms,
        "tests": tests,
        "frontier": frontier({"base": base, **{arm["name"]: arm["mean"] for arm in arms}}),
        "verdict": sentences(tests),
        "warnings": warnings(base, arms, tests, study.base.scores),
    }


FAMILIES = ("reference", "base", "others")
"""What is compared with the first arm, and with the base; and all other pairs of arms. The first
two are what a comparison is made for, so that further arms do not make them weaker by all pairs."""


def _correct(tests: Sequence[dict[str, Any]], *, reference: str) -> None:
    for test in tests:
        family = {reference: "reference", "base": "base"}.get(test["against"], "others")
        for key in ("target", "other"):
            if test[key]:
                test[key]["family"] = family
    for family, key in itertools.product(FAMILIES, ("target", "other")):
        found = [test[key] for test in tests if test[key] and test[key]["family"] == family]
        for one, adjusted in zip(found, holm([one["p"] for one in found]), strict=True):
            one |= {"comparisons": len(found), "holm": adjusted}
            one["significant"] = one["alone"] and adjusted < 1 - CONFIDENCE


def _rows(study: Study, runs: Iterable[Run]) -> list[dict[str, Any]]:
    """The numbers of each run; accuracies in percent."""
    rows = []
    for run in runs:
        found = change(study.base.scores, run.scores)
        rows.append(
            {
                "seed": run.seed,
                "target": _mean(100 * s.accuracy for s in run.scores if s.target),
                "other": _mean(100 * s.accuracy for s in run.scores if not s.target),
                "ti": found.ti,
                "bwt": found.bwt,
                "drop": found.drop,
                "undefined": list(found.undefined),
                "tasks": {score.task: 100 * score.accuracy for score in run.scores},
                **run.numbers,
            }
        )
    return rows


def _intervals(study: Study, arm: Arm) -> dict[str, Any]:
    """95 % intervals of TI, BWT and average drop over items, each item's mean over seeds."""
    after = [
        dataclasses.replace(
            score, correct=tuple(_over_runs([r.scores for r in arm.runs], score.task))
        )
        for score in arm.runs[0].scores
    ]
    found = intervals(study.base.scores, after)
    each = {"ti": found.ti, "bwt": found.bwt, "drop": found.drop}
    return {key: None if interval is None else list(interval) for key, interval in each.items()}


def _mean(values: Iterable[float]) -> float | None:
    found = list(values)
    return statistics.fmean(found) if found else None


def _summary(name: str, rows: list[dict[str, Any]]) -> dict[str, Any]:
    columns = [key for key, value in rows[0].items() if isinstance(value, int | float)]
    mean: dict[str, Any] = {}
    sd: dict[str, Any] = {}
    for key in (key for key in columns if key != "seed"):
        values = [row[key] for row in rows if isinstance(row.get(key), int | float)]
        mean[key] = statistics.fmean(values)
        sd[key] = statistics.stdev(values) if len(values) > 1 else None
    tasks = {
        task: statistics.fmean(row["tasks"][task] for row in rows) for task in rows[0]["tasks"]
    }
    undefined = sorted({reason for row in rows for reason in row["undefined"]})
    return {
        "name": name,
        "n": len(rows),
        "runs": rows,
        "mean": {**mean, "tasks": tasks},
        "sd": sd,
        "undefined": undefined,
    }


def _test(study: Study, arm: Arm, reference: Arm | None) -> dict[str, Any]:
    """``arm`` against ``reference`` (None = the base); empty where they share no seed."""
    if reference is None:
        old: Sequence[Run] = (study.base,) * len(arm.runs)
        new: Sequence[Run] = arm.runs
    else:
        seeds = [run.seed for run in arm.runs]
        of = {run.seed: run for run in reference.runs}
        shared = [seed for seed in seeds if seed in of]
        old = [of[seed] for seed in shared]
        new = [run for run in arm.runs if run.seed in of]
    if not new:
        return {}
    test: dict[str, Any] = {"arm": arm.name, "against": reference.name if reference else "base"}
    for key, is_target in (("target", True), ("other", False)):
        test[key] = _differences(old, new, target=is_target)
    return test


def _differences(
    a_runs: Sequence[Run], b_runs: Sequence[Run], *, target: bool
) -> dict[str, Any] | None:
    """Both tests, over seeds and over items; a difference counts where both find it.

    The larger of two p-values is one of "both differ" (intersection-union).
    """
    a = [[score for score in run.scores if score.target == target] for run in a_runs]
    b = [[score for score in run.scores if score.target == target] for run in b_runs]
    for a_scores, b_scores in zip(a, b, strict=True):
        pair(a_scores, b_scores)
    if not a[0]:
        return None
    names = [score.task for score in a[0]]
    items, p = _items_test([(_over_runs(a, name), _over_runs(b, name)) for name in names])
    found, chances = [items], [p]
    if len(a) > 1:
        found.append(over_seeds(*([_macro(scores) for scores in runs] for runs in (a, b))))
        chances.append(1.0 if found[-1].p is None else found[-1].p)
    return {
        "points": 100 * items.mean,
        "values": [100 * statistics.fmean(map(_macro, runs)) for runs in (a, b)],
        "seeds": len(a),
        "tests": [_dump_difference(difference) for difference in found],
        "p": max(chances),
        "alone": all(difference.significant for difference in found),
    }


def _over_runs(runs: Sequence[Sequence[TaskScore]], task: str) -> list[float]:
    """Each item's share of right answers over the runs."""
    correct = [score.correct for scores in runs for score in scores if score.task == task]
    return [statistics.fmean(item) for item in zip(*correct, strict=True)]


def _items_test(
    tasks: Sequence[tuple[list[float], list[float]]],
) -> tuple[Difference, float]:
    """The test over items, and its p."""
    single = len(tasks) == 1 and all(value in (0, 1) for side in tasks[0] for value in side)
    if single:
        found = mcnemar(*([value == 1 for value in side] for side in tasks[0]))
        return found, 1.0 if found.p is None else found.p
    a_RT, b_RT = resampled(tasks)
    return paired_bootstrap(*tasks), chance_of_zero((b_RT - a_RT).mean(axis=1))


def _macro(scores: Sequence[TaskScore]) -> float:
    return statistics.fmean(score.accuracy for score in scores)


def _dump_difference(found: Difference) -> dict[str, Any]:
    return {
        "test": found.test,
        "n": found.n,
        "p": found.p,
        "low": None if found.low is None else 100 * found.low,
        "high": None if found.high is None else 100 * found.high,
        "significant": found.significant,
        "words": found.words(),
    }
