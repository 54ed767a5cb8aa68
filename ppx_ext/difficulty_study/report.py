"""A study's results -> report.json and report.html.

``report.json`` (schema 1) holds ``title``, ``size``, ``seeds``, ``protocol`` (its values),
``observations`` (verdict, claims, intervals), ``bases``, ``cells`` (over seeds, see `summary`),
``optima`` and ``repeat``.
"""

from __future__ import annotations

import dataclasses
import importlib.metadata
from pathlib import Path
from typing import Any

from ppx_ext.difficulty_study import plots, summary
from ppx_ext.difficulty_study.observations import Observation, observe
from ppx_ext.difficulty_study.protocol import SFT, Protocol, hash_of
from ppx_ext.difficulty_study.table import MEASURES, Table
from ppx_ext.files import write_json
from ppx_ext.records import SCHEMA, write_text

_VERSIONS = ("ppx-ext", "trl", "transformers", "torch", "numpy", "scipy")
Json = dict[str, Any]


def write(out: Path, *, protocol: Protocol, size: str, seeds: int, results: Json) -> Json:
    """Write report.json and report.html into ``out``; returns the former's content."""
    report = collect(protocol=protocol, size=size, seeds=seeds, results=results)
    write_json(out / "report.json", report)
    write_text(out / "report.html", render(report))
    return report


def collect(*, protocol: Protocol, size: str, seeds: int, results: Json) -> Json:
    """The content of report.json."""
    table = Table(protocol, results, seeds=seeds)
    cells = summary.cells(table, results)
    return {
        "schema": SCHEMA,
        "title": "Difficulty and budget: what of the paper is reproduced",
        "size": size,
        "seeds": seeds,
        "protocol": {**dataclasses.asdict(protocol), "hash": hash_of(protocol)},
        "observations": [dump(observation) for observation in observe(table)],
        "bases": summary.bases(table, results),
        "cells": cells,
        "optima": list(summary.optima(table, cells)),
        "repeat": {
            "command": f"ppx study difficulty out --size {size} --seeds {seeds}",
            "versions": {name: importlib.metadata.version(name) for name in _VERSIONS},
        },
    }


def dump(observation: Observation) -> Json:
    """An observation as plain JSON values."""
    return {
        "number": observation.number,
        "of_the_paper": observation.number <= 6,
        "words": observation.words,
        "verdict": observation.verdict,
        "note": observation.note,
        "claims": [
            {
                "words": claim.words,
                "judged_by": claim.by,
                "outcome": claim.outcome,
                "intervals": {
                    measure: {**dataclasses.asdict(found), "outcome": found.outcome}
                    for measure, found in claim.intervals.items()
                },
            }
            for claim in observation.claims
        ],
    }


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
    drawn = {
        title: [(words, Markup(picture)) for words, picture in found]
        for title, found in _plots(report).items()
    }
    page = environment.get_template("difficulty_study.html.j2")
    return page.render(report=report, plots=drawn)


def _plots(report: Json) -> dict[str, list[tuple[str, str]]]:
    tuned = [cell for cell in report["cells"] if cell["arm"] == SFT]
    weak = [cell for cell in tuned if cell["base"] == "weak"]
    ops = [found["ops"] for found in report["bases"][0]["slices"]]
    budgets = sorted({cell["n"] for cell in weak})
    units = {"accuracy": "accuracy (points)", "nll": "nll (nats a token)"}
    return {
        "heat": [
            (f"{base} base, {units[measure]}",
             plots.heat_map([c for c in tuned if c["base"] == base], measure))
            for measure in MEASURES
            for base in ("weak", "strong")
        ],
        "slices": [
            (f"n = {n}, {units[measure]}",
             plots.slice_gains([c for c in weak if c["n"] == n], ops, measure))
            for measure in MEASURES
            for n in (budgets[0], budgets[-1])
        ],
        "gaps": [
            ("generalization gap", plots.gap_lines(weak, "generalization_gap")),
            ("extrapolation gap", plots.gap_lines(weak, "extrapolation_gap")),
        ],
    }  # fmt: skip
