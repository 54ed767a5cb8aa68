"""Ours in place of TRL's: equal where nothing is masked, and told apart where something is."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import Dataset
from trl import SFTTrainer

from ppx_ext.hosts.trl_trainer import PpxSFTTrainer
from tests.hosts.trl.lab import (
    Catcher,
    Lab,
    StockCatcher,
    arguments,
    chats,
    documents,
    lora,
    reference_loss,
    shape_of,
    trainer,
)


@pytest.fixture(scope="module")
def lab() -> Lab:
    return Lab()


def trajectory(run: Any) -> tuple[list[Any], dict[str, torch.Tensor]]:
    """Every loss and gradient norm, bit by bit, and the weights at the end."""
    run.train()
    history = [(e["loss"], e["grad_norm"]) for e in run.state.log_history if "loss" in e]
    return history, {name: p.detach().clone() for name, p in run.model.named_parameters()}


def same(one: tuple[Any, Any], other: tuple[Any, Any]) -> bool:
    """Bit-equal trajectories."""
    weights = one[1].keys() == other[1].keys() and all(
        torch.equal(one[1][name], other[1][name]) for name in one[1]
    )
    return bool(one[0]) and one[0] == other[0] and weights


INF_MODES = {
    "plain": {},
    "truncated": {"max_length": 24},
    "bfd": {"packing": True, "max_length": 64},
    "padding_free": {"padding_free": True, "max_length": None},
    "checkpointing": {"gradient_checkpointing": True},
    "dft": {"loss_type": "dft"},
}


@pytest.mark.parametrize("mode", INF_MODES)
@pytest.mark.parametrize(
    "peft", [None, lora(lora_dropout=0.1), lora(use_dora=True)], ids=["full", "lora", "dora"]
)
def test_threshold_infinity_is_plain_sft(mode: str, peft: Any, lab: Lab, tmp_path: Path) -> None:
    settings = INF_MODES[mode]
    stock = trajectory(trainer(lab, tmp_path / "stock", SFTTrainer, peft=peft, **settings))
    block = lab.block(tmp_path, ppl_threshold=float("inf"))
    ours = trajectory(
        trainer(lab, tmp_path / "ours", PpxSFTTrainer, ppx=block, peft=peft, **settings)
    )
    assert same(stock, ours)
    masked = trainer(
        lab, tmp_path / "m", PpxSFTTrainer, ppx=lab.block(tmp_path), peft=peft, **settings
    )
    assert not same(stock, trajectory(masked)), "a real threshold must change the trajectory"


@pytest.mark.parametrize("way", ["collator", "online"])
def test_threshold_infinity_live(way: str, lab: Lab, tmp_path: Path) -> None:
    stock = trajectory(trainer(lab, tmp_path / "stock", SFTTrainer, peft=lora(lora_dropout=0.1)))
    block = lab.block(tmp_path, way, ppl_threshold=float("inf"))
    ours = trainer(lab, tmp_path / "ours", PpxSFTTrainer, ppx=block, peft=lora(lora_dropout=0.1))
    assert same(stock, trajectory(ours))


@pytest.mark.parametrize("ppx", [None, {"eval": None}], ids=["no block", "no mask"])
def test_without_a_mask_it_is_sft(ppx: Any, lab: Lab, tmp_path: Path) -> None:
    stock = trajectory(trainer(lab, tmp_path / "stock", SFTTrainer, peft=lora()))
    ours = trajectory(trainer(lab, tmp_path / "ours", PpxSFTTrainer, ppx=ppx, peft=lora()))
    assert same(stock, ours)


def test_a_model_by_its_path(lab: Lab, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    lab.saved(folder)
    runs = [
        trainer(
            lab, tmp_path / kind.__name__, kind, ppx=ppx, model=str(folder), peft=lora(),
            model_init_kwargs={"dtype": "float32"},
        )
        for kind, ppx in (
            (SFTTrainer, None),
            (PpxSFTTrainer, lab.block(tmp_path, ppl_threshold=float("inf"))),
        )
    ]  # fmt: skip
    assert runs[1].args.model_init_kwargs == {"dtype": "float32"}
    assert same(*map(trajectory, runs))


def held_out() -> dict[str, Dataset]:
    """Two evaluation sets, one of which has a name that invites confusion."""
    rows = chats(6, start=40)
    return {"train": Dataset.from_list(rows[:3]), "other": Dataset.from_list(rows[3:])}


@pytest.mark.parametrize("way", ["baked", "collator", "online"])
def test_evaluation_sets_stay_unmasked(way: str, lab: Lab, tmp_path: Path) -> None:
    more = {"eval_dataset": held_out()}
    stock = trainer(lab, tmp_path / "s", SFTTrainer, peft=lora(), more=more).evaluate()
    ours = trainer(lab, tmp_path / "o", ppx=lab.block(tmp_path, way), peft=lora(), more=more)
    found = ours.evaluate()
    losses = [key for key in stock if key.endswith("_loss")]
    assert len(losses) == 2
    assert {key: found[key] for key in losses} == {key: stock[key] for key in losses}


def test_mask_eval_masks_them(lab: Lab, tmp_path: Path) -> None:
    rows = chats(5, start=60)
    held = Lab(rows=rows)
    held.threshold = lab.threshold
    from tests.hosts.trl.lab import mask

    for doc in held.docs:
        mask(doc, lab.threshold, lab.tokenizer.eos_token_id)
    run = trainer(
        lab, tmp_path, ppx=lab.block(tmp_path, mask_eval=True),
        more={"eval_dataset": Dataset.from_list(rows)}, per_device_eval_batch_size=5,
    )  # fmt: skip
    docs = [shape_of(doc.ids, doc.labels) for doc in held.docs]
    assert run.evaluate()["eval_loss"] == pytest.approx(reference_loss(docs, lab.model()), abs=1e-4)
    unmasked = run.evaluate(Dataset.from_list(rows))["eval_loss"]
    stock = trainer(lab, tmp_path / "s", SFTTrainer, per_device_eval_batch_size=5)
    assert unmasked == stock.evaluate(Dataset.from_list(rows))["eval_loss"]


def test_online_goes_on_after_an_evaluation(lab: Lab, tmp_path: Path) -> None:
    run = trainer(
        lab, tmp_path, ppx=lab.block(tmp_path, "online"), peft=lora(),
        eval_strategy="steps", eval_steps=1, more={"eval_dataset": held_out()["other"]},
    )  # fmt: skip
    run.train()
    training = [batch for batch in run.caught if batch.training]
    assert len(training) < len(run.caught)
    seen = Counter(shape_of(*doc) for batch in training for doc in documents(batch))
    assert seen == Counter(shape_of(doc.ids, doc.labels) for doc in lab.docs)


def test_rows_tokenised_before(lab: Lab, tmp_path: Path) -> None:
    lab = Lab()
    tokenised = Dataset.from_list(
        [
            {
                "input_ids": doc.ids,
                "labels": [i if t else -100 for i, t in zip(doc.ids, doc.target, strict=True)],
            }
            for doc in lab.docs
        ]
    )
    run = Catcher(
        model=lab.model(),
        args=arguments(tmp_path, ppx=lab.block(tmp_path)),
        train_dataset=tokenised,
        processing_class=lab.tokenizer,
    )
    run.train()
    seen = Counter(shape_of(*doc) for batch in run.caught for doc in documents(batch))
    assert seen == Counter(shape_of(doc.ids, doc.labels) for doc in lab.docs)


@pytest.mark.parametrize("form", ["prompt-completion", "messages", "conversations", "text", "func"])
def test_newlines_are_normalised_before_tokenising(form: str, lab: Lab, tmp_path: Path) -> None:
    gold = "one\r\ntwo\rthree"
    chat = [{"role": "user", "content": "a\r\nb"}, {"role": "assistant", "content": gold}]
    rows = {
        "prompt-completion": {"prompt": chat[:1], "completion": chat[1:]},
        "messages": {"messages": chat},
        "conversations": {
            "conversations": [{"from": "human", "value": "a\r\nb"}, {"from": "gpt", "value": gold}]
        },
        "text": {"text": gold},
        "func": {"note": gold},
    }[form]
    more = {"formatting_func": lambda row: row["note"]} if form == "func" else {}
    run = PpxSFTTrainer(
        model=lab.model(),
        args=arguments(tmp_path, ppx=lab.block(tmp_path, normalize_newlines=True)),
        train_dataset=Dataset.from_list([rows]),
        processing_class=lab.tokenizer,
        **more,
    )
    text = lab.tokenizer.decode(run.train_dataset[0]["input_ids"])
    assert "one\ntwo\nthree" in text
    assert ("a\r\nb" in text) == ("note" not in rows and "text" not in rows)


def test_the_run_tells_what_it_does(
    lab: Lab, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = trainer(lab, tmp_path, ppx=lab.block(tmp_path))
    file = Path(run.args.output_dir) / "ppx_state.json"
    state = json.loads(file.read_text())
    targets = sum(sum(doc.target) for doc in lab.docs)
    masked = round(targets * (1 - lab.kept_share()))
    said = capsys.readouterr().out
    assert f"baked: {masked} of {targets} targets masked" in said
    assert str(file) in said
    assert state["plan"]["mask"]["ppl_threshold"] == lab.threshold
    assert state["versions"]["trl"]
    assert state["records"][0]["numbers"]["masked"] == masked


def test_scores_are_kept_for_another_threshold(
    lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer(lab, tmp_path, ppx=lab.block(tmp_path))
    monkeypatch.setattr("ppx_ext.scoring.token_scores", None)
    run = trainer(lab, tmp_path, ppx=lab.block(tmp_path, ppl_threshold=1e9))
    assert run._ppx.masked.records[0].numbers["masked"] == 0


def test_stock_catcher_catches(lab: Lab, tmp_path: Path) -> None:
    run = trainer(lab, tmp_path, StockCatcher)
    run.train()
    seen = Counter(shape_of(*doc) for batch in run.caught for doc in documents(batch))
    assert seen != Counter(shape_of(doc.ids, doc.labels) for doc in lab.docs)
