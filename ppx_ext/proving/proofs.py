"""What a run must have left behind to count as a run of its recipe."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

_STAGES = ("build", "choose", "mask")


def of(block: Mapping[str, Any], out: Path, base: Path) -> list[str]:
    """What was seen of a finished run, in words.

    Args:
        block: the recipe's `ppx:` block.
        out: output folder of the run.
        base: folder of the model that it started from.

    Raises:
        ValueError: a stage that the block asks for left no record, no weight was moved, or there
            is no evaluation or report.
    """
    state = _read(out / "ppx_state.json")
    done = {record["stage"]: record["numbers"] for record in state.get("records") or ()}
    if missing := [name for name in _STAGES if block.get(name) and name not in done]:
        raise ValueError(f"no record of {', '.join(missing)} in {out / 'ppx_state.json'}")
    found = [f"{name}: {_told(name, done[name])}" for name in _STAGES if name in done]
    found.append(f"trained: {_moved(out, base)}")
    if block.get("eval"):
        found.append(f"measured: {_measured(out)}")
    if not (out / "report.html").is_file():
        raise ValueError(f"there is no report in {out}")
    return [*found, "reported"]


def _told(stage: str, numbers: Mapping[str, Any]) -> str:
    if stage == "build":
        return ", ".join(f"{count} {whose}" for whose, count in numbers["composition"].items())
    if stage == "choose":
        passes = f" in {numbers['epochs']} epochs" if numbers["epochs"] > 1 else ""
        distinct = f"{numbers['distinct_rows_chosen']} of {numbers['rows']} rows"
        return f"{distinct}, {numbers['rows_chosen']} examples{passes}"
    return f"{numbers['masked']} of {numbers['targets']} target tokens masked"


def _moved(out: Path, base: Path) -> str:
    """How far the weights went: an adapter starts at nothing, a model where its base is."""
    import torch
    from safetensors.torch import load_file

    if (out / "adapter_model.safetensors").is_file():
        weights = load_file(out / "adapter_model.safetensors")
        grown = [value for name, value in weights.items() if "lora_B" in name]
        size = float(sum(value.float().norm() ** 2 for value in grown)) ** 0.5
        kind = "adapter"
    elif (out / "model.safetensors").is_file():
        weights, start = load_file(out / "model.safetensors"), load_file(base / "model.safetensors")
        ends = [(value.float() - start[name].float()).norm() for name, value in weights.items()]
        size, kind = float(torch.stack(ends).norm()), "model"
    else:
        raise ValueError(f"no weights were saved to {out}")
    if not 0 < size < float("inf"):
        raise ValueError(f"the {kind} was not trained: its weights moved by {size}")
    return f"the {kind}, which moved by {size:.2g}"


def _measured(out: Path) -> str:
    kept = _read(out / "ppx_eval.json")
    evaluations = kept.get("evaluations") or []
    when = [one.get("when") for one in evaluations]
    if not {"before", "after"} <= set(when):
        raise ValueError(f"measured {when} in {out / 'ppx_eval.json'}, and not before and after")
    tasks = {score["task"] for one in evaluations for score in one.get("scores") or ()}
    texts = {score["task"] for one in evaluations for score in one.get("texts") or ()}
    return f"{', '.join(sorted(tasks | texts))}, {' and '.join(when)}"


def _read(file: Path) -> dict[str, Any]:
    if not file.is_file():
        raise ValueError(f"the run left no {file}")
    found: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return found
