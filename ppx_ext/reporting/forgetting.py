"""What a run kept and lost while it trained: evaluations over its steps, from raw item results."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ppx_ext import gates
from ppx_ext.eval_plan import Gate
from ppx_ext.records import load_scores
from ppx_ext.reporting import changes
from ppx_ext.suites import Score, TaskScore, TextScore

Json = Mapping[str, Any]


def of(content: Json) -> dict[str, Any]:
    """Every evaluation of a run's ``ppx_eval.json``, and the last against the first.

    Keys: see `schema.Forgetting`.
    """
    records: Sequence[Json] = content["evaluations"]
    scores = [load_scores(record) for record in records]
    base = next((at for at, record in enumerate(records) if record["when"] == "before"), None)
    gate = _gate(content)
    before = None if base is None else scores[base]
    last = max(range(len(records)), key=lambda at: (records[at]["when"] == "after", at), default=-1)
    told = before is not None and last != base
    return {
        "gate": None if gate is None else gate.model_dump(),
        "keep": (content.get("evaluation") or {}).get("keep"),
        "kept": content.get("kept"),
        "failures": content.get("failures") or [],
        "evaluations": [
            _evaluated(record, found, None if at == base else before, gate, content.get("kept"))
            for at, (record, found) in enumerate(zip(records, scores, strict=True))
        ],
        "model": records[last].get("name") if told else None,
        "tasks": _tasks(before, scores[last]) if told and before else [],
        "readings": changes.readings(_of(TaskScore, before), _of(TaskScore, scores[last]))
        if told
        else [],
        "texts": _texts(before, scores[last]) if told and before else [],
        "cost": content.get("cost"),
    }


def _gate(content: Json) -> Gate | None:
    found = (content.get("evaluation") or {}).get("gate")
    return Gate.model_validate(found) if found else None


def _of(kind: Any, scores: Sequence[Score] | None) -> list[Any]:
    return [score for score in scores or () if isinstance(score, kind)]


def _evaluated(
    record: Json,
    scores: Sequence[Score],
    before: Sequence[Score] | None,
    gate: Gate | None,
    kept: Json | None,
) -> dict[str, Any]:
    tasks: list[TaskScore] = _of(TaskScore, scores)
    told = before is not None
    checked = record.get("gate")
    if gate is not None and before is not None:
        checked = gates.check(gate, before, scores).dump()
    return {
        "when": record["when"],
        "name": record.get("name"),
        "step": record["step"],
        "epoch": record.get("epoch"),
        "seconds": record["seconds"],
        "kept": kept is not None and kept["step"] == record["step"] and before is not None,
        "restored": bool(record.get("restored")),
        "target": _mean([100 * score.accuracy for score in tasks if score.target]),
        "other": _mean([100 * score.accuracy for score in tasks if not score.target]),
        "drop": changes.drop(_of(TaskScore, before), tasks) if told else None,
        "tasks": {score.task: changes.level(score.correct) for score in tasks},
        "texts": {text.task: changes.perplexity(text) for text in _of(TextScore, scores)},
        "gate": checked,
    }


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None


def _tasks(before: Sequence[Score], after: Sequence[Score]) -> list[dict[str, Any]]:
    from ppx_ext.metrics import pair

    return [
        {
            "task": old.task,
            "target": old.target,
            "before": changes.level(old.correct),
            "after": changes.level(new.correct),
            "change": changes.shift([(old.correct, new.correct)]),
        }
        for old, new in pair(_of(TaskScore, before), _of(TaskScore, after))
    ]


def _texts(before: Sequence[Score], after: Sequence[Score]) -> list[dict[str, Any]]:
    new = {text.task: text for text in _of(TextScore, after)}
    return [
        {
            "task": old.task,
            "before": changes.perplexity(old),
            "after": changes.perplexity(new[old.task]),
            "change": changes.perplexity_change(old, new[old.task]),
        }
        for old in _of(TextScore, before)
        if old.task in new
    ]
