"""Smoke runs of the shipped recipes, shared out over test files: a worker runs one in a process.

With Axolotl installed, all of them run. Beside the newest TRL, where it is not, one of each method
and one of each model.
"""

from __future__ import annotations

import functools
import itertools
from pathlib import Path

from ppx_ext import recipes
from ppx_ext.proving import smoke
from tests.conftest import HAS_AXOLOTL

FILES_OF = {
    "stm": ("stm", "combined"),
    "filters": ("stm_dpf", "dpf"),
    "sft": ("sft",),
    "rephrase": ("rephrase",),
    "self_output": ("self_output", "s3ft"),
    "difficulty": ("difficulty",),
}
"""Test file -> the methods whose recipes it runs."""

METHODS = tuple(method for methods in FILES_OF.values() for method in methods)

Group = tuple[str, list[Path]]
_KNOWN: dict[str, smoke.Smoked] = {}


def groups(*methods: str) -> list[Group]:
    """(method/model, its recipes for TRL)."""
    found = [file for _, file in recipes.shipped() if ".trl." in file.name]
    chosen = found if HAS_AXOLOTL else sample(found)
    files = sorted(file for file in chosen if file.parts[-3] in methods)
    by_folder = itertools.groupby(files, key=lambda file: "/".join(file.parts[-3:-1]))
    return [(folder, list(inside)) for folder, inside in by_folder]


def sample(files: list[Path]) -> list[Path]:
    """The first recipe of each method, and of each model that these leave out."""
    first: dict[str, Path] = {}
    for file in sorted(files):
        first.setdefault(file.parts[-3], file)
    models = {file.parts[-2] for file in first.values()}
    for file in sorted(files):
        if file.parts[-2] not in models:
            models.add(file.parts[-2])
            first[str(file)] = file
    return list(first.values())


def label(group: Group) -> str:
    return group[0]


@functools.cache
def one_of_each_model() -> tuple[Path, ...]:
    """A recipe for Axolotl of each model: of those with most stages, the first."""
    found: dict[str, tuple[int, Path]] = {}
    for file in sorted(file for _, file in recipes.shipped() if ".axolotl." in file.name):
        settings = recipes.load(file).settings
        stages = sum(name in settings["ppx"] for name in ("build", "choose", "mask"))
        name = settings["base_model"]
        if name not in found or stages > found[name][0]:
            found[name] = (stages, file)
    return tuple(file for _, file in found.values())


def run(files: list[Path], out: Path) -> None:
    """Each runs to its end, its block's own stages ran, and all that was swapped was told."""
    done = [smoke.smoke(file, out / file.stem, _KNOWN) for file in files]
    assert [f"{one.recipe}: {one.error}" for one in done if not one.ok] == []
    for one in done:
        block = recipes.load(one.recipe).block
        stages = [name for name in ("build", "choose", "mask") if name in block]
        wanted = [*stages, "trained", *(["measured"] if "eval" in block else []), "reported"]
        assert [line.partition(":")[0] for line in one.proved] == wanted
        assert any(line.startswith("data: ") for line in one.swaps)
        assert "device: CPU, in one process" in one.swaps
