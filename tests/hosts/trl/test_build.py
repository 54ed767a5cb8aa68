"""TRL: rows are built once, own words are trained on whole, and golds that remain are masked."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from datasets import Dataset
from trl import SFTTrainer

from ppx_ext import pipeline
from ppx_ext.hosts import trl, trl_recipe
from tests.hosts import words
from tests.hosts.trl.lab import (
    Catcher,
    Lab,
    chats,
    documents,
    lora,
    mask,
    score,
    shape_of,
    tokenised,
    trainer,
)
from tests.hosts.trl.lab import arguments as lab_arguments
from tests.hosts.trl.test_recipe import PEFT, caught, write
from tests.processes import launch

ROWS = 18


@pytest.fixture(autouse=True)
def stand_in(monkeypatch: pytest.MonkeyPatch) -> None:
    words.install(monkeypatch)


@pytest.fixture(scope="module")
def lab() -> Lab:
    return Lab()


@pytest.fixture(scope="module")
def model(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return lab.saved(tmp_path_factory.mktemp("base"))


class World:
    """The lab's rows with an engine's answers to them, and the labels that they must have."""

    def __init__(self, lab: Lab, folder: Path) -> None:
        self.lab, self.folder, self.table = lab, folder, folder / "answers.json"
        questions = [row["prompt"][0]["content"] for row in lab.rows]
        self.targets = words.table_of(questions, [str(row) for row in range(ROWS)], self.table)
        base = lab.model()
        self.docs = []
        for row, target in zip(lab.rows, self.targets, strict=True):
            said = (
                row["completion"] if target is None else [{"role": "assistant", "content": target}]
            )
            doc = tokenised({**row, "completion": said}, lab.tokenizer)
            score(doc, base)
            self.docs.append(doc)

    def block(self, **keys: Any) -> dict[str, Any]:
        return {**self.lab.block(self.folder), "build": words.build_block(self.table), **keys}

    def expected(self, *, after_turn: bool, masked: str = "gold") -> set[Any]:
        """Own words whole; golds masked. TRL's own rows also train the line break after a turn."""
        end = self.lab.tokenizer.eos_token_id
        found = set()
        for doc, source in zip(self.docs, words.sources(ROWS), strict=True):
            plain = [i if t else -100 for i, t in zip(doc.ids, doc.target, strict=True)]
            mask(doc, self.lab.threshold, end)
            is_masked = masked == "all" or (masked == "gold" and source == words.GOLD)
            labels = doc.labels if is_masked else plain
            found.add(shape_of(doc.ids, labels if after_turn else [*labels[:-1], -100]))
        return found


@pytest.fixture
def world(lab: Lab, tmp_path: Path) -> World:
    return World(lab, tmp_path)


def test_the_answer_key_is_not_trivial(world: World) -> None:
    ways = [world.expected(after_turn=True, masked=rows) for rows in ("none", "gold", "all")]
    # The mask takes something of nearly all rows, golds and own words alike.
    assert len(ways[0] - ways[1]) >= 5
    assert len(ways[1] - ways[2]) >= 11


@pytest.mark.parametrize(
    "settings",
    [{}, PEFT, {"packing": True, "max_length": 128}],
    ids=["full", "lora", "packed"],
)
def test_a_recipe(settings: dict[str, Any], world: World, model: Path, tmp_path: Path) -> None:
    path = write(tmp_path, world.lab, model, **{**settings, "ppx": world.block()})
    assert caught(trl.train(path)) == world.expected(after_turn=False)
    state = json.loads((tmp_path / "out" / "ppx_state.json").read_text())
    stages = {record["stage"]: record["numbers"] for record in state["records"]}
    assert list(stages) == ["build", "tokenize", "mask"]
    assert stages["build"]["composition"] == {"own": 6, "paraphrase": 6, "gold": 6}
    assert (stages["mask"]["rows"], stages["mask"]["rows_left_alone"]) == (6, 12)
    assert len(words.asked(world.table)) == ROWS + 12
    # Nothing is asked, built or scored again.
    trl.train(path, out=tmp_path / "again")
    assert len(words.asked(world.table)) == ROWS + 12


