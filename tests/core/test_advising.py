"""Advice: from surfaces that are known, in words that say how sure it is, as a block to paste."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from click.testing import CliRunner

from ppx_ext import catalog, plan
from ppx_ext.advising import advice, expected, page, pilots, show
from ppx_ext.advising.advice import Advice, Question
from ppx_ext.advising.doubt import Fitted, fitted
from ppx_ext.advising.surface import Surfaces, cells_of
from ppx_ext.cli import main
from ppx_ext.priors import prior_window
from tests.core import pilots as known

ASKED = Question(examples=2000, rows=10_000)


def advised(value: Any = known.hill, question: Question = ASKED, **settings: Any) -> Advice:
    settings = {"noise": 0.008, **settings}
    return advice.advise(known.drawn(value, **settings), question, resamples=200)


@pytest.fixture(scope="module")
def hill() -> Advice:
    return advised(bands=5)


def gain(found: Advice, over: str) -> expected.Gain:
    (one,) = (gain for gain in found.gains if gain.over == over)
    return one


# -------------------------------------------------------------------------------- recommendation


def test_the_window_of_a_hill(hill: Advice) -> None:
    assert hill.shape == "inverted U"
    best = known.optimum(2000)
    assert hill.optimum.low <= best <= hill.optimum.high
    low, high = hill.recommended
    assert (low + high) / 2 == pytest.approx(hill.optimum.value, abs=0.001)
    assert high - low == pytest.approx(0.2, abs=0.0021)  # the pilots' width, rounded outwards
    assert hill.low.low <= low <= hill.low.high
    assert hill.drift.value == pytest.approx(0.15 * np.log(2), abs=0.03)


def test_gains_without_noise_by_hand() -> None:
    """Value of the window's middle less each of the others, from the known surface itself."""
    found = advised(noise=0.0, bands=5)
    middle = sum(found.window) / 2
    value = known.hill(2000, middle)
    assert found.predicted.value == pytest.approx(value, abs=1e-4)
    random = known.ridge(2000) - 0.05
    everything = known.ridge(10_000) - 0.05
    assert gain(found, "random").interval.value == pytest.approx(value - random, abs=1e-4)
    assert gain(found, "everything").interval.value == pytest.approx(value - everything, abs=3e-4)
    # Over 250, 500 and 1000 examples the band in the middle has the best mean.
    fixed = value - known.hill(2000, 0.5)
    assert gain(found, "fixed").interval.value == pytest.approx(fixed, abs=1e-4)
    assert "[0.40, 0.60]" in gain(found, "fixed").what


def test_gain_over_the_base() -> None:
    results = known.drawn(noise=0.008)
    base = pilots.Pilot(kind="base", value=0.4)
    found = advice.advise(
        dataclasses.replace(results, pilots=(*results.pilots, base)), ASKED, resamples=50
    )
    over = gain(found, "base")
    assert over.interval.value == pytest.approx(found.predicted.value - 0.4)
    assert over.significant


def test_a_slope_is_told_as_an_edge() -> None:
    found = advised(known.slope)
    assert found.shape == "edge"
    assert found.recommended[1] == 1.0
    assert "No inverted U was found" in found.verdict[1]
    assert "hardest band" in found.verdict[1]
    assert not any("moves" in line for line in found.verdict)
    assert found.optimum == found.fitted.optimum(1000)  # not where a drift unseen would lead
    assert found.next.width == found.optimum.width
    easy = advised(lambda n, d: known.slope(n, 1 - d))
    assert easy.shape == "edge"
    assert easy.recommended[0] == 0.0
    assert "easiest band" in easy.verdict[1]


def test_noise_is_told_as_not_significant() -> None:
    found = advised(known.plain, at_random=known.ridge, noise=0.02, seed=3)
    assert found.shape == "flat"
    assert found.verdict[0].startswith("Not significant")
    assert found.recommended == (0.0, 1.0)
    assert not any(one.significant for one in found.gains if one.over in ("random", "fixed"))


@pytest.mark.parametrize("value", [known.hill, lambda n, d: 0.1])
def test_seeds_that_make_no_difference_make_nothing_significant(value: Any) -> None:
    """Three times 0.1 have a mean of 0.1 + 1e-17, which is no noise to judge anything by."""
    found = advised(value, at_random=lambda n: 0.1, noise=0.0)
    assert found.fitted.noise == 0
    assert found.fitted.stretch == 1
    assert not any(one.significant for one in found.gains)
    assert any("No value differs between the seeds" in line for line in found.caveats)


