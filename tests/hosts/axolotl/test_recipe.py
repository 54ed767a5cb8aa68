"""A recipe outside `axolotl train`: what the doctor sees, what `ppx prepare` and `ppx train` do."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.hosts.axolotl.conftest import PLUGIN, Oracle, chats, tokens_of, write_rows

pytestmark = pytest.mark.axolotl

Config = Callable[..., Path]
STM = {"mask": {"use": "stm"}}


def seen(path: Path) -> list[tuple[str, str, str]]:
    from ppx_ext.hosts.axolotl import diagnose

    return [(found.level, found.where, found.message) for found in diagnose(path)]


def levels(path: Path) -> dict[str, str]:
    return {where: level for level, where, _ in seen(path)}


def test_doctor_finds_nothing_wrong_with_a_good_recipe(config: Config) -> None:
    found = seen(config(ppx=STM))
    assert {level for level, _, _ in found} == {"ok"}, found
    assert {where for _, where, _ in found} == {"plugins", "ppx.mask", "datasets[0]"}


def test_doctor_sees_a_plugin_that_is_not_listed(config: Config) -> None:
    path = config(ppx=STM, plugins=[])
    assert levels(path)["plugins"] == "error"


def test_doctor_sees_a_wrong_block(config: Config) -> None:
    (found,) = [f for f in seen(config(ppx={"mask": {"use": "stm", "tau": 3}})) if f[0] == "error"]
    assert found[1] == "ppx.mask.tau"
    (found,) = [f for f in seen(config(plugins=[PLUGIN], pxx=STM)) if f[0] == "error"]
    assert "Did you mean `ppx`" in found[2]


def test_doctor_sees_keys_that_axolotl_drops(config: Config, world: SimpleNamespace) -> None:
    entry = {"path": str(world.chat), "type": "chat_template", "roles_to_trian": ["assistant"]}
    found = seen(config(ppx=STM, datasets=[entry], sample_paking=True))
    said = {where: message for level, where, message in found if level == "warning"}
    assert "Did you mean `sample_packing`?" in said["sample_paking"]
    assert "Did you mean `roles_to_train`?" in said["datasets[0].roles_to_trian"]
    assert len(said) == 2


def test_doctor_sees_that_the_end_of_a_turn_is_not_trained(config: Config) -> None:
    path = config(ppx=STM, chat_template="gemma")
    assert levels(path)["datasets[0]"] == "warning"


def test_tokens_for_preparation(config: Config, world: SimpleNamespace, tmp_path: Path) -> None:
    from ppx_ext import pipeline
    from ppx_ext.hosts.axolotl import tokenized

    rows = chats(6, seed=8)
    data = write_rows(tmp_path / "other.jsonl", rows)
    recipe = config("gemma2", ppx={"mask": {"use": "stm", "ppl_threshold": 300}})
    found = tokenized(recipe, data=str(data), model=str(world.root / "llama"))
    expected = {tuple(ids): labels for ids, labels in (tokens_of(r, world.tokenizer) for r in rows)}
    assert {tuple(r["input_ids"]): r["labels"] for r in found.dataset} == expected
    assert found.base.name == str(world.root / "llama")
    oracle = Oracle(world, "llama", rows)
    written = pipeline.prepare(found, tmp_path / "written").dataset
    assert len(written) == 6
    for row in written:
        assert row["labels"] == oracle.labels(tuple(row["input_ids"]), 300)


def test_recipe_without_the_plugin_is_refused(config: Config) -> None:
    from ppx_ext.hosts.axolotl import tokenized, train

    recipe = config(ppx=STM, plugins=[])
    for start in (tokenized, train):
        with pytest.raises(ValueError, match="does not list the plugin"):
            start(recipe)


def test_prepared_folder_is_taken_as_it_is(
    config: Config,
    prepare: Callable[[Path], SimpleNamespace],
    oracles: Callable[[str], Oracle],
    tmp_path: Path,
) -> None:
    """What `ppx prepare` wrote, named under `datasets:`, trains with the same masks, pluginless."""
    from ppx_ext import pipeline
    from ppx_ext.hosts.axolotl import tokenized

    line = oracles("llama").threshold()
    recipe = config(ppx={"mask": {"use": "stm", "ppl_threshold": line}})
    pipeline.prepare(tokenized(recipe), tmp_path / "written")
    data: list[dict[str, Any]] = [{"path": str(tmp_path / "written" / "dataset"), "type": None}]
    found = prepare(config(datasets=data))
    assert len(found.train) == 24
    assert all(labels == oracles("llama").labels(ids, line) for ids, labels in found.train)
