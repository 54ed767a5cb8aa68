"""What a run left behind -> report.json and report.html.

``report.json`` (schema 1) holds:

============ ====================================================================================
``schema``   1; another number means another layout
``kind``     ``demo``, ``training`` or ``prepared``
``title``    one line
``verdict``  sentences: what the numbers show
``warnings`` sentences: what to know before believing them
``study``    `study.analyse`: base, arms, tests; None where nothing was evaluated
``items``    `study.dump_study`: every item's result, from which the former is recomputed
``stages``   what each stage of preparation did (`contracts.StageRecord`)
``choosing`` records of samplers (`choice_numbers.of`): which rows are trained on
``masking``  numbers of the mask (`statistics.tally`), or None
``building`` records of builders (`composition.numbers_of`): whose words the targets are
``examples`` a few questions with the answers of each model
``repeat``   command, settings and versions to do it again
``sources``  names of the files all this was read from
============ ====================================================================================
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ppx_ext import choice_words, plots
from ppx_ext.building.composition import table
from ppx_ext.building.provenance import SOURCES
from ppx_ext.records import EVAL_FILE, SCHEMA, load_score, write_json, write_text
from ppx_ext.study import Arm, Run, Study, analyse, dump_study, load_study
from ppx_ext.verdict import chance, percent

STUDY_FILE = "ppx_study.json"
STATE_FILE = "ppx_state.json"
MANIFEST_FILE = "manifest.json"
_FILES = (STUDY_FILE, EVAL_FILE, STATE_FILE, MANIFEST_FILE)

Json = dict[str, Any]


def write(folder: Path) -> Path:
    """Write report.json and report.html of a run into its folder; returns the page's path.

    ``folder`` is the output folder of a training run, of ``ppx prepare`` or of ``ppx demo``.

    Raises:
        ValueError: no run of ours wrote there, or a file of it cannot be read (it is named).
    """
    report = collect(folder)
    write_json(folder / "report.json", report)
    write_text(folder / "report.html", render(report))
    return folder / "report.html"


def collect(folder: Path) -> Json:
    """The content of report.json, from the files of a run.

    Raises:
        ValueError: see `write`.
    """
    found = {name: _read(folder / name) for name in _FILES if (folder / name).is_file()}
    if not found:
        raise ValueError(
            f"{folder} holds none of {', '.join(_FILES)}: give the output folder of a training "
            "run, of `ppx prepare` or of `ppx demo`"
        )
    try:
        return _report(found)
    except (KeyError, TypeError, AttributeError) as error:
        names = ", ".join(found)
        raise ValueError(f"{folder}: {names}: not as this version writes it: {error!r}") from error


def _read(path: Path) -> Json:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ValueError(f"{path} cannot be read: {error}") from error
    if not isinstance(found, dict) or found.get("schema", SCHEMA) != SCHEMA:
        raise ValueError(f"{path} has a layout that this version does not know")
    return found


def _report(found: Mapping[str, Json]) -> Json:
    demo = found.get(STUDY_FILE, {})
    run = found.get(STATE_FILE) or found.get(MANIFEST_FILE) or {}
    study = load_study(demo["study"]) if demo else _study_of_run(found.get(EVAL_FILE))
    analysis = analyse(study) if study else None
    stages = demo.get("stages") or run.get("records") or run.get("stages") or []
    masking = next((s["numbers"] for s in stages if s["stage"] == "mask" and s["numbers"]), None)
    choosing = [stage for stage in stages if stage["stage"] == "choose"]
    kind = "demo" if demo else "training" if len(found.keys() - {MANIFEST_FILE}) else "prepared"
    return {
        "schema": SCHEMA,
        "kind": kind,
        "title": demo.get("title") or _TITLES[kind],
        "verdict": [
            *(analysis["verdict"] if analysis else []),
            *_building_words(stages),
            *(words for stage in choosing for words in choice_words.sentences(stage)),
            *_masking_words(stages, masking),
        ],
        "warnings": [
            *demo.get("warnings", []),
            *(analysis["warnings"] if analysis else []),
            *_skip_warnings(stages),
            *(words for stage in choosing for words in choice_words.warnings(stage)),
            *_masking_warnings(masking),
            *([] if analysis or kind == "prepared" else [_NOT_EVALUATED]),
        ],
        "study": analysis,
        "items": dump_study(study) if study else None,
        "stages": stages,
        "choosing": choosing,
        "masking": masking,
        "building": [stage for stage in stages if stage["stage"] == "build"],
        "examples": demo.get("examples", []),
        "repeat": demo.get("repeat") or _repeat(run),
        "sources": sorted(found),
    }


_TITLES = {"training": "Training run", "prepared": "Prepared data set"}
_NOT_EVALUATED = (
    "Nothing was evaluated, so this report cannot say what was learned or forgotten. Add an "
    "`eval:` stage to the recipe's `ppx:` block, for instance `use: tasks`."
)


def _study_of_run(found: Json | None) -> Study | None:
    """A training run as a study of one arm and one seed; None where it lacks before or after."""
    records = {record["when"]: record for record in (found or {}).get("evaluations", [])}
    if not {"before", "after"} <= records.keys():
        return None
    before, after = (
        Run(scores=tuple(map(load_score, records[when]["scores"]))) for when in ("before", "after")
    )
    return Study(base=before, arms=(Arm(name="the tuned model", runs=(after,)),))


def _repeat(run: Mapping[str, Any]) -> Json:
    plan = run.get("plan") or run.get("recipe") or {}
    known = ("plan", "recipe", "records", "stages", "versions", "schema")
    others = {key: value for key, value in run.items() if key not in known}
    return {"command": None, "settings": plan, "versions": run.get("versions") or {}, **others}


def _building_words(stages: list[Json]) -> list[str]:
    built = [stage for stage in stages if stage["stage"] == "build"]
    return [_building_word(stage["component"], stage["numbers"]) for stage in built]


def _building_word(builder: str, numbers: Json) -> str:
    own, paraphrase, gold = (percent(100 * numbers["shares"][source]) for source in SOURCES)
    return (
        f"Of the {numbers['rows']:,} targets that the builder `{builder}` made, {own} are the "
        f"model's own answers, {paraphrase} its paraphrases of golds, and {gold} the golds."
    )


def _masking_words(stages: list[Json], masking: Json | None) -> list[str]:
    if not masking or "masked_share" not in masking:
        return []
    name = next(stage["component"] for stage in stages if stage["stage"] == "mask")
    kept = masking.get("loss_kept")
    loss = "" if kept is None else f"; {percent(100 * kept)} of the base's loss on them is left"
    return [
        f"The mask `{name}` took {masking['masked']:,} of {masking['targets']:,} targets out of "
        f"the loss ({percent(100 * masking['masked_share'])}){loss}."
    ]


def _skip_warnings(stages: list[Json]) -> list[str]:
    found = []
    for stage in stages:
        if skipped := stage["numbers"].get("skipped"):
            reasons = stage["numbers"].get("skipped_by_reason") or {}
            named = ", ".join(f"{reason}: {count:,}" for reason, count in reasons.items())
            found.append(f"{skipped:,} rows were left out ({named}).")
    return found


def _masking_warnings(masking: Json | None) -> list[str]:
    numbers = masking or {}
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
    return found


def render(report: Json) -> str:
    """The page: one file, no network, no script; everything from data is escaped."""
    import jinja2
    from markupsafe import Markup

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("ppx_ext"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "percent": percent,
        "chance": chance,
        "visible": visible,
        "plain": plain,
        "yaml": as_yaml,
        "prose": prose,
    }
    drawn = {name: Markup(svg) for name, svg in _plots(report).items() if svg}
    page = environment.get_template("report.html.j2")
    built = [(stage["component"], table(stage["numbers"])) for stage in report["building"]]
    return page.render(report=report, plots=drawn, target=_targets(report), built=built)


def _targets(report: Json) -> list[str]:
    items = report["items"]
    scores = [load_score(score) for score in items["base"]["scores"]] if items else []
    return [score.task for score in scores if score.target]


def _plots(report: Json) -> dict[str, str | None]:
    study = report["study"]
    chosen = {
        f"chosen-{at}": plots.chosen(stage["numbers"], measure=choice_words.measure_of(stage))
        for at, stage in enumerate(report["choosing"])
    }
    if not study:
        return {**chosen}
    base, arms = study["base"], study["arms"]
    return {
        **chosen,
        "gain": plots.gain_against_forgetting(base, arms),
        "tasks": plots.tasks(base, arms, target=_targets(report)),
    }


def visible(text: str) -> str:
    """A token's text with blanks shown by a sign and line breaks by their escapes."""
    signs = {" ": "␣", "\r": "\\r", "\n": "\\n", "\t": "\\t"}
    return "".join(signs.get(character, character) for character in text)


def prose(sentence: str) -> str:
    """A sentence as HTML: escaped, its figures kept whole, `code` as code, brackets in grey."""
    from markupsafe import Markup, escape

    text = str(escape(sentence)).replace(" %", "\N{NO-BREAK SPACE}%")
    text = re.sub(r"(?<![\w.])-(?=\d)", "\N{MINUS SIGN}", text)
    text = re.sub(r"`([^`]+)`", r"<code>\1</code>", text)
    return Markup(re.sub(r"(\([^()]*\))", r'<span class="soft">\1</span>', text))


def plain(value: Any) -> str:
    """A number with as many digits as it is worth; other values as they are."""
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: "-"}[value]
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def as_yaml(value: Any) -> str:
    """Settings as a recipe would write them."""
    import yaml

    return str(yaml.safe_dump(value, sort_keys=False, allow_unicode=True)).strip()
