"""Every shipped recipe: what it says, what it holds, and what its own host makes of it."""

from __future__ import annotations

import functools
import importlib.util
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from ppx_ext import catalog, plan, recipes
from ppx_ext.comparing.arms import arms_of
from ppx_ext.proving import check
from tests.recipes.maker import facts, paper1
from tests.recipes.maker.__main__ import files

FILES = [file for _, file in recipes.shipped()]
TRL = [file for file in FILES if file.name.endswith(".trl.yaml")]
OWN = {"ppx", "output_dir", "dataset_prepared_path"}


def label(path: Path) -> str:
    return recipes.recipe_name(recipes.own_folder(), path)


@functools.cache
def settings(path: Path) -> Mapping[str, Any]:
    return recipes.load(path).settings


@functools.cache
def named(name: str) -> Path:
    return recipes.own_folder() / f"{name}.yaml"


def head_of(path: Path) -> str:
    return path.read_text(encoding="utf-8").partition("\n\n")[0]


def test_every_file_is_what_the_table_of_facts_says() -> None:
    made = dict(files())
    stale = [name for name, text in made.items() if not _is(recipes.own_folder() / name, text)]
    assert not stale, "run `python -m tests.recipes.maker`"
    by_hand = {f"{label(path)}.yaml" for path in FILES} - set(made)
    assert {name.split("/")[1] for name in by_hand} == {"embedded"}


def _is(path: Path, text: str) -> bool:
    return path.is_file() and path.read_text(encoding="utf-8") == text


def test_both_hosts_hold_the_same_block() -> None:
    twins = {path: path.with_name(path.name.replace(".trl.", ".axolotl.")) for path in TRL}
    assert sorted([*twins, *twins.values()]) == sorted(FILES)
    assert [p for p, twin in twins.items() if settings(p)["ppx"] != settings(twin)["ppx"]] == []


def test_every_block_is_right_and_measures_what_is_forgotten() -> None:
    installed = catalog.load()
    for path in TRL:
        found = plan.parse(settings(path)["ppx"], installed)
        if "/embedded/" in path.as_posix():
            continue
        assert found.eval is not None, path
        assert found.eval.gate is not None, path
        assert found.eval.gate.on_breach == "warn", path
        method = label(path).partition("/")[0]
        assert any((found.build, found.choose, found.mask)) == (method != "sft"), path


@pytest.mark.parametrize("path", FILES, ids=label)
def test_the_head_says_what_to_do(path: Path) -> None:
    head = head_of(path)
    words = ["Paper:", "Install:", "Weights:", "Data:", "Check:", "Run:", "Deviations:"]
    if "/embedded/" not in path.as_posix():
        words += ["Gave:", "Hardware:", "estimated"]
    assert [word for word in words if word not in head] == []
    assert path.name in head
    assert max(map(len, head.split("\n"))) <= 108
    for script in re.findall(r"ppx recipes copy (data/\S+\.py)", head):
        assert (recipes.own_folder() / script).is_file()
    for name in re.findall(r"ppx recipes copy (?!data/)(\S+)", head):
        assert recipes.find(name).is_file()
    folder = re.search(r"python \S+\.py (\S+)", head)
    assert folder is not None
    data = settings(path).get("dataset_name") or settings(path)["datasets"][0]["path"]
    assert str(data).removesuffix("/train.jsonl") == folder[1]


def test_the_comparisons_that_heads_propose_can_be_had() -> None:
    installed, proposed = catalog.load(), 0
    for path in FILES:
        for names in re.findall(r"# Compare: .* --arms (\S+)", head_of(path)):
            for arm in arms_of(recipes.load(path), names.split(",")):
                plan.parse(arm.settings["ppx"], installed)
            proposed += 1
    assert proposed == 2 * (10 + 3 + 18 + 3)


def test_each_host_takes_every_recipe_and_trains_its_ends_of_turns() -> None:
    # Many recipes differ in their `ppx:` block alone, which was looked at above.
    distinct = {repr(_without_own(settings(path))): path for path in FILES}
    chosen = [*distinct.values()]
    assert len(chosen) > 40
    found = check.check(chosen).findings
    assert [one for one in found if one.level in ("error", "warning")] == []
    hosts = {host for host in recipes.HOSTS if importlib.util.find_spec(host)}
    unchecked = {one.file for one in found if one.level == "unchecked"}
    assert unchecked == {str(path) for path in chosen if recipes.load(path).host not in hosts}


@pytest.mark.parametrize("host", recipes.HOSTS)
def test_matched_baselines_share_all_settings_with_the_method(host: str) -> None:
    compared = 0
    for model in paper1.MODELS:
        for data in ("mbpp", "math"):
            wanted = _without_own(settings(named(f"stm/{model.folder}/{data}.{host}")))
            for method in ("sft", "self_output", "rephrase"):
                path = named(f"{method}/{model.folder}/{data}-matched.{host}")
                assert _without_own(settings(path)) == wanted, path
                plain = settings(named(f"{method}/{model.folder}/{data}.{host}"))
                assert settings(path)["ppx"] == plain["ppx"]
                assert _without_own(plain) != wanted
                compared += 1
    assert compared == 30


def _without_own(found: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in found.items() if key not in OWN}


def test_the_authors_settings_are_those_of_their_files() -> None:
    baseline = settings(named("sft/meta-llama-3-8b-instruct/mbpp.axolotl"))
    published = {
        "sequence_len": 4096,
        "sample_packing": False,
        "adapter": "lora",
        "lora_r": 32,
        "lora_alpha": 16,
        "lora_dropout": 0.05,
        "lora_target_linear": True,
        "num_epochs": 3,
        "optimizer": "adamw_bnb_8bit",
        "lr_scheduler": "cosine",
        "learning_rate": 0.00002,
        "warmup_steps": 10,
        "weight_decay": 0.0,
        "special_tokens": {"pad_token": "<|end_of_text|>"},
    }
    assert {key: baseline.get(key) for key in published} == published
    # Two cards with a micro-batch of 2 each.
    assert baseline["micro_batch_size"] * baseline["gradient_accumulation_steps"] == 4
    method = settings(named("stm/mistral-7b-instruct-v0.3/math.trl"))
    assert method["use_dora"]
    assert (method["lora_r"], method["lora_alpha"], method["warmup_steps"]) == (16, 32, 20)
    assert method["ppx"]["mask"]["ppl_threshold"] == 3


@pytest.mark.parametrize(
    ("model", "data", "method", "printed"),
    [
        (facts.GEMMA_2B, "mbpp", "sft", (-38.19, -21.76)),
        (facts.GEMMA_2B, "mbpp", "stm", (0.42, 0.00)),
        (facts.GEMMA_2B, "math", "rephrase", (-14.06, -28.83)),
        (facts.GEMMA_2B, "math", "stm", (-2.93, 7.83)),
        (facts.LLAMA_3_8B, "mbpp", "sft", (-34.71, -2.23)),
    ],
)
def test_transfer_is_recomputed_as_the_paper_computes_it(
    model: facts.Model, data: str, method: str, printed: tuple[float, float]
) -> None:
    # Table 2 against Table 12, where the two do not contradict each other.
    assert facts.transfer(model.hub, data, method) == pytest.approx(printed, abs=0.05)
