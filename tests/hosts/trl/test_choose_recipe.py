"""TRL: a recipe's rows are chosen, trained on in their order, and told of."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ppx_ext import doctor
from ppx_ext.hosts import trl
from ppx_ext.plan import PlanError
from tests.hosts import choices, words
from tests.hosts.trl.lab import Lab, _Catching, trainer
from tests.hosts.trl.test_choose import CLIMB, ROWS, Noted, asks, rows_of
from tests.hosts.trl.test_recipe import odd_rows, write


@pytest.fixture(autouse=True)
def stand_in(monkeypatch: pytest.MonkeyPatch) -> None:
    choices.install(monkeypatch)


@pytest.fixture(scope="module")
def lab() -> Noted:
    return Noted()


@pytest.fixture(scope="module")
def model(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return lab.saved(tmp_path_factory.mktemp("base"))


def recipe(folder: Path, lab: Lab, model: Path, ppx: Any, **changes: Any) -> Path:
    path = write(folder, lab, model, ppx=ppx, **changes)
    rows = zip(odd_rows(lab), choices.noted(ROWS), strict=True)
    lines = [json.dumps({**row, choices.NOTED: score}) for row, score in rows]
    (folder / "train.jsonl").write_text("\n".join(lines))
    return path


def trained(path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The recipe's trainer after training, with its batches caught."""

    class Spy(_Catching, trl.PpxSFTTrainer):
        pass

    monkeypatch.setattr(trl, "PpxSFTTrainer", Spy)
    return trl.train(path)


def test_a_recipe_in_order(
    lab: Noted, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: Any
) -> None:
    block = {**lab.block(tmp_path), **asks("climb", tmp_path, epochs=2)}
    path = recipe(tmp_path, lab, model, block, num_train_epochs=None)
    run = trained(path, monkeypatch)
    assert rows_of(run.caught, lab) == CLIMB + CLIMB[::-1]
    assert run.state.global_step == 2 * ROWS // 3
    state = json.loads((tmp_path / "out" / "ppx_state.json").read_text())
    assert [record["stage"] for record in state["records"]] == ["tokenize", "choose", "mask"]
    said = "ppx: chosen by climb (noted): 18 of 18 rows, 858 targets, in its order, 2 epochs"
    assert said in capfd.readouterr().out


@pytest.mark.parametrize("way", ["recipe", "trainer"])
def test_pass_rates_that_a_builder_wrote(
    lab: Noted, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    words.install(monkeypatch)
    table = tmp_path / "answers.json"
    words.table_of(
        [row["prompt"][0]["content"] for row in lab.rows], [str(row) for row in range(ROWS)], table
    )
    built = {**words.build_block(table), "use": "pass_rate", "samples": 1, "temperature": 0}
    chosen = {"use": "budget", "by": "pass_rate", "max_examples": 6, "take": "easiest"}
    block = {"build": built, "choose": chosen, "cache_dir": str(tmp_path / "scores")}
    if way == "recipe":
        run = trained(recipe(tmp_path, lab, model, block), monkeypatch)
    else:
        run = trainer(lab, tmp_path, ppx=block)
        run.train()
    assert sorted(rows_of(run.caught, lab)) == [*range(0, ROWS, 3)], "those that it answers"


def test_a_recipe_that_says_three_epochs_is_refused(
    lab: Noted, model: Path, tmp_path: Path
) -> None:
    path = recipe(tmp_path, lab, model, asks("climb", tmp_path, epochs=2), num_train_epochs=3)
    with pytest.raises(PlanError, match="Set `num_train_epochs: 1`"):
        trl.train(path)


def test_the_doctor_shows_sampler_and_measure() -> None:
    seen = doctor.examine("difficulty/embedded/story.trl")
    (found,) = [finding for finding in seen.findings if finding.where == "ppx.choose"]
    assert found.level == "ok"
    assert "budget max_examples=150 band=auto" in found.message
    assert found.message.endswith("by response_length")
