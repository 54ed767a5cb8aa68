"""Axolotl: chosen rows reach the model in their order, and settings that undo it are refused."""

from __future__ import annotations

import dataclasses
import itertools
import json
import math
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from ppx_ext import scoring
from ppx_ext.plan import PlanError
from tests.hosts import choices
from tests.hosts.axolotl.conftest import Oracle, chats, documents, tokens_of, write_rows

pytestmark = pytest.mark.axolotl

Config = Callable[..., Path]
Run = Callable[[Path], SimpleNamespace]
ROWS = 24
CLIMB = choices.easy_to_hard(ROWS)
PACKED = {"sample_packing": True, "gradient_accumulation_steps": 1}


@pytest.fixture(autouse=True)
def stand_in(monkeypatch: pytest.MonkeyPatch) -> None:
    choices.install(monkeypatch)


@pytest.fixture(scope="module")
def data(world: SimpleNamespace) -> SimpleNamespace:
    """Chats with a difficulty and a topic; which row it is, by its tokens."""
    rows = [
        {**row, choices.NOTED: score, "topic": "ab"[at % 2]}
        for at, (row, score) in enumerate(zip(chats(ROWS), choices.noted(ROWS), strict=True))
    ]
    path = write_rows(world.root / "noted.jsonl", rows)
    places = {tuple(tokens_of(row, world.tokenizer)[0]): at for at, row in enumerate(rows)}
    entry = {"path": str(path), "type": "chat_template"}
    return SimpleNamespace(rows=rows, places=places, entry=entry)


@pytest.fixture(scope="module")
def oracle(world: SimpleNamespace, data: SimpleNamespace) -> Oracle:
    return Oracle(world, "llama", data.rows)


def given(data: SimpleNamespace, sampler: str, **settings: Any) -> dict[str, Any]:
    """Keyword arguments of `config`."""
    block = {"choose": choices.block(sampler, **settings)}
    return {"ppx": block, "datasets": [data.entry], "max_steps": None}


def rows_of(entries: list[dict[str, Any]], data: SimpleNamespace) -> list[int]:
    """The rows in the order in which the model got them."""
    return [data.places[ids] for entry in entries for ids, _ in documents(entry)]


@pytest.mark.parametrize(
    ("apply", "changes"),
    [("baked", {}), ("baked", PACKED), ("collator", {})],
    ids=["padded", "packed", "collator"],
)
def test_batches_follow_the_order_and_carry_the_mask(
    config: Config,
    train: Run,
    data: SimpleNamespace,
    oracle: Oracle,
    apply: str,
    changes: dict[str, Any],
) -> None:
    line = oracle.threshold()
    asked = given(data, "climb", epochs=2)
    asked["ppx"]["mask"] = {"use": "stm", "ppl_threshold": line, "apply": apply}
    found = train(config(**asked, **changes))
    assert rows_of(found.train, data) == CLIMB + CLIMB[::-1]
    for entry in found.train:
        for ids, labels in documents(entry):
            assert labels == oracle.labels(ids, line)
    if not changes:
        assert found.trainer.state.global_step == 2 * ROWS // 4
    state = json.loads((found.out / "ppx_state.json").read_text())
    assert [record["stage"] for record in state["records"]] == ["choose", "mask"]


@pytest.mark.parametrize(("changes", "count"), [({}, 12), (PACKED, 6)], ids=["padded", "packed"])
def test_each_epoch_has_the_chosen_rows_shuffled(
    config: Config, train: Run, data: SimpleNamespace, changes: dict[str, Any], count: int
) -> None:
    # So few that one pack holds them: of several, Axolotl leaves the last one out at times.
    path = config(**given(data, "easiest", count=count), **changes, num_epochs=2)
    found = rows_of(train(path).train, data)
    first, second = found[:count], found[count:]
    assert sorted(first) == sorted(second) == sorted(CLIMB[:count])
    assert changes or first not in (CLIMB[:count], sorted(first))


def test_a_resumed_run_goes_on_in_the_order(
    config: Config, train: Run, data: SimpleNamespace
) -> None:
    asked = {**given(data, "climb"), "save_strategy": "steps", "save_steps": 2}
    half = train(config(**{**asked, "max_steps": 2}))
    point = str(half.out / "checkpoint-2")
    whole = train(config(**asked, resume_from_checkpoint=point))
    assert rows_of(half.train, data) == CLIMB[:8]
    assert rows_of(whole.train, data) == CLIMB[8:]


UNDONE: dict[str, tuple[dict[str, Any], str]] = {
    "shuffled": ({"curriculum_sampling": False}, "curriculum_sampling: false shuffles the rows"),
    "grouped": ({"group_by_length": True}, "rows of like length together"),
    "packed": (
        {**PACKED, "sample_packing_sequentially": False},
        "packs rows wherever they fit best",
    ),
    "epochs": ({"num_epochs": 3}, "Set `num_epochs: 1`"),
    "steps": ({"max_steps": 13}, "are over after 12 steps"),
}


