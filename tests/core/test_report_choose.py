"""The report of a run that chose its rows: the choice in words, in numbers and drawn."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np

from ppx_ext import choice_numbers, choice_words
from ppx_ext import reporting as report
from ppx_ext.contracts import Candidates, Choice
from ppx_ext.records import write_json
from ppx_ext.reporting import drawing
from ppx_ext.reporting.words import NOT_EVALUATED
from tests.core.test_report import EVIL, Page

SCORES = np.array([5.0, 1.0, 2.0, 3.0, 4.0, 2.0])
SETTINGS = {"use": "budget", "max_examples": 3, "by": {"use": "response_length"}}


def stage(choice: Choice, *, strata: list[str] | None = None, **more: Any) -> dict[str, Any]:
    """A record as the stage writes it: six candidates of seven rows."""
    candidates = Candidates(
        score_N=SCORES,
        tokens_N=(10 * SCORES).astype(np.int64),
        first_N=np.arange(6),
        stratum_N=strata,
    )
    came_in = {
        "rows": 7,
        "targets": 170,
        "left_out": {"no target": 1, **choice.left_out},
        "not_measured": {"no target": 1},
    }
    numbers = {**choice_numbers.of(choice, candidates, unit="tokens"), **came_in}
    record = {"stage": "choose", "component": "budget", "fingerprint": "a", "settings": SETTINGS}
    return {**record, "numbers": {**numbers, **more}}


def budget(**more: Any) -> dict[str, Any]:
    choice = Choice(
        index_K=np.array([1, 2, 5]),
        window=(0.0, 0.5),
        prior=True,
        left_out={"outside the window": 3},
        notes=("2 fewer than were asked for",),
    )
    return stage(choice, **more)


def write(folder: Path, *stages: dict[str, Any]) -> tuple[dict[str, Any], Page]:
    state = {"host": "trl", "plan": {}, "versions": {}, "records": list(stages)}
    write_json(folder / "ppx_state.json", state)
    report.write(folder)
    page = Page((folder / report.PAGE_FILE).read_text(encoding="utf-8"))
    return json.loads((folder / "report.json").read_text(encoding="utf-8")), page


def test_the_choice_is_told(tmp_path: Path) -> None:
    found, page = write(tmp_path, budget())
    said = (
        "Of 7 rows, the sampler `budget` chose 3 (50 targets) by `response_length`, from the "
        "quantiles 0.00 to 0.50 of difficulty (a prior, not a finding)."
    )
    assert found["verdict"] == [said]
    assert found["warnings"] == [
        NOT_EVALUATED,
        "`budget`: 2 fewer than were asked for",
        "1 rows could not be chosen (no target).",
    ]
    assert found["choosing"] == [budget()]
    for words in ("chose 3", "2 fewer than", "no target: 1, outside the window: 3", "by a prior"):
        assert words in page.text
    assert not page.fetched
    assert len(page.ids) == len(set(page.ids))


def test_an_order_and_its_epochs_are_told(tmp_path: Path) -> None:
    twice = Choice(index_K=np.array([1, 2, 0, 0, 2, 1]), ordered=True, epochs=2)
    found, page = write(tmp_path, stage(twice, strata=[EVIL, *"ababb"]))
    assert found["verdict"] == [
        "Of 7 rows, the sampler `budget` chose 3 (160 targets in 2 epochs) by `response_length`.",
        "They are trained on in the order of the sampler, in which 2 epochs follow one another.",
    ]
    assert EVIL in page.text, "shown, and not run"
    assert "prior" not in page.text


def test_bars_and_window_are_drawn_where_the_numbers_say() -> None:
    numbers = budget()["numbers"]
    assert numbers["histogram"] == {
        "edges": [0.5, 1.5, 2.5, 3.5, 4.5, 5.5],
        "all": [1, 2, 1, 1, 1],
        "chosen": [1, 2, 0, 0, 0],
    }
    drawn = drawing.chosen(numbers, measure="response_length").svg
    again = drawing.chosen(numbers, measure="response_length").svg
    assert drawn == again, "the same bytes"
    for text in ("all: 6", "chosen: 3", "quantiles 0.00 to 0.50", "response_length (tokens)"):
        assert text in drawn
    bars = {colour: heights(drawn, colour) for colour in ("var(--line)", "var(--arm-1)")}
    unit = bars["var(--line)"][0]
    for name, colour in (("all", "var(--line)"), ("chosen", "var(--arm-1)")):
        assert np.allclose(np.array(bars[colour]) / unit, numbers["histogram"][name], atol=1e-3)
    assert len(re.findall("stroke-dasharray", drawn)) >= 3  # both ends, and the key
    plain = drawing.chosen({**numbers, "window": None}, measure="column").svg
    assert "quantiles" not in plain


def heights(drawn: str, colour: str) -> list[float]:
    """Heights of the bars of a colour, in the order in which they are drawn; the key left out."""
    paths = re.findall(r'<path d="([^"]+)"[^>]*style="fill: ' + re.escape(colour), drawn)
    tall = []
    for path in paths:
        ups = [float(y) for y in re.findall(r"[ML] [-\d.]+ ([-\d.]+)", path)]
        tall.append(max(ups) - min(ups))
    return tall[:5]


def test_no_row_lost_and_no_note_warns_of_nothing() -> None:
    quiet = budget(notes=[], not_measured={})
    assert choice_words.warnings(quiet) == []
