"""Every mode of TRL, asserted on the batch that reaches the loss and on what it is divided by."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import trl

from tests.hosts.trl.lab import (
    Lab,
    chats,
    documents,
    lora,
    mask,
    messages,
    reference_loss,
    score,
    shape_of,
    targets,
    texts,
    tokenised,
    trainer,
)

LOSSES = (
    ("nll", "dft")
    if not hasattr(trl.trainer.sft_trainer, "dft_loss")
    else ("nll", "dft", "chunked_nll")
)
CUT = 24

# name -> (arguments of SFTConfig, ways that are right in this mode)
MODES: dict[str, tuple[dict[str, Any], tuple[str, ...]]] = {
    "plain": ({}, ("baked", "collator", "online")),
    "truncated": ({"max_length": CUT}, ("baked", "collator", "online")),
    "keep_end": ({"max_length": CUT, "truncation_mode": "keep_end"}, ("baked",)),
    "bfd": ({"packing": True, "max_length": 128}, ("baked", "online")),
    "bfd_cut": ({"packing": True, "max_length": CUT}, ("baked", "online")),
    "bfd_split": (
        {"packing": True, "max_length": CUT, "packing_strategy": "bfd_split"},
        ("baked",),
    ),
    "padding_free": ({"padding_free": True, "max_length": None}, ("baked", "online")),
    "multiple_of_8": ({"pad_to_multiple_of": 8}, ("baked", "collator", "online")),
    "checkpointing": ({"gradient_checkpointing": True}, ("baked", "collator", "online")),
    "shuffled": ({"shuffle_dataset": True}, ("baked", "collator", "online")),
}
CASES = [(mode, way) for mode, (_, ways) in MODES.items() for way in ways]


@pytest.fixture(scope="module")
def lab() -> Lab:
    return Lab()


def expected(lab: Lab, mode: str) -> Counter[Any]:
    """The documents, or fragments of them, that should be trained on, each with its labels."""
    settings, _ = MODES[mode]
    found: Counter[Any] = Counter()
    for doc in lab.docs:
        for start, stop in _pieces(len(doc.ids), settings):
            shape = shape_of(doc.ids[start:stop], doc.labels[start:stop])
            if settings.get("packing_strategy") == "bfd_split" or targets(shape[1]):
                found[shape] += 1
    return found


def _pieces(length: int, settings: dict[str, Any]) -> list[tuple[int, int]]:
    cut = settings.get("max_length") or 1024
    if settings.get("packing_strategy") == "bfd_split":
        return [(start, min(start + cut, length)) for start in range(0, length, cut)]
    if settings.get("truncation_mode") == "keep_end":
        return [(max(0, length - cut), length)]
    return [(0, min(cut, length))]


@pytest.mark.parametrize(("mode", "way"), CASES)
def test_labels_and_loss(mode: str, way: str, lab: Lab, tmp_path: Path) -> None:
    settings, _ = MODES[mode]
    peft = lora() if way == "online" else None
    run = trainer(lab, tmp_path, ppx=lab.block(tmp_path, way), peft=peft, **settings)
    run.train()
    seen = Counter(shape_of(*doc) for batch in run.caught for doc in documents(batch))
    assert seen == expected(lab, mode)
    check_counts_and_first_loss(run, lab)


def check_counts_and_first_loss(run: Any, lab: Lab, *, dft: bool = False) -> None:
    """The divisor of each step is its targets; the first loss is that of the untouched model."""
    batches = run.args.gradient_accumulation_steps
    for start in range(0, len(run.caught), batches):
        step = run.caught[start : start + batches]
        kept = sum(targets(labels) for batch in step for _, labels in documents(batch))
        assert {batch.count for batch in step} == {kept}
    first = [doc for batch in run.caught[:batches] for doc in documents(batch)]
    logged = next(entry["loss"] for entry in run.state.log_history if "loss" in entry)
    assert logged == pytest.approx(reference_loss(first, lab.model(), dft=dft), abs=1e-4)


def test_wrapped(lab: Lab, tmp_path: Path) -> None:
    run = trainer(
        lab, tmp_path, ppx=lab.block(tmp_path), packing=True, packing_strategy="wrapped",
        max_length=32, per_device_train_batch_size=1,
    )  # fmt: skip
    run.train()
    ids = [token for doc in lab.docs for token in doc.ids]
    labels = [label for doc in lab.docs for label in doc.labels]
    chunks = Counter(
        (tuple(ids[i : i + 32]), tuple(labels[i : i + 32])) for i in range(0, len(ids), 32)
    )
    assert chunks == Counter(doc for batch in run.caught for doc in documents(batch))
    check_counts_and_first_loss(run, lab)


@pytest.mark.parametrize("packing", [False, True])
@pytest.mark.parametrize("loss_type", LOSSES)
def test_loss_types(loss_type: str, packing: bool, lab: Lab, tmp_path: Path) -> None:
    run = trainer(
        lab, tmp_path, ppx=lab.block(tmp_path), loss_type=loss_type, packing=packing, max_length=128
    )
    run.train()
    check_counts_and_first_loss(run, lab, dft=loss_type == "dft")


@pytest.mark.parametrize("way", ["baked", "collator", "online"])
@pytest.mark.parametrize(
    ("rows", "settings", "completion_only"),
    [
        (messages(), {"assistant_only_loss": True}, True),
        (chats(), {"completion_only_loss": False}, False),
        (texts(), {}, True),
    ],
    ids=["assistant_only", "whole_chat", "text"],
)
def test_what_is_a_target(
    rows: list[Any], settings: dict[str, Any], completion_only: bool, way: str, tmp_path: Path
) -> None:
    lab = Lab(rows=rows, completion_only=completion_only)
    peft = lora() if way == "online" else None
    run = trainer(lab, tmp_path, ppx=lab.block(tmp_path, way), peft=peft, **settings)
    run.train()
    seen = Counter(shape_of(*doc) for batch in run.caught for doc in documents(batch))
    assert seen == Counter(shape_of(doc.ids, doc.labels) for doc in lab.docs)
    check_counts_and_first_loss(run, lab)


@pytest.mark.parametrize("arch", ["gemma2", "qwen2"])
@pytest.mark.parametrize("way", ["baked", "online"])
def test_architectures_packed(arch: str, way: str, tmp_path: Path) -> None:
    lab = Lab(arch=arch)
    peft = lora() if way == "online" else None
    run = trainer(
        lab, tmp_path, ppx=lab.block(tmp_path, way), peft=peft, packing=True, max_length=128
    )
    run.train()
    seen = Counter(shape_of(*doc) for batch in run.caught for doc in documents(batch))
    assert seen == Counter(shape_of(doc.ids, doc.labels) for doc in lab.docs)
    check_counts_and_first_loss(run, lab)


@pytest.mark.parametrize(
    "peft",
    [lora(), lora(use_dora=True), lora(target_modules="all-linear"), lora(lora_dropout=0.3)],
    ids=["lora", "dora", "all-linear", "dropout"],
)
def test_three_ways_one_truth(peft: Any, lab: Lab, tmp_path: Path) -> None:
    runs = {}
    for way in ("baked", "collator", "online"):
        runs[way] = trainer(
            lab, tmp_path / way, ppx=lab.block(tmp_path, way), peft=peft, num_train_epochs=2
        )
        runs[way].train()
    baked = [[shape_of(*doc) for doc in documents(batch)] for batch in runs["baked"].caught]
    assert len(baked) == 12
    for way in ("collator", "online"):
        caught = runs[way].caught
        assert [[shape_of(*doc) for doc in documents(batch)] for batch in caught] == baked
        assert [b.count for b in caught] == [b.count for b in runs["baked"].caught]
        losses = [[e["loss"] for e in r.state.log_history if "loss" in e] for r in runs.values()]
        assert losses[0] == losses[1] == losses[2]


def test_a_trained_policy_is_not_what_is_scored(lab: Lab, tmp_path: Path) -> None:
    run = trainer(lab, tmp_path, ppx=lab.block(tmp_path, "online"), peft=lora(), learning_rate=0.5)
    run.train()
    policy = [tokenised(row, lab.tokenizer) for row in lab.rows]
    for doc in policy:
        score(doc, run.model.eval())
        mask(doc, lab.threshold, lab.tokenizer.eos_token_id)
    moved = sum(doc.labels != other.labels for doc, other in zip(policy, lab.docs, strict=True))
    assert moved > len(lab.docs) // 2, "the policy must mask otherwise for this test to mean much"
    seen = Counter(shape_of(*doc) for batch in run.caught for doc in documents(batch))
    assert seen == Counter(shape_of(doc.ids, doc.labels) for doc in lab.docs)


def test_from_the_second_epoch_on_nothing_is_scored(lab: Lab, tmp_path: Path) -> None:
    run = trainer(lab, tmp_path, ppx=lab.block(tmp_path, "online"), peft=lora(), num_train_epochs=3)
    run.train()
    assert len(run.caught) == 18
    assert run._ppx.masker.forwards == 6
