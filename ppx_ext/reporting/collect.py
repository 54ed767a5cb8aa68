"""The files of a run -> the content of report.json; every number from raw item results."""

from __future__ import annotations

import json
import shlex
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from ppx_ext.records import EVAL_FILE, load_score
from ppx_ext.records import SCHEMA as FILES_SCHEMA
from ppx_ext.reporting import comparison, curves, forgetting, words
from ppx_ext.reporting.schema import SCHEMA
from ppx_ext.study import Arm, Run, Study, analyse, dump_study, load_study

STUDY_FILE = "ppx_study.json"
STATE_FILE = "ppx_state.json"
MANIFEST_FILE = "manifest.json"
RECIPE_FILE = "ppx_recipe.yaml"
_FILES = (STUDY_FILE, EVAL_FILE, STATE_FILE, MANIFEST_FILE)
TUNED = "the tuned model"
_GIVEN = "# Given instead: "
_NUMBERS = ("ti", "bwt", "drop")
_TITLES = {
    "demo": "Demo",
    "comparison": "Comparison",
    "training": "Training run",
    "evaluation": "Evaluation",
    "prepared": "Prepared data set",
}

Json = dict[str, Any]


def collect(folder: Path) -> Json:
    """The content of report.json but its ``tokens``; see `schema.Report`.

    Raises:
        ValueError: no run of ours wrote there, or a file of it cannot be read (it is named).
    """
    found = {name: _read(folder / name) for name in _FILES if (folder / name).is_file()}
    if not found and (folder / "runs" / "base").is_dir():
        raise ValueError(
            f"{folder} is a comparison that has not ended: its report comes at its end. Start the "
            "same command again; it goes on"
        )
    if not found:
        raise ValueError(
            f"{folder} holds none of {', '.join(_FILES)}: give the output folder of a training "
            "run, of `ppx prepare`, of `ppx eval --out`, of `ppx compare` or of `ppx demo`"
        )
    try:
        return _report(found, folder)
    except (KeyError, TypeError, AttributeError) as error:
        names = ", ".join(found)
        raise ValueError(f"{folder}: {names}: not as this version writes it: {error!r}") from error


def _read(path: Path) -> Json:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ValueError(f"{path} cannot be read: {error}") from error
    if not isinstance(found, dict) or found.get("schema", FILES_SCHEMA) != FILES_SCHEMA:
        raise ValueError(f"{path} has a layout that this version does not know")
    return found


def _report(found: Mapping[str, Json], folder: Path) -> Json:
    compared = found.get(STUDY_FILE, {})
    run = found.get(STATE_FILE) or found.get(MANIFEST_FILE) or {}
    kind = _kind(found)
    evaluated = found.get(EVAL_FILE)
    study = load_study(compared["study"]) if compared else _study_of_run(evaluated)
    analysis = analyse(study) if study else None
    stages = compared.get("stages") or run.get("records") or run.get("stages") or []
    kept = forgetting.of(evaluated) if evaluated else None
    if kept is not None:
        alone = analysis is not None and len(analysis["arms"]) == 1
        kept["summary"] = _summary(analysis) if analysis and alone else None
    said, warned = words.forgetting(kept)
    training, sources = _training(folder, compared)
    lacking = [] if analysis or kind == "prepared" else [_lacking(evaluated)]
    return {
        "schema": SCHEMA,
        "kind": kind,
        "title": compared.get("title") or f"{_TITLES[kind]}: {folder.resolve().name}",
        "verdict": [
            *_frontier(analysis),
            *(analysis["verdict"] if analysis else []),
            *said,
            *words.sentences(stages),
        ],
        "warnings": [
            *compared.get("warnings", []),
            *warned,
            *lacking,
            *(analysis["warnings"] if analysis else []),
            *words.warnings(stages),
            *(words for one in training.values() for words in curves.warnings(one)),
        ],
        "notes": _notes(kind, training),
        "study": analysis,
        "items": dump_study(study) if study else None,
        "comparison": compared.get("comparison"),
        "forgetting": kept,
        "training": training,
        "stages": stages,
        "choosing": [stage for stage in stages if stage["stage"] == "choose"],
        "masking": next((one["numbers"] for one in stages if one["stage"] == "mask"), None) or None,
        "building": [stage for stage in stages if stage["stage"] == "build"],
        "tokens": [],
        "examples": compared.get("examples", []),
        "repeat": compared.get("repeat") or _repeat(run, evaluated, folder, found),
        "sources": sorted([*found, *sources]),
    }  # fmt: skip


