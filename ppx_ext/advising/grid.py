"""Which pilots are run, and the recipe of each."""

from __future__ import annotations

import copy
import itertools
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from ppx_ext.files import fingerprint_with_files
from ppx_ext.plan import PlanError

if TYPE_CHECKING:
    from ppx_ext.recipes import Recipe

Metric: TypeAlias = Literal["accuracy", "eval_loss"]

_PLACES = ("output_dir", "dataset_prepared_path", "cache_dir")
# What would upload a pilot, or make another run than the recipe's of it.
_DROPPED = (
    "hub_model_id",
    "hub_strategy",
    "resume_from_checkpoint",
    "auto_resume_from_checkpoints",
)
_WHEN = ("evals_per_epoch", "saves_per_epoch", "eval_steps", "save_steps", "save_first_step")


@dataclass(frozen=True, kw_only=True)
class Job:
    """One pilot. ``examples`` None takes all rows."""

    examples: int | None
    low: float
    high: float
    seed: int

    @property
    def name(self) -> str:
        """Of its files."""
        if self.examples is None:
            return f"all-seed{self.seed}"
        whole = (self.low, self.high) == (0.0, 1.0)
        band = "random" if whole else f"{self.low:.3f}-{self.high:.3f}"
        return f"{self.examples}-{band}-seed{self.seed}"

    def choose(self, by: Any) -> dict[str, Any]:
        """Its `choose:` block."""
        found = {"use": "budget", "by": by, "window": [self.low, self.high]}
        return found if self.examples is None else {**found, "max_examples": self.examples}


@dataclass(frozen=True, kw_only=True)
class Grid:
    """Budgets by bands of equal width by seeds; at each budget rows at random too.

    Attributes:
        everything: train on all rows too, once for each seed.
    """

    budgets: tuple[int, ...]
    bands: int = 3
    seeds: int = 3
    everything: bool = False

    def check(self) -> None:
        """Refuse, before any pilot, a grid that would not tell a surface.

        Raises:
            ValueError: it has too few budgets, bands or seeds.
        """
        if len(set(self.budgets)) < 2 or min(self.budgets) < 1 or self.bands < 3 or self.seeds < 2:
            raise ValueError(
                f"--grid {','.join(map(str, self.budgets))} --bands {self.bands} --seeds "
                f"{self.seeds} would not tell an optimum and its drift: two or more budgets of at "
                "least 1, three or more bands and two or more seeds are needed"
            )

    def jobs(self) -> Iterator[Job]:
        """All pilots, seed by seed, so that a grid that is cut short is still one."""
        edges = [round(at / self.bands, 6) for at in range(self.bands + 1)]
        bands = [*itertools.pairwise(edges), (0.0, 1.0)]
        for seed in range(self.seeds):
            for examples in sorted(set(self.budgets)):
                for low, high in bands:
                    yield Job(examples=examples, low=low, high=high, seed=seed)
            if self.everything:
                yield Job(examples=None, low=0.0, high=1.0, seed=seed)


def block_of(recipe: Recipe, job: Job, by: Any) -> dict[str, Any]:
    """The recipe's `ppx:` block with the pilot's choice and seed.

    Raises:
        PlanError: it is no mapping.
    """
    if not isinstance(recipe.block, Mapping):
        raise PlanError([f"ppx: {recipe.path} has no `ppx:` block that is a mapping"])
    return {**copy.deepcopy(dict(recipe.block)), "choose": job.choose(by), "seed": job.seed}


def settings_of(recipe: Recipe, job: Job, by: Any, *, metric: Metric, out: Path) -> dict[str, Any]:
    """A recipe of the pilot: the user's own, but for what `Job` says.

    ``out`` is the folder of all pilots; measures of rows are kept there for all of them, unless
    the recipe says where.
    """
    block = block_of(recipe, job, by)
    block["cache_dir"] = block.get("cache_dir") or str(out / "scores")
    kept = {key: value for key, value in recipe.settings.items() if key not in _DROPPED}
    settings = {**copy.deepcopy(kept), "ppx": block, "seed": job.seed}
    if recipe.host == "trl":
        settings["push_to_hub"] = False
    else:
        settings["dataset_prepared_path"] = str(run_folder(out, job) / "prepared")
    return _with_losses(settings, recipe.host) if metric == "eval_loss" else settings


def _with_losses(settings: dict[str, Any], host: str) -> dict[str, Any]:
    """Evaluate before the first step and after the last; a checkpoint then keeps the losses."""
    kept = {key: value for key, value in settings.items() if key not in _WHEN}
    each: dict[str, Any] = {"eval_strategy": "epoch", "save_strategy": "epoch"}
    each |= {"save_total_limit": 1, "save_only_model": True, "load_best_model_at_end": False}
    # Axolotl always evaluates first, and knows no key for it.
    first = {"eval_on_start": True} if host == "trl" else {}
    return {**kept, **each, **first}


def run_folder(out: Path, job: Job) -> Path:
    """Where a pilot's host writes; it goes once the value is read."""
    # A host that outlived a killed `ppx budget` may still write to the folder of that one.
    return out / "pilots" / f"{job.name}.run-{os.getpid()}"


def fingerprint_of(settings: Mapping[str, Any], **more: Any) -> str:
    """Hash of a pilot's recipe, of ``more``, and of size and time of the files that they name."""
    return fingerprint_with_files({"settings": dict(settings), **more}, places=_PLACES)
