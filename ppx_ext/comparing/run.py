"""`compare`: arms and seeds -> runs, a study and its report."""

from __future__ import annotations

import importlib
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from ppx_ext import manifest, reporting
from ppx_ext.comparing import results
from ppx_ext.comparing.arms import SWEEP, Arm, ArmError, arms_of, common, with_sweep
from ppx_ext.comparing.edits import differences
from ppx_ext.comparing.jobs import BASE, Job, jobs_of
from ppx_ext.comparing.perform import evaluation_of
from ppx_ext.comparing.workers import work_off
from ppx_ext.evaluating.described import problems
from ppx_ext.plan import PlanError
from ppx_ext.recipes import Recipe
from ppx_ext.records import SCHEMA, write_json
from ppx_ext.study import dump_study

DEFAULT_SEEDS = 8
_KNOWN = {"ppx", "learning_rate", "loss_type", "use_eaft"}
"""Keys of our own arms."""
Json = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What is compared.

    Attributes:
        recipe: what all arms share; with an `eval:` stage.
        arms: names (see `arms`), the first of which all others are held against.
        given: the user's own arms.
        seeds: each arm is trained with each.
        out: a folder, which may be shared with other processes that compare the same.
        sweep: add plain SFT at smaller learning rates; without it, the report warns.
        workers: processes side by side, one thread each.
        keep_weights: leave trained weights in the runs' folders.
        kind, title, warnings, command: for the report.
    """

    recipe: Recipe
    arms: tuple[str, ...]
    seeds: tuple[int, ...]
    out: Path
    given: Mapping[str, Any] = field(default_factory=dict)
    sweep: bool = True
    workers: int = 1
    keep_weights: bool = False
    kind: Literal["comparison", "demo"] = "comparison"
    title: str = ""
    warnings: tuple[str, ...] = ()
    command: str | None = None

    def chosen(self) -> tuple[Arm, ...]:
        """The arms; each one's block is checked.

        Raises:
            ArmError: one cannot be had; it is named.
        """
        names = with_sweep(self.arms) if self.sweep else self.arms
        found = arms_of(self.recipe, names, self.given)
        for arm in found:
            _check(self.recipe, arm, {one.name for one in found})
        return found

    def jobs(self) -> tuple[Job, ...]:
        """All runs."""
        return jobs_of(
            self.chosen(),
            self.seeds,
            common=common(self.recipe),
            host=self.recipe.host,
            out=self.out,
            keep_weights=self.keep_weights,
        )


def _check(recipe: Recipe, arm: Arm, names: set[str]) -> None:
    from ppx_ext import catalog, plan

    try:
        plan.parse(arm.settings["ppx"], catalog.load())
    except ValueError as error:
        raise ArmError(f"arm {arm.name!r}: {error}") from error
    if arm.matched and arm.matched not in names:
        raise ArmError(f"arm {arm.name!r} goes by {arm.matched!r}: add that to --arms")


def _check_keys(recipe: Recipe, arms: Sequence[Arm]) -> None:
    """Axolotl drops a key that it does not know without a word: two arms would be the same one."""
    shared = common(recipe)
    own = {
        arm.name: {key for key in arm.settings if arm.settings[key] != shared.get(key)} - _KNOWN
        for arm in arms
    }
    if not any(own.values()):  # looking loads the host
        return
    host = importlib.import_module(f"ppx_ext.comparing.in_{recipe.host}")
    for arm in arms:
        for found in host.unknown_keys(arm.settings) if own[arm.name] else ():
            if re.split(r"[.\[]", found.where)[0] in own[arm.name]:
                raise ArmError(f"arm {arm.name!r}: {found.where}: {found.message}")


def check(wanted: Wanted) -> tuple[Job, ...]:
    """Everything that can be known before a run; gives the runs.

    Raises:
        ValueError: no seed or arm, no `eval:` stage or no target in it, an arm that cannot be had,
            or what a suite finds missing.
    """
    if not isinstance(wanted.recipe.block, Mapping):
        raise ValueError(f"{wanted.recipe.path} has no `ppx:` block that is a mapping")
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise ValueError(
            "a launcher (torchrun, accelerate launch) makes its processes train one model "
            "together; here each trains its own. Start `ppx compare` itself, once or on several "
            "machines with one --out, and give --workers"
        )
    if not wanted.seeds or len(set(wanted.seeds)) < len(wanted.seeds):
        raise ValueError("give at least one seed, and none twice")
    if not wanted.arms:
        raise ValueError("give at least one arm")
    evaluation = evaluation_of(common(wanted.recipe))
    if not _names_a_target(evaluation.dump()["suites"]):
        raise ValueError(
            "no task of the recipe's `eval:` is marked as the target, so that nothing tells what "
            "is to be learned and what is forgotten. Give the task that is trained on `target: "
            "true`"
        )
    jobs = wanted.jobs()
    _check_keys(wanted.recipe, wanted.chosen())
    if missing := problems(evaluation):
        raise PlanError(missing)
    return jobs


def _names_a_target(values: Any) -> bool:
    if isinstance(values, Mapping):
        return values.get("target") is True or any(map(_names_a_target, values.values()))
    return isinstance(values, list | tuple) and any(map(_names_a_target, values))


def compare(wanted: Wanted) -> Json:
    """Do all runs that are not done, and write what they show; gives the content of report.json.

    Raises:
        ValueError: see `check`; or the base or every arm failed.
    """
    jobs = check(wanted)
    wanted.out.mkdir(parents=True, exist_ok=True)
    work_off(jobs, workers=wanted.workers)
    write_json(wanted.out / reporting.STUDY_FILE, _content(wanted, jobs))
    return reporting.write(wanted.out)


def _content(wanted: Wanted, jobs: Sequence[Job]) -> Json:
    study = results.study_of(jobs)
    lacking = results.lacking(jobs)
    return {
        "schema": SCHEMA,
        "kind": wanted.kind,
        "title": wanted.title or f"What {wanted.recipe.path.name} learns and forgets",
        "warnings": [*wanted.warnings, *_warnings(wanted, lacking, study.arms[0].name)],
        "study": dump_study(study),
        "stages": list(results.stages_of(jobs)),
        "examples": results.examples_of(jobs),
        "repeat": _repeat(wanted),
        "comparison": {
            "recipe": str(wanted.recipe.path),
            "host": wanted.recipe.host,
            "seeds": list(wanted.seeds),
            "arms": described(wanted),
            "lacking": lacking,
        },
    }


def described(wanted: Wanted) -> Json:
    """Each arm in words, and what of it differs from what all arms share."""
    shared = common(wanted.recipe)
    return {
        arm.name: {"says": arm.says, "edit": differences(shared, arm.settings)}
        for arm in wanted.chosen()
    }


def _warnings(wanted: Wanted, lacking: Sequence[Json], reference: str) -> list[str]:
    found = [
        f"{one['arm']}" + ("" if one["arm"] == BASE else f", seed {one['seed']}")
        + f", is missing: {one['why']}. Started again, only what is missing is run."
        for one in lacking
    ]  # fmt: skip
    arms = wanted.chosen()
    if reference != arms[0].name:
        found.append(
            f"{arms[0].name}, which all other arms were to be held against, has no run; they are "
            f"held against {reference} in its place."
        )
    rates = {arm.settings.get("learning_rate") for arm in arms if _is_plain(arm)}
    if len(rates) < len(SWEEP):
        found.append(
            "Plain fine-tuning was not run at smaller learning rates too. These alone prevent much "
            "forgetting, so that nothing here says that a method does better than a smaller rate."
        )
    found += [
        f"`{key}` of the recipe's `eval:` played no part: each run is measured once, at its end."
        for key in ("every", "gate", "keep")
        if (wanted.recipe.block.get("eval") or {}).get(key) not in (None, "last")
    ]
    return found


def _is_plain(arm: Arm) -> bool:
    block = arm.settings["ppx"]
    return not arm.matched and not any(block.get(key) for key in ("build", "mask", "kl"))


def _repeat(wanted: Wanted) -> Json:
    return {
        "command": wanted.command,
        "protocol": (
            "One recipe; arms differ in what is listed for each, and in nothing else: same host, "
            "adapter, rows, order, batches, steps, template and seeds. Seeds vary the adapter's "
            "first weights and the order of the rows (and what a random mask draws); test items "
            "are fixed. The base is measured once, each run at its end. A difference counts where "
            "an exact sign-flip test over seeds and a test over items both find it at 5 %, after "
            "Holm's correction."
        ),
        "seeds": list(wanted.seeds),
        "settings": dict(common(wanted.recipe)),
        "versions": manifest.versions(),
    }
