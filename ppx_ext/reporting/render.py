"""report.json -> its plots, and the page: one file, no network, no script."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ppx_ext import choice_words
from ppx_ext.building.composition import table
from ppx_ext.plots import ARMS, Plot, css, variables
from ppx_ext.reporting import comparison, drawing, text
from ppx_ext.reporting.changes import differing, format_words
from ppx_ext.shown import EDGES
from ppx_ext.verdict import chance, percent
from ppx_ext.view import TokenView

Json = Mapping[str, Any]
Plots = dict[str, Plot]

MOST_TASKS = 12
"""So many tasks have a curve of their own: those that changed most."""

_TIMES = 3
_CURVES = (
    ("grad_norm", "norm of the gradient"),
    ("learning_rate", "learning rate"),
    ("mean_token_accuracy", "share of right next tokens"),
    ("entropy", "entropy (nats a token)"),
)


def plots_of(report: Json) -> Plots:
    """Every plot of a report, by its name."""
    found: dict[str, Plot | None] = {
        **_comparison(report),
        **_forgetting(report["forgetting"]),
        **_training(report["training"]),
    }
    for at, stage in enumerate(report["choosing"]):
        measure = choice_words.measure_of(stage)
        found[f"chosen-{at}"] = drawing.chosen(stage["numbers"], measure=measure, place=at)
    for at, stage in enumerate(report["building"]):
        found[f"composition-{at}"] = drawing.composition(stage["numbers"], place=at)
    for at, stage in enumerate(_masks(report)):
        if groups := stage["numbers"].get("by_kind"):
            found[f"masked-{at}"] = drawing.masked(groups, place=at)
    return {name: plot for name, plot in found.items() if plot is not None}


def _masks(report: Json) -> list[Json]:
    stages = report["stages"]
    return [one for one in stages if one["stage"] == "mask" and "targets" in one["numbers"]]


def compared(report: Json) -> bool:
    """Whether there are arms to compare, and not just one model with its base."""
    study = report["study"]
    return bool(study) and (report["kind"] in ("demo", "comparison") or len(study["arms"]) > 1)


def _comparison(report: Json) -> dict[str, Plot | None]:
    study = report["study"]
    if not compared(report):
        return {}
    return {
        "gain": comparison.gain_against_forgetting(study),
        "tasks": comparison.tasks(study["base"], study["arms"], target=targets(report)),
    }


def _forgetting(found: Json | None) -> dict[str, Plot | None]:
    if not found:
        return {}
    evaluations = on_the_way(found)
    plots: dict[str, Plot | None] = {}
    if read := differing(found["readings"]):
        plots["readings"] = drawing.readings(read)
    if len({one["step"] for one in evaluations}) < 2:
        return plots
    gate = found["gate"] or {}
    if any(one["drop"] for one in evaluations):
        plots["forgetting"] = drawing.forgetting(evaluations, limit=gate.get("max_drop"))
    limits = gate.get("tasks") or {}
    for at, one in enumerate(_most_changed(found["tasks"])):
        plots[f"task-{at}"] = drawing.task(
            one["task"], at, evaluations, target=one["target"], limit=limits.get(one["task"])
        )
    return plots


def on_the_way(found: Json) -> list[Json]:
    """The evaluations of one model over its steps: weights that were put back are no step more."""
    return [one for one in found["evaluations"] if one["name"] is None and not one["restored"]]


def _most_changed(tasks: Sequence[Json]) -> list[Json]:
    """Those with a curve: the targets first, then by how far they moved."""

    def moved(one: Json) -> float:
        return float(abs(one["after"]["accuracy"] - one["before"]["accuracy"]))

    chosen = sorted(tasks, key=lambda one: (not one["target"], -moved(one)))[:MOST_TASKS]
    return [one for one in tasks if one in chosen]


def _training(found: Mapping[str, Json]) -> dict[str, Plot | None]:
    plots: dict[str, Plot | None] = {}
    if list(found) == [""]:
        series = found[""]["series"]
        named = (("training", "loss"), ("held out", "eval_loss"))
        lines = [(name, series[key]) for name, key in named if key in series]
        if lines:
            plots["loss"] = _loss(lines, (ARMS[1], ARMS[0]))
        for key, ylabel in _CURVES:
            if len(series.get(key, ())) > 1:
                plots[key] = drawing.series(
                    key, [(key, series[key])], ylabel=ylabel, label=f"The {ylabel} over steps"
                )
    else:
        lines = [
            (arm, one["series"]["loss"]) for arm, one in found.items() if "loss" in one["series"]
        ]
        if lines:
            plots["loss"] = _loss(lines, ARMS)
    return plots  # fmt: skip


def _loss(lines: Sequence[tuple[str, Any]], colours: Sequence[str]) -> Plot:
    label = "Loss over the steps of training"
    return drawing.series(
        "loss", lines, ylabel="loss (nats a target)", label=label, colours=colours
    )


def targets(report: Json) -> list[str]:
    """Names of the tasks that are trained for."""
    items = report["items"]
    return [score["task"] for score in items["base"]["scores"] if score["target"]] if items else []


def tests_of(study: Json, family: str) -> list[tuple[str, str, str, Json]]:
    """The differences of a family (see `study.FAMILIES`): arm, against, on what, and the test."""
    return [
        (test["arm"], test["against"], name, test[key])
        for test in study["tests"]
        for key, name in (("other", "other tasks"), ("target", "target"))
        if test[key] and test[key]["family"] == family
    ]


def page(report: Json, plots: Plots, tokens: TokenView | None) -> str:
    """The page; everything from data is escaped, and only our own drawings are marked safe."""
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
        "visible": text.visible,
        "plain": text.plain,
        "yaml": text.as_yaml,
        "prose": text.prose,
        "signed": text.signed,
        "fixed": text.fixed,
        "duration": text.duration,
    }
    return environment.get_template("report/page.html.j2").render(
        report=report,
        plots={name: Markup(plot.svg) for name, plot in plots.items()},
        colours=Markup(css()),
        target=targets(report),
        built=[(stage, table(stage["numbers"])) for stage in report["building"]],
        curves=_most_changed(report["forgetting"]["tasks"]) if report["forgetting"] else [],
        tokens=tokens,
        edges=EDGES,
        compared=compared(report),
        frontier=comparison.frontier_words(report["study"]) if compared(report) else None,
        masks=_masks(report),
        format_words=format_words(report["forgetting"]["readings"]) if report["forgetting"] else [],
        differing=differing,
        on_the_way=on_the_way,
        tests_of=lambda family: tests_of(report["study"], family),
        measured={key for arm in (report["study"] or {"arms": []})["arms"] for key in arm["mean"]},
        others_of=_others_of,
        light=Markup(variables("light")),
    )


def _others_of(repeat: Json) -> dict[str, Any]:
    """What tells a run apart besides its command, recipe, settings, seeds and versions."""
    shown = ("command", "protocol", "recipe", "eval", "seeds", "settings", "versions")
    return {name: value for name, value in repeat.items() if name not in shown and value}