def test_a_builder_alone(world: World, model: Path, tmp_path: Path, capfd: Any) -> None:
    block = world.block()
    del block["mask"]
    path = write(tmp_path, world.lab, model, ppx=block)
    assert caught(trl.train(path)) == world.expected(after_turn=False, masked="none")
    told = "built by s3ft: 18 rows (own 33.3%, paraphrase 33.3%, gold 33.3%)"
    assert told in capfd.readouterr()[0]


def test_every_row_is_masked_where_asked(world: World, model: Path, tmp_path: Path) -> None:
    block = world.block()
    block["mask"]["rows"] = "all"
    path = write(tmp_path, world.lab, model, ppx=block)
    found = trl.trainer_of(trl_recipe.read(path))
    assert caught(found) == world.expected(after_turn=False, masked="all")


def test_the_base_is_loaded_once(
    world: World, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ppx_ext import scoring

    loads = []
    load = scoring.load_causal_lm
    monkeypatch.setattr(
        scoring, "load_causal_lm", lambda *a, **k: (loads.append(a), load(*a, **k))[1]
    )
    trl.trainer_of(trl_recipe.read(write(tmp_path, world.lab, model, ppx=world.block())))
    assert len(loads) == 1


def test_what_is_evaluated_on_stays_the_users(world: World, model: Path, tmp_path: Path) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    pairs = [
        {"frage": row["prompt"][0]["content"], "antwort": row["completion"][0]["content"]}
        for row in world.lab.rows
    ]
    for split, rows in (("train", pairs[:12]), ("test", pairs[12:])):
        (folder / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    block = world.block()
    block["mask"]["mask_eval"] = True
    changes = {"dataset_name": str(folder), "eval_strategy": "epoch", "ppx": block}
    made = trl.trainer_of(trl_recipe.read(write(tmp_path, world.lab, model, **changes)))
    newline_off = [shape_of(doc.ids, [*doc.labels[:-1], -100]) for doc in world.lab.docs[12:]]
    rows = made.eval_dataset
    assert [shape_of(row["input_ids"], row["labels"]) for row in rows] == newline_off
    assert len(words.asked(world.table)) == 12 + 8


def test_prepare(world: World, model: Path, tmp_path: Path) -> None:
    path, out = write(tmp_path, world.lab, model, ppx=world.block()), tmp_path / "prepared"
    prepared = pipeline.prepare(trl.tokenized(path), out)
    rows = {shape_of(row["input_ids"], row["labels"]) for row in prepared.dataset}
    assert rows == world.expected(after_turn=False)
    assert [record["stage"] for record in prepared.manifest["records"]] == [
        "build", "tokenize", "mask"
    ]  # fmt: skip
    assert [row.source for row in prepared.rows()] == words.sources(ROWS)
    # A sampled engine may say the same words again: another build is still another input.
    other = world.block()
    other["build"]["generator"]["edition"] = 2
    path = write(tmp_path, world.lab, model, ppx=other)
    with pytest.raises(ValueError, match="built: "):
        pipeline.prepare(trl.tokenized(path), out)


def test_build_alone_is_what_training_reads(world: World, model: Path, tmp_path: Path) -> None:
    path = write(tmp_path, world.lab, model, ppx=world.block())
    made = trl.built(path)
    assert made.path.is_relative_to(tmp_path / "scores")
    before = len(words.asked(world.table))
    found = trl.trainer_of(trl_recipe.read(path))
    assert caught(found) == world.expected(after_turn=False)
    assert len(words.asked(world.table)) == before
    elsewhere = trl.built(path, out=tmp_path / "elsewhere")
    assert elsewhere.path.is_relative_to(tmp_path / "elsewhere")
    found = trl.trainer_of(trl_recipe.read(path, data=str(elsewhere.path)))
    assert caught(found) == world.expected(after_turn=False)


def caught_by(made: Any) -> set[Any]:
    made.train()
    return {shape_of(*doc) for batch in made.caught for doc in documents(batch)}


@pytest.mark.parametrize("packing", [False, True])
def test_the_trainer_itself(packing: bool, world: World, tmp_path: Path) -> None:
    more = {"packing": packing, "max_length": 128}
    made = trainer(world.lab, tmp_path, ppx=world.block(), peft=lora(), **more)
    assert caught_by(made) == world.expected(after_turn=True)


def test_the_trainer_itself_with_whole_chats(world: World, model: Path, tmp_path: Path) -> None:
    rows = [{"messages": [*row["prompt"], *row["completion"]]} for row in world.lab.rows]
    args = lab_arguments(tmp_path, ppx=world.block(), assistant_only_loss=True)
    made = Catcher(
        model=str(model),
        args=args,
        train_dataset=Dataset.from_list(rows),
        processing_class=world.lab.tokenizer,
    )
    assert caught_by(made) == world.expected(after_turn=False)
    state = json.loads((tmp_path / "out" / "ppx_state.json").read_text())
    assert [record["stage"] for record in state["records"]] == ["build", "mask"]


def test_arguments_for_a_plain_trainer(world: World, tmp_path: Path) -> None:
    found = trl.sft_arguments(
        [{"prompt": r["prompt"], "completion": r["completion"]} for r in world.lab.rows],
        model=world.lab.model(),
        processing_class=world.lab.tokenizer,
        args=lab_arguments(tmp_path),
        ppx=world.block(),
    )
    assert caught(SFTTrainer(**found)) == world.expected(after_turn=False)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([{"input_ids": [1, 2], "labels": [1, 2]}], "tokenised already"),
        ([{"text": "a b"}], "no column `messages`"),
    ],
)
def test_rows_that_cannot_be_built(
    rows: list[Any], message: str, world: World, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=message):
        Catcher(
            model=world.lab.model(),
            args=lab_arguments(tmp_path, ppx=world.block()),
            train_dataset=Dataset.from_list(rows),
            processing_class=world.lab.tokenizer,
        )


