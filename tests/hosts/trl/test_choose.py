"""TRL: chosen rows reach the model in their order, masked as ever, and nothing undoes it unseen."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import pytest
from datasets import Dataset
from transformers import TrainerCallback
from trl import SFTTrainer

from ppx_ext.hosts import trl
from ppx_ext.plan import PlanError
from tests.hosts import choices
from tests.hosts.trl.lab import (
    Catcher,
    Caught,
    Doc,
    Lab,
    StockCatcher,
    arguments,
    chats,
    documents,
    lora,
    messages,
    shape_of,
    trainer,
)
from tests.processes import launch

ROWS = 18
CLIMB = choices.easy_to_hard(ROWS)


@pytest.fixture(autouse=True)
def stand_in(monkeypatch: pytest.MonkeyPatch) -> None:
    choices.install(monkeypatch)


class Noted(Lab):
    """The lab, whose rows have a difficulty and a topic."""

    def dataset(self) -> Dataset:
        noted = zip(self.rows, choices.noted(len(self.rows)), itertools.cycle("ab"))
        rows = [{**row, choices.NOTED: score, "topic": topic} for row, score, topic in noted]
        return Dataset.from_list(rows)


@pytest.fixture(scope="module")
def lab() -> Noted:
    return Noted()


def asks(sampler: str, folder: Path, **settings: Any) -> dict[str, Any]:
    return {"choose": choices.block(sampler, **settings), "cache_dir": str(folder / "scores")}


def rows_of(caught: list[Caught], lab: Lab) -> list[int]:
    """The lab's rows in the order in which the model got them."""
    place = {tuple(doc.ids): at for at, doc in enumerate(lab.docs)}
    return [place[ids] for batch in caught if batch.training for ids, _ in documents(batch)]


def stream_of(caught: list[Caught]) -> list[int]:
    """All tokens in the order in which the model got them."""
    return [token for batch in caught for ids, _ in documents(batch) for token in ids]


def test_the_order_is_not_trivial(lab: Lab) -> None:
    lengths = [len(lab.docs[row].ids) for row in CLIMB]
    assert sorted(lengths) not in (lengths, lengths[::-1])
    assert sorted(CLIMB) not in (CLIMB, CLIMB[::-1])


@pytest.mark.parametrize(
    "changes",
    [{}, {"padding_free": True, "max_length": None}, {"dataloader_num_workers": 1}],
    ids=["padded", "padding-free", "workers"],
)
def test_batches_follow_the_order(lab: Noted, tmp_path: Path, changes: dict[str, Any]) -> None:
    run = trainer(lab, tmp_path, ppx=asks("climb", tmp_path), num_train_epochs=2, **changes)
    run.train()
    assert rows_of(run.caught, lab) == CLIMB * 2
    assert run.state.global_step == 2 * ROWS // 6


def test_wrapped_packs_follow_the_order(lab: Noted, tmp_path: Path) -> None:
    wrapped = {"packing": True, "packing_strategy": "wrapped", "max_length": 32}
    run = trainer(lab, tmp_path, ppx=asks("climb", tmp_path), **wrapped)
    run.train()
    assert stream_of(run.caught) == [token for row in CLIMB for token in lab.docs[row].ids]


def test_epochs_that_are_spelled_out(lab: Noted, tmp_path: Path) -> None:
    run = trainer(lab, tmp_path, ppx=asks("climb", tmp_path, epochs=2))
    run.train()
    assert rows_of(run.caught, lab) == CLIMB + CLIMB[::-1]


@pytest.mark.parametrize("packed", [False, True])
def test_each_epoch_has_the_chosen_rows_shuffled(lab: Noted, tmp_path: Path, packed: bool) -> None:
    changes = {"packing": True, "max_length": 64} if packed else {}
    block = asks("easiest", tmp_path, count=8)
    run = trainer(lab, tmp_path, ppx=block, num_train_epochs=2, **changes)
    run.train()
    found = rows_of(run.caught, lab)
    first, second = found[:8], found[8:]
    assert sorted(first) == sorted(second) == sorted(CLIMB[:8])
    assert first != second
    assert first not in (CLIMB[:8], sorted(first))


def test_strata_are_read_from_the_users_column(lab: Noted, tmp_path: Path) -> None:
    run = trainer(lab, tmp_path, ppx=asks("easiest", tmp_path, count=2, strata="topic"))
    run.train()
    even, odd = ([row for row in CLIMB if row % 2 == part][:2] for part in (0, 1))
    assert sorted(rows_of(run.caught, lab)) == sorted(even + odd)


@pytest.mark.parametrize("apply", ["baked", "collator", "online"])
def test_chosen_rows_carry_the_mask(lab: Noted, tmp_path: Path, apply: str) -> None:
    block = {**lab.block(tmp_path, apply), **asks("climb", tmp_path, epochs=2)}
    run = trainer(lab, tmp_path, ppx=block, peft=lora() if apply == "online" else None)
    run.train()
    found = [shape_of(*doc) for batch in run.caught for doc in documents(batch)]
    assert found == [shape_of(lab.docs[r].ids, lab.docs[r].labels) for r in CLIMB + CLIMB[::-1]]


def test_evaluation_rows_are_not_chosen(lab: Noted, tmp_path: Path) -> None:
    rows = Dataset.from_list(messages(5))
    more = {"eval_dataset": rows}
    run = trainer(lab, tmp_path, ppx=asks("easiest", tmp_path, count=4), more=more)
    run.evaluate()
    assert sum(len(documents(batch)) for batch in run.caught) == 5


