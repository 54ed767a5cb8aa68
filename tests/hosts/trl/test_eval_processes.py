"""Two processes (gloo) share an evaluation, and an error of one is an error of both."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoModelForCausalLM

from ppx_ext import catalog
from ppx_ext.evaluating import measure
from ppx_ext.plan import parse
from ppx_ext.records import load_scores
from ppx_ext.suites import Subject
from tests.hosts import measured
from tests.hosts.trl.lab import Lab
from tests.processes import launch

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[dict[str, Any]]]:
    folder = tmp_path_factory.mktemp("ranks")
    launch("tests.hosts.trl.eval_worker", folder)
    return folder, [json.loads((folder / f"{rank}.json").read_text()) for rank in (0, 1)]


def test_scores_are_those_of_one_process(runs: Any) -> None:
    folder, (one, other) = runs
    assert one["weights"] == other["weights"]
    out = folder / "shared" / "out"
    assert measured.times(out) == [("before", 0), ("during", 2), ("after", 4)]
    check(folder / "tasks", out, Lab(), AutoModelForCausalLM.from_pretrained(out))


def check(tasks: Path, out: Path, lab: Lab, trained: Any, *, base: Any = None, **keys: Any) -> None:
    """The first evaluation is that of the base, the last that of the trained model."""
    plan = parse({"eval": measured.block(tasks, **keys)}, catalog.load()).eval
    assert plan is not None
    records, said = measured.read(out)["evaluations"], measured.responses(out)
    for at, model in ((0, base or lab.model()), (-1, trained.eval())):
        alone = measure(plan, Subject(model=model, tokenizer=lab.tokenizer))
        assert load_scores(records[at]) == alone
        assert said[at] == [str(text) for score in alone for text in score.items["response"]]
    assert said[0] != said[-1]


def test_sharded_weights_are_measured_apart(tmp_path: Path) -> None:
    launch("tests.hosts.trl.sharded_worker", tmp_path)
    trained = AutoModelForCausalLM.from_pretrained(tmp_path / "final")
    assert measured.times(tmp_path / "out") == [("before", 0), ("after", 2)]
    check(tmp_path / "tasks", tmp_path / "out", Lab(arch="mistral"), trained, harness=False)


def test_no_group_is_left_open(runs: Any) -> None:
    """After a run, one that stumbles, one that fails at its start: the host's own group alone."""
    _, found = runs
    assert [each["groups"] for each in found] == [[1, 1, 1], [1, 1, 1]]


def test_a_process_that_fails_on_the_way_leaves_none_waiting(runs: Any) -> None:
    """Steps: 1 best; 2 fails in one process; 3 gathers unequally; 4 is the last."""
    folder, found = runs
    assert [(one["steps"], one["calls"]) for one in found] == [(4, 5), (4, 5)]
    out = folder / "stumbling" / "out"
    failures = [(one["step"], one["error"]) for one in measured.read(out)["failures"]]
    assert [step for step, _ in failures] == [2, 3]
    assert "process 1 failed in an evaluation: OSError: no sandbox here" in failures[0][1]
    assert "did not gather equally often" in failures[1][1]
    assert measured.times(out) == [("before", 0), ("during", 1), ("during", 4), ("after", 1)]
    assert found[0]["kept"] == found[1]["kept"] != found[0]["weights"]


def test_a_process_that_fails_before_the_first_step_stops_all(runs: Any) -> None:
    _, (one, other) = runs
    assert one["early"] == (
        "ElsewhereError: process 1 failed in an evaluation: OSError: no sandbox here"
    )
    assert other["early"] == "OSError: no sandbox here"
