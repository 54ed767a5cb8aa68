"""Evaluations on disk: whole files, runs that go on, items with prompt and response."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path

import pyarrow.parquet as pq
import pydantic
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ppx_ext import EvalSuite, TaskScore, TextScore
from ppx_ext.eval_plan import Evaluation, Gate, SuiteStage
from ppx_ext.evaluating.store import COLUMNS, Evaluations, read_evaluations, read_items
from ppx_ext.records import load_scores
from ppx_ext.stages import Stage
from ppx_ext.suites import Score


class Settings(pydantic.BaseModel):
    items: int = 4
    batch_size: int = 8


def evaluation(**settings: int) -> Evaluation:
    suite = EvalSuite(
        name="fake", paper="", settings=Settings, evaluate=lambda settings, subject: []
    )
    stage = Stage(component=suite, settings=Settings(**settings))
    return Evaluation(suites=(SuiteStage(stage=stage),), gate=Gate(max_drop=2))


CHAT = [{"role": "user", "content": "Wie heißt „das“?"}]
SCORES: list[Score] = [
    TaskScore(
        task="law",
        correct=(1.0, 0.5, 0.0),
        readings={"strict": (1.0, 0.0, 0.0), "flexible": (1.0, 1.0, 0.0)},
        items={
            "prompt": ["a", CHAT, "c"],
            "gold": ["1", ["2", "zwei"], None],
            "response": ["1", "2", ""],
            "why": ["equal", "near", "empty"],
        },
        fingerprint="f1",
    ),
    TaskScore(task="sums", correct=(0.0, 1.0), target=True),
    TextScore(task="wiki", nll=(3.5, 1.25), tokens=(7, 2), items={"prompt": ["x", "y"]}),
]


def add(store: Evaluations, when: str, step: int, **more: object) -> None:
    store.add(when=when, step=step, epoch=step / 10, scores=SCORES, seconds=1.5, **more)  # type: ignore[arg-type]


def test_scores_come_back_as_they_were(tmp_path: Path) -> None:
    store = Evaluations(tmp_path / "run")
    assert store.start(evaluation()) == []
    add(store, "before", 0, gate={"ok": True})
    content = read_evaluations(tmp_path / "run")
    assert content["evaluation"] == evaluation().dump()
    (record,) = content["evaluations"]
    assert (record["when"], record["step"], record["epoch"]) == ("before", 0, 0.0)
    assert (record["seconds"], record["gate"]) == (1.5, {"ok": True})
    bare = [dataclasses.replace(score, items={}) for score in SCORES]
    assert load_scores(record) == bare
    store.update(cost={"seconds": 3.0, "training_seconds": 60.0, "share": 0.05})
    assert store.read()["cost"]["share"] == 0.05
    assert len(store.read()["evaluations"]) == 1


def test_items_go_to_parquet_one_row_each(tmp_path: Path) -> None:
    store = Evaluations(tmp_path)
    store.start(evaluation())
    add(store, "during", 20)
    path = tmp_path / "ppx_eval" / "20-during.parquet"
    assert store.read()["evaluations"][0]["items"] == "ppx_eval/20-during.parquet"
    rows = read_items(path)
    assert list(rows[0]) == list(COLUMNS)
    assert [(row["task"], row["item"], row["target"]) for row in rows] == [
        ("law", 0, False), ("law", 1, False), ("law", 2, False),
        ("sums", 0, True), ("sums", 1, True), ("wiki", 0, False), ("wiki", 1, False),
    ]  # fmt: skip
    assert [row["correct"] for row in rows] == [1.0, 0.5, 0.0, 0.0, 1.0, None, None]
    assert rows[1]["readings"] == {"strict": 0.0, "flexible": 1.0}
    assert json.loads(rows[1]["prompt"]) == CHAT
    assert json.loads(rows[1]["gold"]) == ["2", "zwei"]
    assert (rows[2]["gold"], rows[2]["response"]) == (None, "")
    assert json.loads(rows[0]["more"]) == {"why": "equal"}
    assert (rows[3]["prompt"], rows[3]["more"], rows[3]["readings"]) == (None, None, {})
    assert [(row["nll"], row["tokens"]) for row in rows[4:]] == [(None, None), (3.5, 7), (1.25, 2)]
    assert pq.read_table(path).num_rows == 7


def test_a_fresh_start_forgets_and_clears(tmp_path: Path) -> None:
    store = Evaluations(tmp_path)
    store.start(evaluation())
    add(store, "before", 0)
    (tmp_path / "ppx_eval" / "notes.txt").write_text("mine")
    assert store.start(evaluation()) == []
    assert store.read()["evaluations"] == []
    assert [path.name for path in (tmp_path / "ppx_eval").iterdir()] == ["notes.txt"]


def test_a_run_that_goes_on_keeps_what_its_steps_measured(tmp_path: Path) -> None:
    store = Evaluations(tmp_path)
    store.start(evaluation())
    for when, step in (("before", 0), ("during", 10), ("during", 20), ("after", 30)):
        add(store, when, step)
    store.update(cost={"seconds": 6.0})
    # Killed after step 30's evaluation, with the last checkpoint at step 20.
    kept = store.start(evaluation(), step=20)
    assert [(one["when"], one["step"]) for one in kept] == [
        ("before", 0), ("during", 10), ("during", 20),
    ]  # fmt: skip
    assert sorted(path.name for path in (tmp_path / "ppx_eval").iterdir()) == [
        "0-before.parquet", "10-during.parquet", "20-during.parquet",
    ]  # fmt: skip
    assert store.read()["cost"] == {"seconds": 6.0}
    # A finished run that is trained further: its last evaluation lies on the way now.
    add(store, "after", 20)
    kept = store.start(evaluation(), step=20)
    assert [(one["when"], one["step"]) for one in kept][-1] == ("during", 20)
    assert len(kept) == 3


def test_going_on_with_other_suites_is_refused_with_other_batches_not(tmp_path: Path) -> None:
    store = Evaluations(tmp_path)
    store.start(evaluation(items=4))
    add(store, "before", 0)
    with pytest.raises(ValueError, match="measured with other suites"):
        store.start(evaluation(items=5), step=10)
    with pytest.raises(ValueError, match="measured with other suites"):
        store.go_on(evaluation(items=5))
    assert len(store.start(evaluation(items=4, batch_size=1), step=10)) == 1
    assert len(store.go_on(evaluation(items=4, batch_size=2))) == 1
    assert len(store.read()["evaluations"]) == 1


def test_the_same_place_is_replaced_another_name_is_added(tmp_path: Path) -> None:
    store = Evaluations(tmp_path)
    store.start(evaluation())
    add(store, "after", 10, name="a/b")
    add(store, "after", 10, name="c")
    add(store, "after", 10, name="c", note="again")
    records = store.read()["evaluations"]
    assert [(one["name"], one.get("note")) for one in records] == [("a/b", None), ("c", "again")]
    assert all((tmp_path / one["items"]).is_file() for one in records)
    assert (tmp_path / "ppx_eval").is_dir()
    assert not list((tmp_path / "ppx_eval").glob("*/"))


def test_what_is_no_evaluation_is_said(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"has no ppx_eval.json: nothing was measured"):
        read_evaluations(tmp_path)
    (tmp_path / "ppx_eval.json").write_text("{")
    with pytest.raises(ValueError, match=r"ppx_eval.json cannot be read"):
        read_evaluations(tmp_path)
    (tmp_path / "ppx_eval.json").write_text('{"schema": 99, "evaluations": []}')
    with pytest.raises(ValueError, match="not of schema 1"):
        read_evaluations(tmp_path)
    (tmp_path / "x.parquet").write_bytes(b"no")
    with pytest.raises(ValueError, match=r"x.parquet cannot be read"):
        read_items(tmp_path / "x.parquet")


def test_a_write_that_fails_leaves_what_was_there(tmp_path: Path) -> None:
    store = Evaluations(tmp_path)
    store.start(evaluation())
    add(store, "before", 0)
    before = (tmp_path / "ppx_eval.json").read_bytes()
    with pytest.raises(ValueError, match="JSON compliant"):
        store.update(cost={"seconds": math.nan})
    assert (tmp_path / "ppx_eval.json").read_bytes() == before
    assert not list(tmp_path.rglob("*.tmp"))


@settings(max_examples=30)
@given(
    correct=st.lists(st.floats(0, 1), min_size=1, max_size=8),
    texts=st.text(st.characters(exclude_categories=["Cs"]), max_size=20),
)
def test_any_values_and_texts_come_back(
    tmp_path_factory: pytest.TempPathFactory, correct: list[float], texts: str
) -> None:
    folder = tmp_path_factory.mktemp("run")
    store = Evaluations(folder)
    store.start(evaluation())
    score = TaskScore(task="t", correct=tuple(correct), items={"response": [texts] * len(correct)})
    record = store.add(when="before", step=0, scores=[score], seconds=0.0)
    (found,) = load_scores(store.read()["evaluations"][0])
    assert isinstance(found, TaskScore)
    assert found.correct == tuple(correct)
    rows = read_items(folder / record["items"])
    assert [(row["correct"], row["response"]) for row in rows] == [(c, texts) for c in correct]