def test_streams_formatters_and_adapters_are_refused(world: World, tmp_path: Path) -> None:
    from peft import get_peft_model

    args = lab_arguments(tmp_path, ppx=world.block(), max_steps=1)
    given = {"args": args, "processing_class": world.lab.tokenizer}
    rows = Dataset.from_list(chats(3))
    with pytest.raises(ValueError, match="not a streamed one"):
        Catcher(model=world.lab.model(), train_dataset=rows.to_iterable_dataset(), **given)
    with pytest.raises(ValueError, match="formatting_func"):
        Catcher(model=world.lab.model(), train_dataset=rows, formatting_func=str, **given)
    with pytest.raises(ValueError, match="carries an adapter"):
        Catcher(model=get_peft_model(world.lab.model(), lora()), train_dataset=rows, **given)


@pytest.mark.slow
def test_one_of_two_processes_builds(world: World, model: Path, tmp_path: Path) -> None:
    path = write(tmp_path, world.lab, model, ppx=world.block(), per_device_train_batch_size=3)
    launch("tests.hosts.trl.build_worker", path)
    assert len(words.asked(world.table)) == ROWS + 12
    seen = [json.loads((tmp_path / f"seen-{rank}.json").read_text()) for rank in (0, 1)]
    rows = [shape_of(ids, labels) for rank in seen for ids, labels in rank["rows"]]
    assert sorted(rows) == sorted(world.expected(after_turn=False))
    # A wrapper that outlives its groups can wait for ever for their threads.
    assert [(rank["groups"], rank["wrappers"]) for rank in seen] == [(False, 0)] * 2
