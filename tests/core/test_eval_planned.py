"""What an `eval:` stage speaks of is held against what will be measured, before anything is."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ppx_ext import catalog
from ppx_ext.eval_plan import evaluation_of
from ppx_ext.evaluating.described import problems
from ppx_ext.evaluating.told import undefined
from ppx_ext.suites import TaskScore, TextScore


@pytest.fixture
def suites(tmp_path: Path) -> list[dict[str, Any]]:
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps({"prompt": "2 + 3 =", "answer": "5"}) + "\n")
    mine = {"sums": {"path": str(path), "target": True}, "law": {"path": str(path)}}
    texts = {"letters": {"path": str(path), "text": "prompt"}}
    return [{"use": "tasks", "tasks": mine}, {"use": "perplexity", "tasks": texts}]


def found(suites: list[dict[str, Any]], **own: Any) -> list[str]:
    wrong: list[str] = []
    evaluation = evaluation_of({"suites": suites, **own}, catalog.load(), wrong)
    assert evaluation is not None, wrong
    return problems(evaluation)


def test_names_in_the_gate(suites: list[dict[str, Any]]) -> None:
    assert found(suites, gate={"max_drop": 2.0, "tasks": {"law": 1.0, "sums": 1.0}}) == []
    (said,) = found(suites, gate={"tasks": {"lew": 1.0}})
    assert said == "ppx.eval: gate.tasks: no suite measures a task 'lew'; did you mean 'law'?"
    (said,) = found(suites, gate={"tasks": {"letters": 1.0}})
    assert "is a perplexity" in said


def test_a_target_and_others_are_there_where_they_are_needed(suites: list[dict[str, Any]]) -> None:
    best = {"keep": "best", "every": "epoch", "gate": {"max_drop": 2.0}}
    assert found(suites, **best) == []
    del suites[0]["tasks"]["law"]
    (said,) = found(suites, **best)
    assert "only the target is measured" in said
    suites[0]["tasks"]["sums"]["target"] = False
    (said,) = found(suites, **best)
    assert "no task is marked so" in said


def test_a_misspelt_key_beside_suites_is_told(suites: list[dict[str, Any]]) -> None:
    wrong: list[str] = []
    assert evaluation_of({"suites": suites, "kep": "best"}, catalog.load(), wrong) is None
    assert wrong == [
        "ppx.eval.kep: did you mean 'keep'? With `suites:`, settings of a suite stand in its entry"
    ]


def test_two_suites_with_one_name(suites: list[dict[str, Any]]) -> None:
    suites[1]["tasks"] = {"law": suites[1]["tasks"]["letters"]}
    (said,) = found(suites)
    assert said == "ppx.eval: two suites of `eval:` measure a task called 'law'; rename one"


def test_numbers_without_a_value_are_told_with_the_baseline() -> None:
    one = TaskScore(task="law", correct=(1.0, 0.0), target=True)
    none = TaskScore(task="code", correct=(0.0, 0.0))
    (said,) = undefined([one, none])
    assert said.startswith("BWT is undefined: the base scores 0 on 'code'")
    assert undefined([TextScore(task="letters", nll=(1.0,), tokens=(1,))]) == ()
