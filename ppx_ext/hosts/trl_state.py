"""What a run says at its start, and the file that tells afterwards what was trained on."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ppx_ext import manifest
from ppx_ext.contracts import StageRecord
from ppx_ext.evaluating.described import described
from ppx_ext.files import write_json
from ppx_ext.hosts import built, chosen

if TYPE_CHECKING:
    from ppx_ext.plan import Plan

STATE_FILE = "ppx_state.json"


def store_of(plan: Plan) -> Path:
    """Where scores are kept: ``cache_dir``, or beside what `datasets` keeps."""
    from datasets import config

    return plan.cache_dir or Path(config.HF_DATASETS_CACHE) / "ppx"


def banner(plan: Plan, records: Sequence[StageRecord], *, state_file: Path) -> str:
    """What a reader of the log needs: whose words, which mask, how applied, what it took, where."""
    lines = [f"ppx: built by {line}" for line in built.told(records)]
    lines += [f"ppx: chosen by {line}" for line in chosen.told(records)]
    lines.append(_mask_line(plan, records, state_file))
    if plan.eval is not None:
        lines.append(f"ppx: {described(plan.eval)}")
    return "\n".join(lines)


def _mask_line(plan: Plan, records: Sequence[StageRecord], state_file: Path) -> str:
    if plan.mask is None:
        return f"ppx: no mask, so every target is trained on as usual. State: {state_file}"
    given = plan.mask.settings.model_dump(mode="json", exclude_unset=True)
    set_to = [f"{key} {value}" for key, value in given.items() if value is not None]
    shown = ", ".join(set_to) or "its defaults"
    name = plan.mask.component.name
    which = ", golds only" if plan.masked_rows == "gold" else ""
    taken = _taken(records)
    return f"ppx: mask {name} ({shown}), {plan.apply}{which}: {taken}. State: {state_file}"


def _taken(records: Sequence[StageRecord]) -> str:
    numbers = next((record.numbers for record in records if record.stage == "mask"), None)
    if numbers is None:
        return "decided in each training step"
    loss = numbers["loss_kept"]
    kept = "" if loss is None else f", {loss:.1%} of the loss kept"
    share = f"{numbers['masked']:,} of {numbers['targets']:,} targets masked"
    return f"{share} ({numbers['masked_share']:.1%}){kept}"


def write_state(path: Path, plan: Plan, records: Sequence[StageRecord]) -> None:
    """Write plan, versions and records as JSON, whole or not at all."""
    content = {
        "host": "trl",
        "plan": plan.dump(),
        "versions": manifest.versions(),
        "records": manifest.dump_records(records),
    }
    write_json(path, content)