def test_everything_can_be_significantly_better() -> None:
    """More rows are more rows, whatever difficulty does."""
    found = advised(known.plain, at_random=known.ridge, noise=0.002, seed=3)
    over = gain(found, "everything")
    assert over.significant
    assert over.interval.high < 0


def test_a_budget_of_nearly_all_rows_widens_the_window() -> None:
    found = advised(question=Question(examples=900, rows=1000))
    low, high = found.window
    assert 0.9 <= high - low <= 0.902


def test_losses_are_turned_around() -> None:
    better, lower = advised(), advised(lower_is_better=True)
    # The same noise has another sign, so that only the surface is the same.
    assert lower.optimum.value == pytest.approx(better.optimum.value, abs=0.05)
    assert lower.predicted.value == pytest.approx(-better.predicted.value, abs=0.02)
    assert lower.predicted.low <= lower.predicted.value <= lower.predicted.high
    assert gain(lower, "random").interval.value > 0


@pytest.mark.parametrize(
    ("examples", "rows", "said"),
    [
        (4000, 10_000, "Extrapolated: 4,000 examples lie 4 times above"),
        (125, 10_000, "Extrapolated: 125 examples lie 2 times below"),
        (500, None, "training on everything is not compared"),
        (500, 10_000, "No pilot trained on all 10,000 rows"),
    ],
)
def test_caveats(examples: int, rows: int | None, said: str) -> None:
    found = advised(question=Question(examples=examples, rows=rows), noise=0.0)
    assert any(said in line for line in found.caveats)
    inside = advised(question=Question(examples=500, rows=1000), noise=0.0)
    assert not any(said in line for line in inside.caveats)


@pytest.mark.parametrize(("examples", "rows"), [(0, 10), (11, 10)])
def test_impossible_questions(examples: int, rows: int) -> None:
    with pytest.raises(ValueError, match="budget of"):
        Question(examples=examples, rows=rows)


# -------------------------------------------------------------------------------- the next pilot


def joint(noise: float) -> Fitted:
    """Surfaces of which only the centre differs: -0.1, 0 or 0.1 around 0.4; curve 1."""
    base = fitted(cells_of(known.drawn(noise=0.01)), resamples=3)
    none = np.zeros(3)
    surfaces = Surfaces(
        level_B=none, rise_B=none, bend_B=none, curve_B=none + 1, drift_B=none, spread_B=none,
        centre_B=np.array([0.3, 0.4, 0.5]), rss_B=none, reference=500.0,
    )  # fmt: skip
    return dataclasses.replace(base, resampled=surfaces, noise=noise)


def test_the_next_pilot_by_hand() -> None:
    """Values at 1/6 are -(d - c)^2; the farthest band, 5/6, moves most with the optimum."""
    found = expected.next_pilot(joint(0.05), 500)
    assert (found.low, found.high) == pytest.approx((2 / 3, 1.0))
    optimum = np.array([0.3, 0.4, 0.5])
    value = -((5 / 6 - optimum) ** 2)
    shared = np.mean((value - value.mean()) * (optimum - optimum.mean()))
    left = 1 - shared**2 / (value.var() + 0.05**2) / optimum.var()
    assert found.expected / found.width == pytest.approx(np.sqrt(left))
    assert found.seeds == 3


def test_a_precise_pilot_tells_more() -> None:
    coarse, fine = (expected.next_pilot(joint(noise), 500) for noise in (0.2, 0.01))
    assert fine.expected < coarse.expected < coarse.width


def test_the_next_pilot_narrows_more_than_the_least_telling_one(hill: Advice) -> None:
    """Ten more seeds of the cell that is named, and ten of one at the optimum's own place."""

    def width(n: int, band: tuple[float, float]) -> float:
        results = known.drawn(noise=0.008, bands=5)
        rng = np.random.default_rng(5)
        more = [
            pilots.Pilot.model_validate(
                {"examples": n, "low": band[0], "high": band[1], "seed": 100 + seed,
                 "value": known.hill(n, sum(band) / 2) + 0.008 * rng.normal()}
            )
            for seed in range(10)
        ]  # fmt: skip
        both = dataclasses.replace(results, pilots=(*results.pilots, *more))
        found = fitted(cells_of(both), resamples=200)
        return found.optimum(2000).width

    named = (hill.next.low, hill.next.high)
    assert width(hill.next.examples, named) < width(500, (0.4, 0.6))


# ------------------------------------------------------------------------------- what is shown


