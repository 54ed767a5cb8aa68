"""What the stages of a run say in sentences, and what to know before believing them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ppx_ext import choice_words
from ppx_ext.building.provenance import SOURCES
from ppx_ext.verdict import percent

Json = Mapping[str, Any]

NOT_EVALUATED = (
    "Nothing was evaluated, so this report cannot say what was learned or forgotten. Add an "
    "`eval:` stage to the recipe's `ppx:` block; `ppx methods` lists the suites."
)
NO_BASELINE = "The untouched model was not measured, so nothing says what was learned or forgotten."


def sentences(stages: Sequence[Json]) -> list[str]:
    """What was built, chosen and masked."""
    chosen = [words for one in _of_kind(stages, "choose") for words in choice_words.sentences(one)]
    masked = [words for one in _of_kind(stages, "mask") for words in _masking(one)]
    return [*map(_building, _of_kind(stages, "build")), *chosen, *masked]


def warnings(stages: Sequence[Json]) -> list[str]:
    """What the stages left out, and masks that leave little."""
    chosen = [words for one in _of_kind(stages, "choose") for words in choice_words.warnings(one)]
    masked = [words for one in _of_kind(stages, "mask") for words in _mask_warnings(one)]
    return [*_skips(stages), *chosen, *masked]


def _of_kind(stages: Sequence[Json], kind: str) -> list[Json]:
    return [stage for stage in stages if stage["stage"] == kind]


def forgetting(found: Json | None) -> tuple[list[str], list[str]]:
    """Sentences and warnings of a run's evaluations: the gate, what was kept, what it cost."""
    if found is None:
        return [], []
    said, warned = [], []
    checked = [one for one in found["evaluations"] if one["gate"] and not one["restored"]]
    breaches = [one for one in checked if not one["gate"]["ok"]]
    if breaches:
        drops = breaches[-1]["gate"]["drops"]
        beyond = " and ".join(drop["words"] for drop in drops if drop["breached"])
        places = ", ".join(map(_label, breaches))
        warned.append(
            f"The gate was breached in {len(breaches)} of {len(checked)} evaluations "
            f"({places}). At the last of them {beyond}.{_stopped(found, breaches[-1])}"
        )
    elif checked:
        # Of the weights that the run ends with, which may be those of an earlier step.
        last = [one for one in found["evaluations"] if one["gate"]][-1]
        whose = f"{last['name']}: " if last["name"] else ""
        said.append(whose + last["gate"]["words"])
    if kept := found["kept"]:
        step = "its last step" if kept["step"] is None else f"step {kept['step']:,}"
        said.append(f"The run ended with the weights of {step}: {kept['words']}")
    for one in found["failures"]:
        warned.append(f"The evaluation at step {one['step']:,} failed: {one['error']}")
    share = (found["cost"] or {}).get("share")
    if share is not None:
        said.append(f"Evaluating took {percent(100 * share)} of the training time.")
    return said, warned


def _stopped(found: Json, breach: Json) -> str:
    """Of a training run (what `ppx eval` measured has names), if the gate ended it."""
    stops = found["gate"] is not None and found["gate"]["on_breach"] != "warn"
    return " Training stopped there." if stops and not breach["name"] else ""


def _label(one: Json) -> str:
    return str(one["name"] or f"step {one['step']:,}")


def _building(stage: Json) -> str:
    numbers = stage["numbers"]
    own, paraphrase, gold = (percent(100 * numbers["shares"][source]) for source in SOURCES)
    return (
        f"Of the {numbers['rows']:,} targets that the builder `{stage['component']}` made"
        f"{_of(stage)}, {own} are the model's own answers, {paraphrase} its paraphrases of golds, "
        f"and {gold} the golds."
    )


def _of(stage: Json) -> str:
    return f" for {stage['arm']}" if stage.get("arm") else ""


def _masking(stage: Json) -> list[str]:
    numbers = stage["numbers"]
    if "masked_share" not in numbers:
        return []
    kept = numbers.get("loss_kept")
    loss = "" if kept is None else f"; {percent(100 * kept)} of the base's loss on them is left"
    return [
        f"The mask `{stage['component']}`{_of(stage)} took {numbers['masked']:,} of "
        f"{numbers['targets']:,} targets out of the loss ({percent(100 * numbers['masked_share'])})"
        f"{loss}."
    ]


def _skips(stages: Sequence[Json]) -> list[str]:
    found = []
    for stage in stages:
        if skipped := stage["numbers"].get("skipped"):
            reasons = stage["numbers"].get("skipped_by_reason") or {}
            named = ", ".join(f"{reason}: {count:,}" for reason, count in reasons.items())
            found.append(f"{skipped:,} rows were left out ({named}).")
    return list(dict.fromkeys(found))


def _mask_warnings(stage: Json) -> list[str]:
    numbers = stage["numbers"]
    whose = f"Of {stage['arm']}: " if stage.get("arm") else ""
    found = []
    if (share := numbers.get("masked_share") or 0) > 0.5:
        found.append(
            f"{percent(100 * share)} of all targets are masked: the base hardly knows this kind of "
            "text, and what is left may not teach the task. Mask less: a higher threshold, or a "
            "fraction (the STM paper aims at 20 to 25 %, section 5.3)."
        )
    if rows := numbers.get("no_targets", {}).get("rows"):
        found.append(f"{rows:,} rows have no target left and teach nothing.")
    few = numbers.get("few_targets", {})
    if rows := few.get("rows"):
        found.append(f"{rows:,} rows are left with fewer than {few['below']} targets.")
    near = numbers.get("near_threshold")
    if near and near > 0.005 * numbers["targets"]:
        found.append(
            f"{near:,} targets lie within 1 % of the threshold: another machine or dtype can "
            "round them to the other side."
        )
    return [whose + words for words in found]