class Stop(TrainerCallback):  # type: ignore[misc]
    """The training is cut off after a step."""

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        control.should_training_stop = state.global_step == 2


def test_a_resumed_run_goes_on_in_the_order(lab: Noted, tmp_path: Path) -> None:
    changes = {"save_strategy": "steps", "save_steps": 2, "gradient_accumulation_steps": 1}
    block = asks("climb", tmp_path)
    first = trainer(lab, tmp_path, ppx=block, more={"callbacks": [Stop()]}, **changes)
    first.train()
    second = trainer(lab, tmp_path, ppx=block, **changes)
    second.train(resume_from_checkpoint=str(tmp_path / "out" / "checkpoint-2"))
    assert rows_of(first.caught, lab) == CLIMB[:6]
    assert rows_of(second.caught, lab) == CLIMB[6:]


UNDONE: dict[str, tuple[dict[str, Any], str]] = {
    "bfd": ({"packing": True, "max_length": 64}, "Use `packing_strategy: wrapped`"),
    "bfd_split": (
        {"packing": True, "max_length": 64, "packing_strategy": "bfd_split"},
        "packs the longest rows first",
    ),
    "shuffled": ({"shuffle_dataset": True}, "shuffle_dataset: true"),
    "grouped": ({"train_sampling_strategy": "group_by_length"}, "rows of like length together"),
    "skipped": ({"ignore_data_skip": True}, "ignore_data_skip: true"),
    "epochs": ({"num_train_epochs": 3}, "spells out its 2 epochs"),
    "steps": ({"max_steps": 7}, "are over after 6 steps"),
}


@pytest.mark.parametrize("case", UNDONE)
def test_what_would_undo_the_order_is_refused(lab: Noted, tmp_path: Path, case: str) -> None:
    changes, message = UNDONE[case]
    with pytest.raises(PlanError, match=message):
        trainer(lab, tmp_path, ppx=asks("climb", tmp_path, epochs=2), **changes)
    kept = {k: v for k, v in changes.items() if k not in ("num_train_epochs", "max_steps")}
    trainer(lab, tmp_path, ppx=asks("easiest", tmp_path, count=4), **kept)


def test_steps_within_the_epochs_are_allowed(lab: Noted, tmp_path: Path) -> None:
    run = trainer(lab, tmp_path, ppx=asks("climb", tmp_path, epochs=2), max_steps=4)
    run.train()
    assert rows_of(run.caught, lab) == [*CLIMB, *CLIMB[::-1]][:24]


def test_streamed_and_unprepared_rows_are_refused(lab: Noted, tmp_path: Path) -> None:
    args = arguments(tmp_path, ppx=asks("climb", tmp_path), max_steps=2)
    lent = {"model": lab.model(), "processing_class": lab.tokenizer}
    with pytest.raises(PlanError, match="streamed data set is never there as a whole"):
        Catcher(args=args, train_dataset=lab.dataset().to_iterable_dataset(), **lent)
    args.dataset_kwargs = {"skip_prepare_dataset": True}
    with pytest.raises(PlanError, match="step in which rows are chosen"):
        Catcher(args=args, train_dataset=lab.dataset(), **lent)


def test_a_column_that_is_not_there(lab: Noted, tmp_path: Path) -> None:
    args = arguments(tmp_path, ppx=asks("climb", tmp_path))
    rows = Dataset.from_list(chats(4))
    with pytest.raises(ValueError, match=f"reads the column '{choices.NOTED}'"):
        Catcher(model=lab.model(), processing_class=lab.tokenizer, args=args, train_dataset=rows)


@pytest.mark.slow
def test_two_processes_share_scores_and_one_order(lab: Noted, tmp_path: Path) -> None:
    launch("tests.hosts.trl.choose_worker", tmp_path)
    one, other = (json.loads((tmp_path / f"{rank}.json").read_text()) for rank in (0, 1))
    in_turn = itertools.chain.from_iterable(zip(one["batches"], other["batches"], strict=True))
    mean = {tuple(doc.ids): mean_nll(doc) for doc in lab.docs}
    found = [mean[tuple(ids)] for batch in in_turn for ids in batch]
    assert len(found) == ROWS
    # What is kept in half precision can swap rows that are this near.
    assert all(later > earlier - 0.005 for earlier, later in itertools.pairwise(found))
    assert found[-1] - found[0] > 0.1
    assert one["scored"] + other["scored"] == ROWS, "once, for the measure and for the mask"


def mean_nll(doc: Doc) -> float:
    found = [nll for nll, is_target in zip(doc.nll, doc.target, strict=True) if is_target]
    return sum(found) / len(found)


def test_a_plain_trainer_keeps_the_order(lab: Noted, tmp_path: Path) -> None:
    args = arguments(tmp_path)
    ready = trl.sft_arguments(
        lab.dataset(),
        model=lab.model(),
        processing_class=lab.tokenizer,
        args=args,
        ppx=asks("climb", tmp_path),
    )
    assert issubclass(StockCatcher, SFTTrainer)
    run = StockCatcher(**ready)
    run.train()
    assert rows_of(run.caught, lab) == CLIMB
    assert args.train_sampling_strategy == "random", "the user's own arguments stay as they are"
    with pytest.raises(PlanError, match="packs the longest rows first"):
        trl.sft_arguments(
            lab.dataset(),
            model=lab.model(),
            processing_class=lab.tokenizer,
            args=arguments(tmp_path, packing=True, max_length=64),
            ppx=asks("climb", tmp_path),
        )