def test_the_block_is_valid(hill: Advice) -> None:
    block = yaml.safe_load(show.block(hill.choose))
    parsed = plan.parse(block, catalog.load())
    assert parsed.choose is not None
    assert parsed.choose.component.name == "budget"
    assert parsed.choose.settings.window == pytest.approx(hill.recommended)
    assert parsed.choose.settings.max_examples == 2000


def test_the_files(hill: Advice, tmp_path: Path) -> None:
    page.write(tmp_path, hill)
    found = json.loads((tmp_path / "advice.json").read_text())
    assert found["optimum"]["value"] == hill.optimum.value
    assert found["choose"] == {**hill.choose, "window": list(hill.recommended)}
    assert len(found["pilots"]) == len(hill.results.pilots)
    text = (tmp_path / "advice.html").read_text()
    assert text.count("<svg") == 3
    assert "<script" not in text
    assert not re.findall(r"https?://(?!www\.w3\.org)", text)
    assert len(re.findall(r"#0[1-7]0[1-7]0[1-7]", text)) == 0  # all colours are the page's
    for line in (*hill.verdict, *hill.caveats):
        assert line[:20] in text


def test_what_comes_from_data_is_escaped(hill: Advice) -> None:
    results = dataclasses.replace(hill.results, metric="<b>x</b>")
    text = page.render(dataclasses.replace(hill, results=results))
    assert "<b>x</b>" not in text


def test_the_command(tmp_path: Path) -> None:
    pilots.write(tmp_path / "pilots.csv", known.drawn(noise=0.008))
    arguments = ["budget", "--examples", "2000", "--rows", "10000", "--pilots"]
    told = CliRunner().invoke(main, [*arguments, str(tmp_path / "pilots.csv")])
    assert told.exit_code == 0, told.output
    assert "choose: {use: budget, by: response_length, max_examples: 2000" in told.output
    out = ["--json", "--out", str(tmp_path / "out"), "--by", "{use: steps}"]
    told = CliRunner().invoke(main, [*arguments, str(tmp_path / "pilots.csv"), *out])
    assert json.loads(told.stdout)["choose"]["by"] == {"use": "steps"}
    assert json.loads((tmp_path / "out" / "advice.json").read_text()) == json.loads(told.stdout)
    assert (tmp_path / "out" / "advice.html").is_file()


def test_losses_that_were_written_are_read_as_losses(tmp_path: Path) -> None:
    pilots.write(tmp_path / "pilots.csv", known.drawn(noise=0.008, lower_is_better=True))
    arguments = ["budget", "--examples", "2000", "--rows", "10000", "--json", "--pilots"]
    told = CliRunner().invoke(main, [*arguments, str(tmp_path / "pilots.csv")])
    found = json.loads(told.stdout)
    assert found["lower_is_better"]
    assert found["optimum"]["value"] == pytest.approx(known.optimum(2000), abs=0.1)


def test_without_pilots_it_is_a_prior() -> None:
    told = CliRunner().invoke(main, ["budget", "--examples", "4000", "--rows", "20000"])
    assert told.exit_code == 0
    assert "prior and not a finding" in " ".join(told.output.split())
    line = next(line for line in told.output.splitlines() if line.startswith("choose:"))
    window = yaml.safe_load(line)["choose"]["window"]
    assert window == pytest.approx(prior_window(4000, 20_000), abs=0.001)
    unknown = CliRunner().invoke(main, ["budget", "--examples", "4000"])
    assert unknown.exit_code == 1
    assert "give --rows" in unknown.output


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--pilots", "{csv}", "--grid", "1,2"], "instead of a recipe's own"),
        (["--grid", "1,2"], "give a recipe and --out"),
        (["--grid", "1,two"], "whole numbers"),
        (["--rows", "50", "--by", "response_lenght"], "Did you mean 'response_length'?"),
        (["--rows", "50", "--by", "{{use: steps, x: 1}}"], "ppx.choose.by.x: unknown key"),
        (["x.trl.yaml", "--out", "out", "--grid", "100"], "two or more budgets"),
    ],
)
def test_usage(arguments: list[str], said: str, tmp_path: Path) -> None:
    (tmp_path / "pilots.csv").write_text("examples,low,high,seed,value\n")
    given = [one.format(csv=tmp_path / "pilots.csv") for one in arguments]
    told = CliRunner().invoke(main, ["budget", "--examples", "10", *given])
    assert told.exit_code != 0
    assert said in " ".join(told.output.replace("│", " ").split())
