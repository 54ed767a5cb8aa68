"""The runs of a comparison: one for each arm and seed, and the base, which is only measured."""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ppx_ext.comparing.arms import Arm
from ppx_ext.comparing.edits import merged
from ppx_ext.files import fingerprint_with_files
from ppx_ext.recipes import Host

BASE = "base"
RUNS, SCORES = "runs", "scores"
RESULT, FAILED, STARTED = "result.json", "failed.json", "started.json"
SCHEMA = 1
_PLACES = ("output_dir", "dataset_prepared_path", "cache_dir")
# What would upload a run, or begin it anywhere but at the base.
_DROPPED = (
    "hub_model_id",
    "hub_strategy",
    "push_to_hub",
    "resume_from_checkpoint",
    "auto_resume_from_checkpoints",
)


@dataclass(frozen=True, kw_only=True)
class Job:
    """One training and its measuring, or the measuring of the base. Plain values only.

    Attributes:
        arm: its name, or ``base``.
        seed: None for the base.
        host: of the recipe.
        settings: the recipe of this run, `ppx.eval` included, but for its folders.
        out: the folder of the comparison.
        matched: scale the change of weights to that of this job.
        keep_weights: leave the trained weights in the run's folder.
    """

    arm: str
    seed: int | None
    host: Host
    settings: dict[str, Any]
    out: Path
    matched: str | None = None
    keep_weights: bool = False

    @property
    def name(self) -> str:
        """Of its folder."""
        return name_of(self.arm, self.seed)

    @property
    def folder(self) -> Path:
        """Where all that it leaves lies."""
        return self.out / RUNS / self.name

    @functools.cached_property
    def fingerprint(self) -> str:
        """Of all that its result hangs on, as far as settings and files tell."""
        named = {"settings": self.settings, "matched": self.matched, "schema": SCHEMA}
        return fingerprint_with_files(named, places=_PLACES)

    def recipe(self, folder: Path) -> dict[str, Any]:
        """What the host trains: nothing is measured in there, as it is measured after."""
        ours: dict[str, Any] = {"ppx": {"eval": None}, "output_dir": str(folder)}
        block = self.settings["ppx"]
        if self.host == "axolotl":
            ours["dataset_prepared_path"] = str(folder / "prepared")
            if not any(block.get(stage) for stage in ("build", "choose", "mask")):
                # A mask that masks nothing: all arms then get their rows in one way.
                ours["ppx"]["mask"] = {"use": "stm", "ppl_threshold": float("inf")}
        ours["ppx"]["cache_dir"] = block.get("cache_dir") or str(self.out / SCORES)
        return merged(self.settings, ours)


def name_of(arm: str, seed: int | None) -> str:
    """Of a run's folder."""
    plain = re.sub(r"[^\w.+-]+", "_", arm)
    return plain if seed is None else f"{plain}-{seed}"


def jobs_of(
    arms: Sequence[Arm],
    seeds: Sequence[int],
    *,
    common: dict[str, Any],
    host: Host,
    out: Path,
    keep_weights: bool = False,
) -> tuple[Job, ...]:
    """The base, then all arms seed by seed, so that a comparison that is cut short is still one.

    Raises:
        ValueError: two arms would share a folder.
    """
    names = [name_of(arm.name, None) for arm in arms]
    if twice := sorted({name for name in names if names.count(name) > 1 or name == BASE}):
        raise ValueError(f"two arms (or the base) would share the folder {twice[0]!r}; rename one")
    given: dict[str, Any] = {"host": host, "out": out, "keep_weights": keep_weights}
    base = Job(arm=BASE, seed=None, settings=_settings(common), **given)
    return (
        base,
        *(
            Job(
                arm=arm.name,
                seed=seed,
                settings=_settings(arm.settings, seed=seed, draws=arm.draws),
                matched=arm.matched and name_of(arm.matched, seed),
                **given,
            )
            for seed in seeds
            for arm in arms
        ),
    )


def _settings(
    settings: dict[str, Any], *, seed: int | None = None, draws: bool = False
) -> dict[str, Any]:
    kept = {key: value for key, value in settings.items() if key not in _DROPPED}
    if seed is None:
        return kept
    # Builders answer once for all seeds; only a mask that draws at random draws anew.
    return merged(kept, {"seed": seed, **({"ppx": {"seed": seed}} if draws else {})})
