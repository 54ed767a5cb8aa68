"""report.json -> its plots, and the page: one file, no network, no script."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ppx_ext import choice_words
from ppx_ext.building.composition import table
from ppx_ext.plots import Plot, css, variables
from ppx_ext.reporting import comparison, drawing, text
from ppx_ext.reporting.changes import format_words
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
    return {name: plot for name, plot in found.items() if plot is not None}


def _comparison(report: Json) -> dict[str, Plot | None]:
    study = report["study"]
    if not study or report["kind"] not in ("demo", "comparison"):
        return {}
    return {
        "gain": comparison.gain_against_forgetting(study),
        "tasks": comparison.tasks(study["base"], study["arms"], target=targets(report)),
    }


def _forgetting(found: Json | None) -> dict[str, Plot | None]:
    if not found:
        return {}
    evaluations = [one for one in found["evaluations"] if one["name"] is None]
    plots: dict[str, Plot | None] = {}
    if found["readings"]:
        plots["readings"] = drawing.readings(found["readings"])
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
            plots["loss"] = _loss(lines)
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
            plots["loss"] = _loss(lines)
    return plots  # fmt: skip


def _loss(lines: Sequence[tuple[str, Any]]) -> Plot:
    return drawing.series(
        "loss", lines, ylabel="loss (nats a target)", label="Loss over the steps of training"
    )


def targets(report: Json) -> list[str]:
    """Names of the tasks that are trained for."""
    items = report["items"]
    return [score["task"] for score in items["base"]["scores"] if score["target"]] if items else []


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
        frontier=frontier_words(report),
        masks=[s for s in report["stages"] if s["stage"] == "mask" and "targets" in s["numbers"]],
        format_words=format_words(report["forgetting"]["readings"]) if report["forgetting"] else [],
        others_of=_others_of,
        light=Markup(variables("light")),
    )


def frontier_words(report: Json) -> str | None:
    """The Pareto frontier of a comparison in a sentence."""
    study = report["study"]
    if not study or report["kind"] not in ("demo", "comparison"):
        return None
    return comparison.frontier_words(comparison.changes(study["base"], study["arms"]))


def _others_of(repeat: Json) -> dict[str, Any]:
    """What tells a run apart besides its command, recipe, settings, seeds and versions."""
    shown = ("command", "protocol", "recipe", "eval", "seeds", "settings", "versions")
    return {name: value for name, value in repeat.items() if name not in shown and value}