@pytest.mark.parametrize("case", UNDONE)
def test_what_would_undo_the_order_is_refused(
    config: Config, prepare: Run, data: SimpleNamespace, case: str
) -> None:
    changes, message = UNDONE[case]
    with pytest.raises(PlanError, match=message):
        prepare(config(**{**given(data, "climb", epochs=2), **changes}))


def test_what_has_no_order_may_be_shuffled_and_repeated(
    config: Config, prepare: Run, data: SimpleNamespace
) -> None:
    changes = {"curriculum_sampling": False, "group_by_length": True, "num_epochs": 3}
    assert prepare(config(**given(data, "easiest", count=4), **changes)).steps == 3


def test_an_order_changed_behind_our_back(config: Config, data: SimpleNamespace) -> None:
    from axolotl.cli.config import load_cfg
    from axolotl.integrations.base import PluginManager
    from axolotl.train import setup_model_and_trainer

    cfg = load_cfg(str(config(**given(data, "climb"))))
    ours = PluginManager.get_instance().load_datasets(cfg)
    shuffled = ours.train_dataset.shuffle(seed=1)
    with pytest.raises(RuntimeError, match="not the 24 rows which ppx-ext prepared"):
        setup_model_and_trainer(cfg, dataclasses.replace(ours, train_dataset=shuffled))


@pytest.mark.parametrize("key", ["streaming", "rl", "processor_type"])
def test_data_that_cannot_be_compared_are_refused(data: SimpleNamespace, key: str) -> None:
    from ppx_ext import catalog
    from ppx_ext.hosts import axolotl_config

    cfg = {"ppx": given(data, "climb")["ppx"], key: "dpo" if key == "rl" else True}
    with pytest.raises(PlanError, match=r"ppx\.choose: .*Remove"):
        axolotl_config.parse(cfg, catalog.load())


def test_the_doctor_shows_sampler_and_measure(config: Config, data: SimpleNamespace) -> None:
    from ppx_ext.hosts.axolotl import diagnose

    found = {finding.where: finding for finding in diagnose(config(**given(data, "climb")))}
    assert found["ppx.choose"].message == "climb epochs=1, by noted"
    assert "ppx" not in found, "rows are chosen, so that this is no plain run"


def test_steps_follow_and_what_is_evaluated_on_is_not_chosen(
    config: Config, prepare: Run, data: SimpleNamespace
) -> None:
    plain = prepare(config(datasets=[data.entry], val_set_size=6, num_epochs=3, max_steps=None))
    asked = given(data, "easiest", count=5)
    found = prepare(config(**asked, val_set_size=6, num_epochs=3))
    assert found.evaluation == plain.evaluation
    order = [row for row in CLIMB if row not in {data.places[ids] for ids, _ in plain.evaluation}]
    assert {data.places[ids] for ids, _ in found.train} == set(order[:5])
    assert found.steps == -(-5 * 3 // 4)
    assert not {choices.NOTED, "ppx_row", "topic"} & found.columns


def test_scores_are_made_once_for_measure_and_mask(
    config: Config,
    prepare: Run,
    data: SimpleNamespace,
    oracle: Oracle,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    scored: list[int] = []
    token_scores = scoring.token_scores

    def counting(model: Any, ids: Any, *args: Any, **kwargs: Any) -> Any:
        scored.append(len(ids))
        return token_scores(model, ids, *args, **kwargs)

    monkeypatch.setattr(scoring, "token_scores", counting)
    line = oracle.threshold()
    chosen = {"use": "curriculum", "by": "nll", "order": "hard_to_easy", "epochs": 2}
    block = {"choose": chosen, "mask": {"use": "stm", "ppl_threshold": line}}
    prepared = str(tmp_path / "prepared")
    found = prepare(config(ppx=block, datasets=[data.entry], dataset_prepared_path=prepared))
    assert sum(scored) == ROWS
    assert len(found.train) == 2 * ROWS
    assert all(labels == oracle.labels(ids, line) for ids, labels in found.train)
    hardness = [mean_nll(oracle, ids) for ids, _ in found.train[:ROWS]]
    # What is kept in half precision can swap rows that are this near.
    assert all(later < earlier + 0.005 for earlier, later in itertools.pairwise(hardness))
    assert found.train[ROWS:] == found.train[:ROWS]


def mean_nll(oracle: Oracle, ids: tuple[int, ...]) -> float:
    pairs = zip(oracle.perplexity[ids], oracle.plain[ids], strict=True)
    nll = [math.log(perplexity) for perplexity, label in pairs if label != -100]
    return sum(nll) / len(nll)


def test_strata_and_several_data_sets(
    config: Config, prepare: Run, data: SimpleNamespace, tmp_path: Path
) -> None:
    halves = [
        {**data.entry, "path": str(write_rows(tmp_path / f"{part}.jsonl", data.rows[part::2]))}
        for part in (0, 1)
    ]
    asked = given(data, "easiest", count=2, strata="topic")
    found = prepare(config(**{**asked, "datasets": halves}))
    even, odd = ([row for row in CLIMB if row % 2 == part][:2] for part in (0, 1))
    assert {data.places[ids] for ids, _ in found.train} == {*even, *odd}
