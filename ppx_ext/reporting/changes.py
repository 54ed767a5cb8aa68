"""Raw item results -> accuracies, perplexities and changes, each with what chance allows.

Everything is in percent, in points of percent, or in nats for each token.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from ppx_ext.metrics import pair
from ppx_ext.significance import Difference, interval, mcnemar, paired_bootstrap, resampled, wilson
from ppx_ext.suites import TaskScore, TextScore

Pair = tuple[Sequence[float], Sequence[float]]


def level(correct_N: Sequence[float]) -> dict[str, Any]:
    """Accuracy of one model on one task with its 95 % interval, in percent.

    Wilson's where every item is right or wrong, else a bootstrap over items.
    """
    low: float | None
    high: float | None
    if all(value in (0, 1) for value in correct_N):
        low, high = wilson(int(sum(correct_N)), len(correct_N))
    elif len(correct_N) > 1:
        low, high = interval(resampled([(correct_N, correct_N)])[0][:, 0])
    else:
        low = high = None
    return {
        "accuracy": 100 * sum(correct_N) / len(correct_N),
        "low": None if low is None else 100 * low,
        "high": None if high is None else 100 * high,
        "items": len(correct_N),
    }


def shift(tasks: Sequence[Pair]) -> dict[str, Any] | None:
    """The mean change from the first to the second model, in points; every task weighs alike.

    One task of right and wrong answers is judged by the exact McNemar test, anything else by
    whether the bootstrap's interval holds 0. None where a task has a single item.
    """
    if any(len(before) < 2 for before, _ in tasks):
        return None
    drawn = paired_bootstrap(*tasks)
    judged: Difference = drawn
    if len(tasks) == 1 and all(value in (0, 1) for side in tasks[0] for value in side):
        judged = mcnemar(*([value == 1 for value in side] for side in tasks[0]))
    assert drawn.low is not None
    assert drawn.high is not None
    return {
        "points": 100 * drawn.mean,
        "low": 100 * drawn.low,
        "high": 100 * drawn.high,
        "p": judged.p,
        "significant": judged.significant,
        "words": _words(judged),
    }


def _words(found: Difference) -> str:
    verdict = "significant" if found.significant else "not significant"
    chance = "95 % interval" if found.p is None else f"p = {found.p:.2g}, exact McNemar"
    return f"{verdict} ({chance} over {found.n:,} items)"


def drop(before: Sequence[TaskScore], after: Sequence[TaskScore]) -> dict[str, Any] | None:
    """`shift` of the tasks that are not trained on, turned round: above 0 is lost.

    None where there is no such task.
    """
    pairs = [(a.correct, b.correct) for a, b in pair(before, after) if not a.target]
    found = shift(pairs) if pairs else None
    if found is None:
        return None
    turned = {"points": -found["points"], "low": -found["high"], "high": -found["low"]}
    return {**found, **turned}


def readings(before: Sequence[TaskScore], after: Sequence[TaskScore]) -> list[dict[str, Any]]:
    """For each task that is read in several ways: each reading before and after, and its change."""
    return [
        {
            "task": old.task,
            "target": old.target,
            "reading": name,
            "before": level(old.readings[name]),
            "after": level(new.readings[name]),
            "change": shift([(old.readings[name], new.readings[name])]),
        }
        for old, new in pair(before, after)
        for name in old.readings
        if name in new.readings
    ]


def differing(found: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The readings of those tasks whose readings are not all alike, before or after."""
    tasks: dict[str, list[dict[str, Any]]] = {}
    for one in found:
        tasks.setdefault(one["task"], []).append(one)
    return [one for several in tasks.values() if not _alike(several) for one in several]


def _alike(several: Sequence[dict[str, Any]]) -> bool:
    values = {(one["before"]["accuracy"], one["after"]["accuracy"]) for one in several}
    return len(values) == 1


def format_words(found: Sequence[dict[str, Any]]) -> list[str]:
    """How much of each task's loss is one of format: what the strict reading lost beyond the other.

    A response that is right but worded otherwise is wrong to the strict reading alone (the GSM8K
    collapse of arXiv 2501.14315, table 12, is partly such a loss).
    """
    changes: dict[str, dict[str, Any]] = {}
    for one in found:
        changes.setdefault(one["task"], {})[one["reading"]] = one["change"]
    both = {
        task: (of["strict"], of["flexible"])
        for task, of in changes.items()
        if of.get("strict") and of.get("flexible")
    }
    lost = {
        task: pair
        for task, pair in both.items()
        if pair[0]["significant"] and pair[0]["points"] < 0
    }
    said = [_format_word(task, *pair) for task, pair in lost.items()]
    if quiet := [task for task in both if task not in lost]:
        said.append(
            f"The strict reading shows no loss beyond chance on {', '.join(quiet)}: there is no "
            "loss of format to tell."
        )
    return said


def _format_word(task: str, strict: dict[str, Any], flexible: dict[str, Any]) -> str:
    form = min(0.0, strict["points"] - min(0.0, flexible["points"]))
    sure = "significant" if flexible["significant"] else "not significant"
    so = (
        f"So {-form:.1f} points of the loss are of format: the answer is there, but not worded as "
        "asked."
        if round(form, 1)
        else "So none of the loss is of format: the answers themselves are wrong."
    )
    return (
        f"On {task} the strict reading lost {-strict['points']:.1f} points; the flexible one "
        f"changed by {flexible['points']:+.1f} ({sure}). {so}"
    )


def perplexity(score: TextScore) -> dict[str, Any]:
    """Perplexity of held-out texts with its 95 % bootstrap interval over texts."""
    low, high = _over_texts(score, None)
    return {
        "perplexity": _finite(score.perplexity),
        "low": low,
        "high": high,
        "texts": len(score.nll),
        "tokens": sum(score.tokens),
    }


def perplexity_change(before: TextScore, after: TextScore) -> dict[str, Any]:
    """How many times as high the perplexity is as it was, on the same texts, with its interval."""
    if before.tokens != after.tokens:
        raise ValueError(f"texts {before.task!r}: the two models were given different tokens")
    low, high = _over_texts(after, before)
    sure = low is not None and high is not None and not low <= 1 <= high
    ratio = _finite(_exp((sum(after.nll) - sum(before.nll)) / sum(after.tokens)))
    verdict = "significant" if sure else "not significant"
    words = f"{verdict} (95 % interval over {len(after.nll):,} texts)"
    if low is None:
        words = "one text: unknown"
    return {"times": ratio, "low": low, "high": high, "significant": sure, "words": words}


def _over_texts(score: TextScore, base: TextScore | None) -> tuple[float | None, float | None]:
    """Interval of exp(sum of NLL / sum of tokens), less that of the base; texts drawn anew."""
    import numpy as np

    texts = len(score.nll)
    if texts < 2:
        return None, None
    nll_N = np.asarray(score.nll) - (0.0 if base is None else np.asarray(base.nll))
    tokens_N = np.asarray(score.tokens)
    rng = np.random.default_rng(0)
    means = []
    for _ in range(20):  # in parts, so that many texts need no great array
        drawn_RN = rng.multinomial(texts, np.full(texts, 1 / texts), size=500)
        means.append((drawn_RN @ nll_N) / (drawn_RN @ tokens_N))
    low, high = interval(np.concatenate(means))
    return _finite(_exp(low)), _finite(_exp(high))


def _exp(value: float) -> float:
    try:
        return math.exp(value)
    except OverflowError:
        return math.inf


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