def _kind(found: Mapping[str, Json]) -> str:
    if STUDY_FILE in found:
        told = found[STUDY_FILE]
        return str(told.get("kind") or ("comparison" if "comparison" in told else "demo"))
    if STATE_FILE in found:
        return "training"
    return "evaluation" if EVAL_FILE in found else "prepared"


def _lacking(evaluated: Json | None) -> str:
    return words.NO_BASELINE if evaluated else words.NOT_EVALUATED


def _study_of_run(found: Json | None) -> Study | None:
    """What a run or `ppx eval` measured, as a study of one seed; None where it lacks the base.

    The trained model is an arm, and so is each model that has a name.
    """
    records = (found or {}).get("evaluations", [])
    base = next((record for record in records if record["when"] == "before"), None)
    arms = {
        record.get("name") or TUNED: _run(record) for record in records if record["when"] == "after"
    }
    if base is None or not arms or not base["scores"]:
        return None
    return Study(
        base=_run(base), arms=tuple(Arm(name=name, runs=(run,)) for name, run in arms.items())
    )


def _run(record: Json) -> Run:
    return Run(scores=tuple(map(load_score, record["scores"])))


def _frontier(analysis: Json | None) -> list[str]:
    """With many arms, which of them are worth a look comes before what each pair shows."""
    if analysis is None or len(analysis["arms"]) < 3:
        return []
    said = comparison.frontier_words(analysis)
    return [] if said is None else [said]


def _summary(analysis: Json) -> Json:
    """The papers' numbers of the only arm of a study, with their intervals."""
    (arm,) = analysis["arms"]
    return {
        **{name: arm["mean"].get(name) for name in _NUMBERS},
        **{f"{name}_interval": arm["intervals"][name] for name in _NUMBERS},
        "undefined": arm["undefined"],
    }


def _training(folder: Path, compared: Json) -> tuple[dict[str, Json], list[str]]:
    """What trainers logged: of the run itself, or of each arm's first run."""
    if not compared:
        state = curves.find(folder)
        if state is None:
            return {}, []
        found = curves.read(state, folder=folder)
        return {"": found}, [found["source"]]
    arms = {arm["name"]: arm["runs"] for arm in compared["study"]["arms"] if arm["runs"]}
    paths = {
        name: folder / "runs" / f"{name}-{runs[0].get('seed')}" / curves.HISTORY_FILE
        for name, runs in arms.items()
    }
    read = {
        name: curves.read(path, folder=folder) for name, path in paths.items() if path.is_file()
    }
    return read, []


def _notes(kind: str, training: Mapping[str, Json]) -> list[str]:
    """What the page leaves out, and what would bring it."""
    found = []
    if kind == "training":
        if not training:
            found.append(
                f"Training curves: the trainer left no {curves.TRAINER_FILE} in this folder, nor "
                "in a checkpoint of it."
            )
        found.append(
            "Token pages: this folder holds no prepared rows. `ppx prepare RECIPE --out DIR` makes "
            "them, and `ppx report DIR` shows them."
        )
    elif kind in ("demo", "comparison") and not training:
        found.append("Training curves: no run of this folder left its log.")
    return found


def _repeat(run: Json, evaluated: Json | None, folder: Path, names: Collection[str]) -> Json:
    plan = run.get("plan") or {}
    known = ("plan", "recipe", "records", "stages", "versions", "schema")
    others = {key: value for key, value in run.items() if key not in known}
    recipe = folder / RECIPE_FILE
    found: Json = {"command": None}
    if recipe.is_file():
        text = recipe.read_text(encoding="utf-8")
        what = "prepare" if MANIFEST_FILE in names else "train"
        found["command"] = " ".join(["ppx", what, RECIPE_FILE, *_given(text)])
        found["protocol"] = f"`{RECIPE_FILE}` of this folder; its paths start where it was run."
        found["recipe"] = text
    elif run.get("recipe"):
        found["recipe"] = run["recipe"]
    if evaluated and evaluated.get("evaluation"):
        found["eval"] = evaluated["evaluation"]
    return {**found, "settings": plan, "versions": run.get("versions") or {}, **others}


def _given(recipe: str) -> list[str]:
    """Options of the command line, as the first lines of a recipe that was left tell them."""
    lines = recipe.splitlines()
    given = [line.removeprefix(_GIVEN).partition(" ") for line in lines if line.startswith(_GIVEN)]
    return [word for key, _, value in given for word in (f"--{key}", shlex.quote(value))]
