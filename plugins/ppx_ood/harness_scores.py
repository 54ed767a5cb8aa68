"""lm-eval's samples of a task -> one value for each item, and the other readings beside it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

from ppx_ext import Item, JudgeAll, TaskScore, fingerprint_of
from ppx_ood.harness_live import Measured
from ppx_ood.harness_tasks import Wanted
from ppx_ood.reading import by_judge, refuse_untold

PREFERRED = ("exact_match", "prompt_level_strict_acc", "acc_norm", "acc")
"""Metrics that are taken as a score where a recipe names none, the first of them that is there."""

WORDS = {
    "strict-match": "strict",
    "flexible-extract": "flexible",
    "prompt_level_strict_acc": "strict",
    "prompt_level_loose_acc": "flexible",
}
"""lm-eval's filters and metrics that are a strict and a flexible reading of the same responses."""

Key: TypeAlias = tuple[str, str]
"""A metric of lm-eval, and the filter through which it reads a response."""

Sample: TypeAlias = Mapping[str, Any]


def score_of(wanted: Wanted, measured: Measured, judge: JudgeAll | None = None) -> TaskScore:
    """The score of a task, or of a group over all items of its tasks.

    Raises:
        ValueError: no such metric or filter; a metric without a value in [0, 1] for each item, or
            that lm-eval does not average over them; the judge can tell of no response.
    """
    tables = [_table(measured.samples[name]) for name in wanted.tasks]
    key = _primary(wanted, list(tables[0]))
    for name, table in zip(wanted.tasks, tables, strict=True):
        _check(name, table, key, measured.results[name])
    ways = [one for one in tables[0] if all(_fits(table.get(one)) for table in tables)]
    readings = {_word(way, key): _pooled(tables, way) for way in ways}
    items = [item for name in wanted.tasks for item in _items(name, measured.samples[name], key)]
    score = TaskScore(
        task=wanted.name,
        correct=_pooled(tables, key),
        target=wanted.asked.target,
        readings=readings if len(readings) > 1 else {},
        items={name: [item[name] for item in items] for name in items[0] if name != "asked"},
        fingerprint=fingerprint_of(item["asked"] for item in items),
    )
    return score if judge is None else _judged(score, judge)


def _judged(score: TaskScore, judge: JudgeAll) -> TaskScore:
    """The verdicts of a judge as the score, and what lm-eval read as readings beside it."""
    said = score.items
    asked = [Item(prompt=p, gold=g) for p, g in zip(said["prompt"], said["gold"], strict=True)]
    graded = by_judge(judge, None, "flexible")(asked, said["response"])
    correct = tuple(each.correct for each in graded)
    own = score.readings or {"strict": score.correct}
    name = "judged" if "flexible" in own else "flexible"
    return refuse_untold(
        dataclasses.replace(
            score,
            correct=correct,
            readings={**own, name: correct},
            items={**said, "why": [each.why for each in graded]},
        )
    )


def _table(samples: Sequence[Sample]) -> dict[Key, list[Any]]:
    """Every metric, by every filter: a value for each item, in order."""
    table: dict[Key, list[Any]] = {}
    for sample in samples:
        for metric in sample["metrics"]:
            table.setdefault((metric, sample["filter"]), []).append(sample[metric])
    return table


def _primary(wanted: Wanted, keys: Sequence[Key]) -> Key:
    asked = wanted.asked
    metrics = [metric for metric, _ in keys]
    preferred = next((name for name in PREFERRED if name in metrics), metrics[0])
    metric = asked.metric or wanted.metric or preferred
    filters = [one for name, one in keys if name == metric]
    if not filters or (asked.filter and asked.filter not in filters):
        had = ", ".join(f"{name} ({one})" for name, one in keys)
        raise ValueError(
            f"lm-eval's task {wanted.name!r} has no metric {metric!r} with the filter "
            f"{asked.filter or 'none'!r}. It has: {had}. Set `metric` and `filter` of the task"
        )
    return metric, asked.filter or filters[0]


def _check(name: str, table: Mapping[Key, Sequence[Any]], key: Key, own: Mapping[str, Any]) -> None:
    """Make sure that the values are what lm-eval's number is the mean of."""
    values = table.get(key)
    mend = "Choose another with `metric:` of the task"
    if not _fits(values) or values is None:
        shown = "nothing" if values is None else repr(values[0])
        raise ValueError(
            f"the metric {key[0]!r} of lm-eval's task {name!r} gives {shown} for an item, and no "
            f"number from 0 to 1. {mend}; it has: {', '.join(metric for metric, _ in table)}"
        )
    theirs = own[f"{key[0]},{key[1]}"]
    if abs(sum(map(float, values)) / len(values) - float(theirs)) > 1e-6:
        raise ValueError(
            f"lm-eval's {key[0]!r} of the task {name!r} is no mean of its items, and tells of "
            f"no item by itself. {mend}"
        )


def _fits(values: Sequence[Any] | None) -> bool:
    return values is not None and all(
        not isinstance(value, str | Sequence) and _in_range(value) for value in values
    )


def _in_range(value: Any) -> bool:
    try:
        return 0.0 <= float(value) <= 1.0
    except (TypeError, ValueError):
        return False


def _pooled(tables: Sequence[Mapping[Key, Sequence[Any]]], key: Key) -> tuple[float, ...]:
    return tuple(float(value) for table in tables for value in table[key])


def _word(key: Key, primary: Key) -> str:
    metric, name = key
    if metric == primary[0] and name in WORDS:
        return WORDS[name]
    if name != primary[1]:
        return f"{metric},{name}"
    return WORDS.get(metric, metric)


def _items(task: str, samples: Sequence[Sample], key: Key) -> list[dict[str, Any]]:
    """What was asked, wanted and said, for each item, for the record."""
    return [_item(task, sample) for sample in samples if sample["filter"] == key[1]]


def _item(task: str, sample: Sample) -> dict[str, Any]:
    target, arguments = sample["target"], sample["arguments"]
    texts = [[part for part in one if isinstance(part, str)] for one in arguments]
    if isinstance(arguments[0][-1], Mapping):  # generation: the rest of the arguments says how
        prompt, gold, response = texts[0][0], str(target), sample["resps"][0][0]
    else:
        prompt, gold, response = _choice(texts, sample["resps"], target)
    return {
        "task": task,
        "doc": sample["doc_id"],
        "prompt": prompt,
        "gold": gold,
        "response": response,
        "asked": [task, texts, str(target)],
    }


def _choice(texts: Sequence[Sequence[str]], resps: Any, target: Any) -> tuple[str, str, str]:
    """Prompt, gold and likeliest option, where lm-eval asked how likely each option is."""
    prompt = texts[0][0] if len({one[0] for one in texts}) == 1 else ""
    options = ["".join(one)[len(prompt) :].strip() for one in texts]
    likely = [float(one[0][0]) for one in resps]
    golds = target if isinstance(target, list | tuple) else [target]
    named = [options[one] if isinstance(one, int) and one < len(options) else one for one in golds]
    return prompt, " | ".join(map(str, named)), options[likely.index(max(likely))]
