"""Where a mask cannot be right it is refused, with the reason and the mend."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import trl.trainer.sft_trainer as stock
from datasets import Dataset
from transformers import DataCollatorForLanguageModeling

from ppx_ext.hosts import trl_checks
from ppx_ext.plan import PlanError
from tests.hosts.trl.lab import Catcher, Lab, arguments, chats, documents, lora, shape_of, trainer


@pytest.fixture(scope="module")
def lab() -> Lab:
    return Lab()


PACKED = {"packing": True, "max_length": 64}
CASES: dict[str, tuple[str, dict[str, Any], Any, str]] = {
    "collator packing": ("collator", PACKED, None, "TRL packs `input_ids` and `labels` only"),
    "collator padding-free": (
        "collator",
        {"padding_free": True, "max_length": None},
        None,
        "`padding_free`: its collator is TRL's alone",
    ),
    "collator keep_end": (
        "collator",
        {"truncation_mode": "keep_end"},
        None,
        "no longer align with their scores",
    ),
    "collator unprepared": (
        "collator",
        {"dataset_kwargs": {"skip_prepare_dataset": True}},
        None,
        "`skip_prepare_dataset` skips the step",
    ),
    "baked unprepared": (
        "baked",
        {"dataset_kwargs": {"skip_prepare_dataset": True}},
        None,
        "taken as they are anyway",
    ),
    "online full": ("online", {}, None, "online needs an adapter"),
    "online wrapped": (
        "online",
        {**PACKED, "packing_strategy": "wrapped"},
        lora(),
        "documents are cut",
    ),
    "online split": (
        "online",
        {**PACKED, "packing_strategy": "bfd_split"},
        lora(),
        "Use `packing_strategy: bfd`, or `apply: baked`",
    ),
    "online keep_end": (
        "online",
        {"truncation_mode": "keep_end"},
        lora(),
        "text that was cut away",
    ),
    "rewritten base": ("baked", {}, lora(init_lora_weights="pissa"), "rewrites the base's own"),
    "rewritten base, online": (
        "online",
        {},
        lora(init_lora_weights="olora"),
        "rewrites the base's own",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_refused(case: str, lab: Lab, tmp_path: Path) -> None:
    way, settings, peft, message = CASES[case]
    with pytest.raises(PlanError) as refused:
        trainer(lab, tmp_path, ppx=lab.block(tmp_path, way), peft=peft, **settings)
    assert message in str(refused.value)
    assert "Use" in str(refused.value) or "Remove" in str(refused.value)


def test_online_does_not_mask_evaluation(lab: Lab, tmp_path: Path) -> None:
    block = lab.block(tmp_path, "online", mask_eval=True)
    with pytest.raises(PlanError, match="`mask_eval` has no effect"):
        trainer(lab, tmp_path, ppx=block, peft=lora())


def test_two_problems_are_told_at_once(lab: Lab, tmp_path: Path) -> None:
    block = lab.block(tmp_path, "collator")
    with pytest.raises(PlanError, match="has 2 problem"):
        trainer(lab, tmp_path, ppx=block, packing=True, truncation_mode="keep_end")


@pytest.mark.parametrize("way", ["collator", "online"])
def test_dft_where_an_empty_step_ruins_the_weights(way: str, lab: Lab, tmp_path: Path) -> None:
    def build() -> Any:
        return trainer(lab, tmp_path, ppx=lab.block(tmp_path, way), peft=lora(), loss_type="dft")

    if hasattr(stock, "dft_loss"):
        with pytest.raises(PlanError, match="would turn every weight into NaN"):
            build()
    else:
        run = build()
        run.train()
        seen = {shape_of(*doc) for batch in run.caught for doc in documents(batch)}
        assert seen == {shape_of(doc.ids, doc.labels) for doc in lab.docs}


def build(lab: Lab, tmp_path: Path, dataset: Any, way: str = "baked", **more: Any) -> Any:
    settings = {
        k: more.pop(k)
        for k in ("packing", "packing_strategy", "max_steps", "max_length")
        if k in more
    }
    return Catcher(
        model=lab.model(),
        args=arguments(tmp_path, ppx=lab.block(tmp_path, way), **settings),
        train_dataset=dataset,
        processing_class=lab.tokenizer,
        **more,
    )


@pytest.mark.parametrize("way", ["baked", "collator"])
def test_streams_are_refused(way: str, lab: Lab, tmp_path: Path) -> None:
    stream = lab.dataset().to_iterable_dataset()
    with pytest.raises(PlanError, match="Load it without streaming, or use `apply: online`"):
        build(lab, tmp_path, stream, way, max_steps=2)


@pytest.mark.parametrize("packing", [False, True])
def test_streams_are_masked_online(packing: bool, lab: Lab, tmp_path: Path) -> None:
    stream = lab.dataset().to_iterable_dataset()
    run = build(
        lab,
        tmp_path,
        stream,
        "online",
        max_steps=3,
        peft_config=lora(),
        packing=packing,
        max_length=32 if packing else 1024,
    )
    run.train()
    seen = {shape_of(*doc) for batch in run.caught for doc in documents(batch)}
    assert len(seen) > 2
    cut = 32 if packing else 1024
    assert seen <= {shape_of(doc.ids[:cut], doc.labels[:cut]) for doc in lab.docs}


def test_images_are_refused(lab: Lab, tmp_path: Path) -> None:
    rows = [{**row, "images": [0]} for row in lab.rows]
    with pytest.raises(PlanError, match="rows with images cannot be scored"):
        build(lab, tmp_path, Dataset.from_list(rows))


def test_a_collator_that_makes_its_own_labels(lab: Lab, tmp_path: Path) -> None:
    deaf = DataCollatorForLanguageModeling(lab.tokenizer, mlm=False)
    with pytest.raises(PlanError, match="makes its own labels"):
        build(lab, tmp_path, lab.dataset(), data_collator=deaf)


def test_a_collator_that_keeps_labels(lab: Lab, tmp_path: Path) -> None:
    kind = stock.DataCollatorForLanguageModeling
    run = build(lab, tmp_path, lab.dataset(), data_collator=kind(pad_token_id=0))
    run.train()
    seen = {shape_of(*doc) for batch in run.caught for doc in documents(batch)}
    assert seen == {shape_of(doc.ids, doc.labels) for doc in lab.docs}


def test_wrapping_is_asked_of_trl_itself(lab: Lab, tmp_path: Path) -> None:
    rows = Dataset.from_list(chats(1001))
    if trl_checks._wraps_every_row():
        run = build(lab, tmp_path, rows, packing=True, packing_strategy="wrapped")
        held = {token for row in run.train_dataset["input_ids"] for token in row}
        assert held <= set(range(len(lab.tokenizer)))
        total = sum(len(row) for row in run.train_dataset["input_ids"])
        documents_in = [tuple(row["input_ids"]) for row in run._ppx.masked.dataset]
        assert total == sum(map(len, documents_in))
        assert len(set(documents_in)) == 1001
    else:
        with pytest.raises(PlanError, match="repeats the first 1000 rows"):
            build(lab, tmp_path, rows, packing=True, packing_strategy="wrapped")


def test_another_dtype_than_the_model_has(lab: Lab, tmp_path: Path) -> None:
    block = {**lab.block(tmp_path), "scoring": {"dtype": "bfloat16"}}
    with pytest.raises(PlanError, match="is trained and scored in float32"):
        trainer(lab, tmp_path, ppx=block)


@pytest.mark.parametrize("key", ["build", "choose"])
def test_stages_that_change_rows(key: str, lab: Lab, tmp_path: Path) -> None:
    with pytest.raises(PlanError, match=f"ppx.{key}"):
        trainer(lab, tmp_path, ppx={key: {"use": "nothing"}})


def test_axolotls_key(lab: Lab, tmp_path: Path) -> None:
    with pytest.raises(PlanError, match="token_level_loss: is Axolotl's"):
        trainer(lab, tmp_path, ppx={**lab.block(tmp_path), "token_level_loss": True})


def test_nothing_left_to_train_on(lab: Lab, tmp_path: Path) -> None:
    block = lab.block(tmp_path, ppl_threshold=1.0000001, mask_end_of_turn=True, min_kept_tokens=0)
    with pytest.raises(ValueError, match="keeps no target"):
        trainer(lab, tmp_path, ppx=block)


def test_everything_truncated_away(lab: Lab, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"no row|nothing to train on"):
        trainer(lab, tmp_path, ppx=lab.block(tmp_path), max_length=4)
