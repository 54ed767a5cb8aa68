"""Axolotl: rows are built once, own words are trained on whole, and the golds are masked."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.hosts import words
from tests.hosts.axolotl.conftest import (
    PLUGIN,
    SPY,
    Oracle,
    command_line,
    documents,
    pairs,
    tokens_of,
    write_rows,
)

pytestmark = pytest.mark.axolotl

Config = Callable[..., Path]
Run = Callable[[Path], SimpleNamespace]
ROWS = 18
STAND_IN = "tests.hosts.axolotl.words_plugin.WordsPlugin"
SHAREGPT = {
    "type": "chat_template",
    "field_messages": "conversations",
    "message_property_mappings": {"role": "from", "content": "value"},
    "roles": {"user": ["asker"], "assistant": ["helper"]},
    "roles_to_train": ["helper"],
}


@pytest.fixture(autouse=True)
def stand_in(monkeypatch: pytest.MonkeyPatch) -> None:
    words.install(monkeypatch)


class Rows:
    """Golds under names of the user's own, an engine's answers, and what must be trained on."""

    def __init__(self, world: Any, folder: Path, *, newline: str = " ") -> None:
        questions = [f"How many pairs of {row} make a chain?" for row in range(ROWS)]
        self.golds = [f"print the total{newline}of clips: {row}" for row in range(ROWS)]
        self.table = folder / "answers.json"
        targets = words.table_of(questions, [str(row) for row in range(ROWS)], self.table)
        self.data = write_rows(
            folder / "golds.jsonl",
            [
                {"conversations": [{"from": "asker", "value": q}, {"from": "helper", "value": a}]}
                for q, a in zip(questions, self.golds, strict=True)
            ],
        )
        said = [t or gold for t, gold in zip(targets, self.golds, strict=True)]
        chats = [
            {"messages": [{"role": "user", "content": q}, {"role": "assistant", "content": a}]}
            for q, a in zip(questions, said, strict=True)
        ]
        self.chats = chats
        self.oracle = Oracle(world, "llama", chats)
        self.line = self.oracle.threshold()
        ids = [tuple(tokens_of(chat, world.tokenizer)[0]) for chat in chats]
        self.sources = dict(zip(ids, words.sources(ROWS), strict=True))

    def entry(self, **changes: Any) -> dict[str, Any]:
        return {"path": str(self.data), **SHAREGPT, **changes}

    def given(self, **changes: Any) -> dict[str, Any]:
        """Keyword arguments of `config`."""
        block = {
            "build": words.build_block(self.table),
            "mask": {"use": "stm", "ppl_threshold": self.line, **changes.pop("mask", {})},
        }
        prepared = str(self.data.parent / "prepared")
        return {
            "ppx": block,
            "datasets": [self.entry()],
            "dataset_prepared_path": prepared,
            **changes,
        }

    def labels(self, ids: tuple[int, ...]) -> list[int]:
        """Of a built row: golds lose what is hard, own words nothing."""
        gold = self.sources[ids] == words.GOLD
        return self.oracle.labels(ids, self.line) if gold else self.oracle.plain[ids]

    def check(self, found: list[tuple[tuple[int, ...], list[int]]]) -> None:
        for ids, labels in found:
            assert labels == self.labels(ids), self.sources[ids]


@pytest.fixture
def rows(world: SimpleNamespace, tmp_path: Path) -> Rows:
    return Rows(world, tmp_path)


def test_the_answer_key_is_not_trivial(rows: Rows) -> None:
    masked = {
        source: [i for i, s in rows.sources.items() if s == source and changes(rows, i)]
        for source in words.SOURCES
    }
    assert min(map(len, masked.values())) == 6, "each row would lose something to the mask"


def changes(rows: Rows, ids: tuple[int, ...]) -> bool:
    return rows.oracle.labels(ids, rows.line) != rows.oracle.plain[ids]


@pytest.mark.parametrize(
    "settings",
    [{}, {"val_set_size": 5}, {"sample_packing": True, "val_set_size": 5}],
    ids=["plain", "split", "packed"],
)
def test_the_right_rows_are_masked_after_shuffling_and_splitting(
    settings: dict[str, Any], rows: Rows, config: Config, prepare: Run
) -> None:
    found = prepare(config(**rows.given(**settings)))
    kept = settings.get("val_set_size", 0)
    everything = [ids for ids, _ in (*found.train, *found.evaluation)]
    assert sorted(everything) == sorted(rows.sources)
    assert [ids for ids, _ in found.train] != list(rows.sources), "it was shuffled"
    assert len(found.evaluation) == kept
    rows.check(found.train)
    assert all(labels == rows.oracle.plain[ids] for ids, labels in found.evaluation)
    assert "ppx_source" not in found.columns
    assert len(words.asked(rows.table)) == ROWS + 12


def test_a_split_of_built_rows_is_masked_like_them(
    rows: Rows, config: Config, prepare: Run
) -> None:
    given = rows.given(val_set_size=9, mask={"mask_eval": True})
    found = prepare(config(**given))
    rows.check([*found.train, *found.evaluation])
    assert {rows.sources[ids] for ids, _ in found.evaluation} >= {"gold", "own"}


def test_test_datasets_stay_the_users(
    rows: Rows, world: SimpleNamespace, config: Config, prepare: Run
) -> None:
    test = rows.entry(split="train")
    found = prepare(config(**rows.given(test_datasets=[test], mask={"mask_eval": True})))
    golds = [
        {"messages": [chat["messages"][0], {"role": "assistant", "content": gold}]}
        for chat, gold in zip(rows.chats, rows.golds, strict=True)
    ]
    oracle = Oracle(world, "llama", golds)
    assert sorted(ids for ids, _ in found.evaluation) == sorted(oracle.plain)
    assert all(labels == oracle.labels(ids, rows.line) for ids, labels in found.evaluation)
    rows.check(found.train)


def test_a_builder_alone(rows: Rows, config: Config, prepare: Run) -> None:
    given = rows.given()
    del given["ppx"]["mask"]
    found = prepare(config(**given))
    assert sorted(ids for ids, _ in found.train) == sorted(rows.sources)
    assert all(labels == rows.oracle.plain[ids] for ids, labels in found.train)
    assert "ppx_source" not in found.columns


@pytest.mark.parametrize("packed", [False, True])
def test_labels_at_the_loss(packed: bool, rows: Rows, config: Config, train: Run) -> None:
    more = {"sample_packing": True, "gradient_accumulation_steps": 1} if packed else {}
    found = train(config(**rows.given(max_steps=None, **more)))
    seen = [document for entry in found.train for document in documents(entry)]
    assert sorted(ids for ids, _ in seen) == sorted(rows.sources)
    rows.check(seen)
    state = json.loads((found.out / "ppx_state.json").read_text())
    stages = {record["stage"]: record["numbers"] for record in state["records"]}
    assert stages["build"]["composition"] == {"own": 6, "paraphrase": 6, "gold": 6}
    assert (stages["mask"]["rows"], stages["mask"]["rows_left_alone"]) == (6, 12)


def test_edits_are_of_golds_only(
    world: SimpleNamespace, config: Config, prepare: Run, tmp_path: Path
) -> None:
    rows = Rows(world, tmp_path, newline="\r\n")
    table = json.loads(rows.table.read_text())
    first = next(iter(table))
    table[first]["own"] += "\r\nyes 0"
    rows.table.write_text(json.dumps(table))
    found = prepare(config(**rows.given(mask={"normalize_newlines": True})))
    texts = [world.tokenizer.decode(ids) for ids, _ in found.train]
    assert [text for text in texts if "\r" in text] == [t for t in texts if "yes 0" in t] != []
    assert sum("total\nof clips" in text for text in texts) == 6


def test_several_data_sets(
    rows: Rows, world: SimpleNamespace, config: Config, prepare: Run, tmp_path: Path
) -> None:
    question, gold = "How many pairs of 0 make a chain?", "Half of 0"
    turns = [{"role": "user", "content": question}, {"role": "assistant", "content": gold}]
    other = write_rows(tmp_path / "other.jsonl", [{"messages": turns}])
    entries = [rows.entry(), {"path": str(other), "type": "chat_template"}]
    found = prepare(config(**rows.given(datasets=entries)))
    assert len(found.train) == ROWS + 1
    own = next(ids for ids, source in rows.sources.items() if source == "own")
    assert sum(ids == own for ids, _ in found.train) == 2, "asked the same, it says the same"


def test_changed_golds_are_never_served_from_before(
    rows: Rows, config: Config, prepare: Run
) -> None:
    path = config(**rows.given())
    first = prepare(path)
    asked = len(words.asked(rows.table))
    assert prepare(path).train == first.train
    assert len(words.asked(rows.table)) == asked
    rows.data.write_text(rows.data.read_text().replace("print the total", "write the total"))
    changed = {ids for ids, _ in prepare(path).train} - {ids for ids, _ in first.train}
    assert len(changed) == 6, "the golds that are left"


def test_build_alone_is_what_training_reads(
    rows: Rows, config: Config, prepare: Run, tmp_path: Path
) -> None:
    from ppx_ext.hosts import axolotl

    path = config(**rows.given())
    made = axolotl.built(path)
    asked = len(words.asked(rows.table))
    rows.check(prepare(path).train)
    assert len(words.asked(rows.table)) == asked == ROWS + 12
    found = axolotl.tokenized(path)
    assert [record.stage for record in found.records] == ["build"]
    # The file that was built may stand in the place of the golds.
    built = [{"path": str(made.path), "type": "chat_template"}]
    rows.check(prepare(config(**rows.given(datasets=built))).train)
    assert len(words.asked(rows.table)) == asked
    two = config(**rows.given(datasets=[rows.entry(), rows.entry()]))
    with pytest.raises(ValueError, match="one is built at a time"):
        axolotl.built(two)


def test_prepare_writes_what_axolotl_reads(
    rows: Rows, config: Config, prepare: Run, tmp_path: Path
) -> None:
    from ppx_ext import pipeline
    from ppx_ext.hosts import axolotl

    prepared = pipeline.prepare(axolotl.tokenized(config(**rows.given())), tmp_path / "out")
    rows.check(pairs(prepared.dataset))
    entry = {"path": str(prepared.folder / "dataset" / "train.parquet"), "type": None}
    packed = {"sample_packing": True, "dataset_prepared_path": str(tmp_path / "again")}
    found = prepare(config(datasets=[entry], **packed))
    rows.check(found.train)


@pytest.mark.parametrize(
    ("entry", "changes", "message"),
    [
        ({"type": "alpaca"}, {}, r"datasets\[0\].type: 'alpaca' is no chat"),
        ({"message_field_training": "train"}, {}, "message_field_training: speaks of"),
        ({}, {"chat_template_kwargs": {"thinking": False}}, "are not heard"),
        ({}, {"rl": "dpo"}, "learn from pairs"),
    ],
)
def test_refusals(
    entry: dict[str, Any], changes: dict[str, Any], message: str, rows: Rows, config: Config
) -> None:
    from ppx_ext import catalog
    from ppx_ext.hosts import axolotl_config

    given = rows.given(datasets=[rows.entry(**entry)], **changes)
    with pytest.raises(ValueError, match=message):
        axolotl_config.parse(given, catalog.load())


@pytest.mark.slow
def test_preprocess_builds_and_tells(rows: Rows, config: Config, prepare: Run) -> None:
    given = rows.given(val_set_size=5)
    path = config(**given, plugins=[STAND_IN, PLUGIN, SPY])
    done = command_line("axolotl", "preprocess", str(path), cwd=path.parent)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-6000:]
    told = done.stdout + done.stderr
    assert "built by s3ft: 18 rows (own 33.3%, paraphrase 33.3%, gold 33.3%)" in told
    assert "a share of the built rows" in told
    asked = len(words.asked(rows.table))
    assert asked == ROWS + 12
    rows.check(prepare(config(**given)).train)
    assert len(words.asked(rows.table)) == asked
