"""Reports of runs that were measured while they trained, and of comparisons: numbers and words."""

from __future__ import annotations

import json
import re
import xml.dom.minidom
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from ppx_ext import reporting
from ppx_ext.commands.looking import report as command
from ppx_ext.hosts import left
from ppx_ext.metrics import change
from ppx_ext.records import EVAL_FILE, evaluation_record, write_json
from ppx_ext.reporting import comparison, curves, forgetting, schema, words
from ppx_ext.reporting.text import fixed, prose, signed
from ppx_ext.suites import TaskScore
from tests.core import reported
from tests.core.test_report import written

ARMS = tuple(reported.ARMS)[:6]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    reported.logged(reported.evaluated(folder))
    write_json(folder / "ppx_state.json", {"host": "trl", "plan": {}, "versions": {}})
    reporting.write(folder)
    return folder


@pytest.fixture(scope="module")
def found(run: Path) -> Any:
    return json.loads((run / "report.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def compared(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return reported.compared(tmp_path_factory.mktemp("compared"), arms=ARMS, seeds=2)


# ------------------------------------------------------------------------------------- forgetting


def test_drops_over_steps_are_those_of_the_items(found: Any) -> None:
    before = [one for one in reported.scores(0) if isinstance(one, TaskScore)]
    for at, one in enumerate(found["forgetting"]["evaluations"][: len(reported.STEPS)]):
        after = [score for score in reported.scores(at) if isinstance(score, TaskScore)]
        assert one["step"] == reported.STEPS[at]
        if at == 0:
            assert one["drop"] is None
            continue
        drop = change(before, after).drop
        assert drop is not None
        assert one["drop"]["points"] == pytest.approx(drop)
        assert one["drop"]["low"] < drop < one["drop"]["high"]
        assert one["gate"]["ok"] == (drop <= 3.0)


def test_what_was_kept_breached_and_spent_is_told(found: Any) -> None:
    told = found["forgetting"]
    assert [one["step"] for one in told["evaluations"] if one["kept"]] == [25, 25]
    assert [one["restored"] for one in told["evaluations"]] == [False] * 5 + [True]
    assert found["warnings"][0].startswith(
        "The gate was breached in 3 of 4 evaluations (step 50, step 75, step 100). At the last of "
        "them the other tasks lost on average"
    )
    assert found["warnings"][0].endswith("that the gate allows. Training stopped there.")
    assert any(
        line.startswith("The run ended with the weights of step 25") for line in found["verdict"]
    )
    assert "Evaluating took 11.1 % of the training time." in found["verdict"]
    # What the run ended with, and not its last step, is what is compared with the base.
    (gsm8k,) = (one for one in told["tasks"] if one["task"] == "gsm8k")
    assert gsm8k["after"] == told["evaluations"][1]["tasks"]["gsm8k"]


def test_the_gate_speaks_of_the_weights_that_the_run_ends_with() -> None:
    def at(step: int, *, restored: bool = False) -> dict[str, Any]:
        gate = {"ok": True, "words": f"The gate holds at {step}."}
        return {"step": step, "name": None, "restored": restored, "gate": gate}

    found = {"kept": None, "failures": [], "cost": None}
    said, warned = words.forgetting({**found, "evaluations": [at(4), at(8)]})
    assert (said, warned) == (["The gate holds at 8."], [])
    said, _ = words.forgetting({**found, "evaluations": [at(4), at(8), at(4, restored=True)]})
    assert said == ["The gate holds at 4."]


def test_curves_mark_limits_breaches_and_what_was_kept(run: Path) -> None:
    drawn = (run / "plots" / "forgetting.svg").read_text(encoding="utf-8")
    assert "limit 3" in drawn
    assert "kept" in drawn
    svg = reporting.render.plots_of(json.loads((run / "report.json").read_text()))["forgetting"].svg
    crosses = re.findall(
        r'<use href="#\w+" x="([\d.]+)" y="([\d.]+)" style="fill: var\(--ink\)', svg
    )
    assert len(set(crosses)) == 3


def test_a_run_without_a_baseline_or_a_gate(tmp_path: Path) -> None:
    scores = reported.scores(2)
    records = [evaluation_record(scores, when="during", step=5, seconds=1.0)]
    write_json(tmp_path / EVAL_FILE, {"schema": 1, "evaluation": {}, "evaluations": records})
    write_json(tmp_path / "ppx_state.json", {"plan": {}})
    report, page = written(tmp_path)
    assert report["warnings"] == [
        "The untouched model was not measured, so nothing says what was learned or forgotten."
    ]
    assert report["study"] is None
    assert "mmlu" in page.text


def test_models_that_ppx_eval_measured_are_compared(tmp_path: Path) -> None:
    records = [
        {**evaluation_record(reported.scores(at), when=when, step=at, seconds=1.0), "name": name}
        for at, when, name in ((0, "before", "base"), (2, "after", "one"), (4, "after", "two"))
    ]
    write_json(tmp_path / EVAL_FILE, {"schema": 1, "evaluation": {}, "evaluations": records})
    report, page = written(tmp_path)
    assert report["kind"] == "evaluation"
    assert [arm["name"] for arm in report["study"]["arms"]] == ["one", "two"]
    assert "two − one" in page.text


# ---------------------------------------------------------------------------------------- changes


def test_the_trainers_log_is_read_from_the_newest_state(tmp_path: Path) -> None:
    assert curves.find(tmp_path) is None
    for steps in (20, 100):
        reported.logged(tmp_path, steps=steps)
    path = curves.find(tmp_path)
    assert path == tmp_path / "checkpoint-100" / "trainer_state.json"
    told = curves.read(path, folder=tmp_path)
    assert told["source"] == "checkpoint-100/trainer_state.json"
    assert told["steps"] == 100
    assert [step for step, _ in told["series"]["loss"]] == [*range(5, 101, 5)]
    assert [step for step, _ in told["series"]["eval_loss"]] == [33, 66, 100]
    assert told["totals"] == {"train_runtime": 211.0, "train_loss": 0.9}
    write_json(tmp_path / "trainer_state.json", {"global_step": 7, "epoch": 1, "log_history": []})
    assert curves.find(tmp_path) == tmp_path / "trainer_state.json"


def test_a_loss_that_is_no_number_is_told(tmp_path: Path) -> None:
    history = [{"step": 1, "loss": float("nan")}, {"step": 2, "loss": 1.0}]
    (tmp_path / "trainer_state.json").write_text(
        json.dumps({"global_step": 2, "epoch": 1.0, "log_history": history})
    )
    write_json(tmp_path / "ppx_state.json", {"plan": {}})
    report, _ = written(tmp_path)
    assert "`loss` was no finite number in 1 of the trainer's log entries." in report["warnings"]
    (tmp_path / "trainer_state.json").write_text("{")
    with pytest.raises(ValueError, match=r"trainer_state\.json is no trainer's state"):
        reporting.write(tmp_path)


def test_a_recipe_is_left_without_its_secrets(tmp_path: Path) -> None:
    recipe = tmp_path / "r.yaml"
    recipe.write_text("seed: 3\nhub_token: hf_abc\nmax_new_tokens: 5\npad_token: <p>\n")
    left.recipe(tmp_path / "out", recipe, data="d.jsonl", model=None)
    assert (tmp_path / "out" / left.RECIPE_FILE).read_text() == (
        "# Given instead: data d.jsonl\nseed: 3\nhub_token: null  # left out\nmax_new_tokens: 5\n"
        "pad_token: <p>\n"
    )
    write_json(tmp_path / "out" / "ppx_state.json", {"plan": {}})
    report, page = written(tmp_path / "out")
    assert report["repeat"]["recipe"].startswith("# Given instead: data d.jsonl\nseed: 3")
    assert report["repeat"]["command"] == "ppx train ppx_recipe.yaml --data d.jsonl"
    assert "hub_token: null" in page.text


# ------------------------------------------------------------------------------------- comparison


def test_a_comparison_of_many_arms(compared: Path) -> None:
    report, page = written(compared)
    assert report["kind"] == "comparison"
    assert report["verdict"][0].startswith("On the frontier of target against forgetting lie")
    assert set(report["study"]["frontier"]) <= {"base", *ARMS}
    for name in ARMS:
        assert f"What {name} does, in a sentence.ppx.mask: {name}" in page.text
    assert "tasks" not in {path.stem for path in (compared / "plots").glob("*.svg")}
    gain = (compared / "plots" / "gain.svg").read_text(encoding="utf-8")
    assert all(f">{name}<" in gain for name in ARMS)
    assert set(report["training"]) == set(ARMS)


def test_arms_with_the_same_colour_differ_in_their_marks() -> None:
    looks = {(place % 8, comparison.marker_of(place)) for place in range(24)}
    assert len(looks) == 24


# ------------------------------------------------------------------------------------------ files


def test_plots_lie_beside_the_page_and_old_ones_go(run: Path, tmp_path: Path) -> None:
    names = {path.stem for path in (run / "plots").glob("*.png")}
    assert {"forgetting", "loss", "readings", "task-0"} <= names
    assert names == {path.stem for path in (run / "plots").glob("*.svg")}
    for path in (run / "plots").glob("*.png"):
        assert path.read_bytes().startswith(b"\x89PNG")
    for path in (run / "plots").glob("*.svg"):
        text = path.read_text(encoding="utf-8")
        xml.dom.minidom.parseString(text)
        assert "prefers-color-scheme: dark" in text
    reported.evaluated(tmp_path, gate=None, kept=None, last=1)
    (tmp_path / "plots").mkdir()
    for name in ("old.svg", "old.png", "mine.txt"):
        (tmp_path / "plots" / name).touch()
    written(tmp_path)
    left_over = {path.name for path in (tmp_path / "plots").iterdir()}
    assert "mine.txt" in left_over
    assert not {"old.svg", "old.png"} & left_over


def test_every_key_of_the_schema_is_documented_and_others_are_refused(found: Any) -> None:
    told = schema.json_schema()
    jsonschema.Draft202012Validator.check_schema(told)
    assert told["properties"]["schema"]["const"] == schema.SCHEMA
    assert set(told["properties"]) == set(found)
    with pytest.raises(ValueError, match="surprise"):
        schema.check({**found, "surprise": 1})
    with pytest.raises(ValueError, match="verdict"):
        schema.check({**found, "verdict": "good"})


def test_the_command_prints_the_schema_or_writes_a_report(tmp_path: Path) -> None:
    from click.testing import CliRunner

    asked = CliRunner().invoke(command, ["--schema"])
    assert json.loads(asked.output) == schema.json_schema()
    assert CliRunner().invoke(command, []).exit_code == 2
    reported.evaluated(tmp_path, last=1, kept=None)
    assert CliRunner().invoke(command, [str(tmp_path), "--schema"]).exit_code == 2
    assert CliRunner().invoke(command, [str(tmp_path)]).output == (
        f"Wrote {tmp_path / 'report.html'}\n"
    )


def test_numbers_and_brackets_in_words() -> None:
    assert fixed(1.25) == fixed(1.2500000000001) == "1.2", "the same, however it was summed"
    assert fixed(1.26) == "1.3"
    assert signed(-0.04) == "0.0"
    assert signed(0.06) == "+0.1"
    assert signed(-3.21) == "\N{MINUS SIGN}3.2"
    assert str(prose("a (b (c) d).")) == 'a <span class="soft">(b (c) d)</span>.'
    assert forgetting.of({"evaluations": []})["tasks"] == []
