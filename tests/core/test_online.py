"""Masks made in the training step equal the baked ones, and cost no forward a second time."""

from __future__ import annotations

import copy
import logging
from typing import Any

import numpy as np
import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch import multiprocessing
from trl.trainer.sft_trainer import DataCollatorForLanguageModeling

from ppx_ext import masking, scoring
from ppx_ext.online import OnlineMasker, split
from tests.core.masked_rows import ENDS, SEED, THRESHOLD, Rows, make_rows, mask_stage
from tests.models import tiny_model, tiny_tokenizer


def masker(stage: Any, **options: Any) -> OnlineMasker:
    return OnlineMasker(stage, masking.fit(stage, ()), seed=SEED, ends=ENDS, **options)


def lora(model: Any) -> Any:
    """An adapter that changes every answer, with dropout, as in the middle of training."""
    config = LoraConfig(r=4, target_modules="all-linear", lora_dropout=0.3, task_type="CAUSAL_LM")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        tuned = get_peft_model(copy.deepcopy(model), config)
        for name, parameter in tuned.named_parameters():
            if "lora_B" in name:
                torch.nn.init.normal_(parameter, std=0.5)
    return tuned.train()


@pytest.fixture(scope="module")
def model() -> Any:
    return tiny_model("llama")


@pytest.fixture(scope="module")
def rows(model: Any) -> Rows:
    found = make_rows(model, mask_stage())
    assert found.masked_targets > 10
    return found


def collate(features: list[dict[str, Any]], way: str) -> Any:
    if way.startswith("trl"):
        inner: Any = DataCollatorForLanguageModeling(
            pad_token_id=0, padding_free="padding-free" in way, pad_to_multiple_of=8
        )
        return dict(inner(copy.deepcopy(features)))
    from axolotl.utils.collators import DataCollatorForSeq2Seq, V2BatchSamplerDataCollatorForSeq2Seq

    kind = V2BatchSamplerDataCollatorForSeq2Seq if "packed" in way else DataCollatorForSeq2Seq
    own = [
        {
            **row,
            "attention_mask": [1] * len(row["input_ids"]),
            "position_ids": list(range(len(row["input_ids"]))),
        }
        for row in copy.deepcopy(features)
    ]
    tokenizer = tiny_tokenizer()
    tokenizer.padding_side = "left" if "left" in way else "right"
    options = {"squash_position_ids": True} if "squashed" in way else {}
    inner = kind(tokenizer=tokenizer, return_tensors="pt", **options)
    return dict(inner([own[:3], own[3:]] if "packed" in way else own))


WAYS = [
    "trl padded",
    "trl padding-free",
    *(
        pytest.param(way, marks=pytest.mark.axolotl)
        for way in ("axolotl", "axolotl left", "axolotl packed", "axolotl packed squashed")
    ),
]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("adapted", [False, True])
def test_labels_equal_the_baked_ones(model: Any, rows: Rows, way: str, adapted: bool) -> None:
    trained = lora(model) if adapted else model
    batch = collate(rows.plain, way)
    labels = batch["labels"]
    others = {name: copy.deepcopy(value) for name, value in batch.items() if name != "labels"}
    returned = masker(mask_stage()).mask_batch(trained, batch)
    assert torch.equal(labels, collate(rows.baked, way)["labels"])
    assert batch["labels"] is labels
    assert returned is labels
    for name, value in others.items():
        assert torch.equal(torch.as_tensor(batch[name]), torch.as_tensor(value))


def test_it_is_the_base_that_is_scored(model: Any, rows: Rows) -> None:
    tuned = lora(model)
    batch = collate(rows.plain, "trl padded")
    masker(mask_stage()).mask_batch(tuned, batch)
    example = next(iter(split(batch, ENDS))).example
    with torch.no_grad():
        base = scoring.token_scores(model, [example.ids_T], [example.target_T])[0]["nll"]
        now = scoring.token_scores(tuned, [example.ids_T], [example.target_T])[0]["nll"]
    line = np.log(THRESHOLD)
    assert ((base > line) != (now > line)).any(), "the adapter changes no mask: nothing is shown"


def test_the_model_is_left_as_it_was(model: Any, rows: Rows) -> None:
    tuned = lora(model)
    before = [(m.training) for m in tuned.modules()]
    grads = {name: p.requires_grad for name, p in tuned.named_parameters()}
    random = torch.get_rng_state()
    masker(mask_stage()).mask_batch(tuned, collate(rows.plain, "trl padded"))
    assert [m.training for m in tuned.modules()] == before
    assert {name: p.requires_grad for name, p in tuned.named_parameters()} == grads
    assert torch.equal(torch.get_rng_state(), random)


def test_the_second_epoch_makes_no_forward(model: Any, rows: Rows) -> None:
    online = masker(mask_stage())
    calls: list[int] = []
    handle = model.register_forward_hook(lambda *_: calls.append(1))
    try:
        for way in ("trl padded", "trl padding-free"):
            for part in (rows.plain[:4], rows.plain[4:]):
                online.mask_batch(model, collate(part, "trl padded"))
            if way == "trl padded":
                first = len(calls)
        shuffled = collate(rows.plain[::-1], "trl padding-free")
        online.mask_batch(model, shuffled)
    finally:
        handle.remove()
    assert first > 0
    assert len(calls) == first
    assert torch.equal(shuffled["labels"], collate(rows.baked[::-1], "trl padding-free")["labels"])


def test_a_full_cache_is_told_once_and_changes_no_mask(
    model: Any, rows: Rows, caplog: pytest.LogCaptureFixture
) -> None:
    online = masker(mask_stage(), max_cache_bytes=700)
    for _ in range(2):
        batch = collate(rows.plain, "trl padded")
        with caplog.at_level(logging.WARNING):
            online.mask_batch(model, batch)
        assert torch.equal(batch["labels"], collate(rows.baked, "trl padded")["labels"])
    assert 0 < len(online.kept) < 8
    assert caplog.text.count("further ones are scored anew") == 1


def test_a_batch_without_targets_is_left_alone(model: Any) -> None:
    batch = {"input_ids": torch.tensor([[3, 4, 5]]), "labels": torch.full((1, 3), -100)}
    online = masker(mask_stage())
    online.mask_batch(model, batch)
    assert online.forwards == 0


def test_what_cannot_be_online_is_refused_with_the_mend() -> None:
    with pytest.raises(ValueError, match="apply: baked"):
        masker(mask_stage(mask_fraction=0.2))
    with pytest.raises(ValueError, match="apply: baked"):
        masker(mask_stage("random"))


@pytest.mark.parametrize("way", ["trl padded", "trl padding-free"])
def test_lockstep_scores_the_batch_as_it_is(model: Any, rows: Rows, way: str) -> None:
    online = masker(mask_stage(), lockstep=True)
    batch = collate(rows.plain, way)
    online.mask_batch(lora(model), batch)
    assert torch.equal(batch["labels"], collate(rows.baked, way)["labels"])
    assert online.forwards == 1


def _sharded(rank: int, folder: str) -> None:
    from torch import distributed
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    torch.set_num_threads(1)
    distributed.init_process_group(
        "gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=2
    )
    plain_model = tiny_model("llama")
    rows = make_rows(plain_model, mask_stage())
    tuned = lora(plain_model)
    mesh = init_device_mesh("cpu", (2,))
    for layer in tuned.get_base_model().model.layers:
        fully_shard(layer, mesh=mesh)
    fully_shard(tuned, mesh=mesh)
    online = masker(mask_stage(), lockstep=True)
    # The second process sees its rows again while the first sees new ones.
    turns = [(0, 4), (4, 8)] if rank == 0 else [(0, 4), (0, 4)]
    for start, stop in turns:
        batch = collate(rows.plain[start:stop], "trl padded")
        online.mask_batch(tuned, batch)
        expected = collate(rows.baked[start:stop], "trl padded")["labels"]
        assert torch.equal(batch["labels"], expected)
    assert online.forwards == 2
    distributed.barrier()
    distributed.destroy_process_group()


@pytest.mark.slow
def test_sharded_processes_make_the_same_forwards(tmp_path: Any) -> None:
    multiprocessing.spawn(_sharded, args=(str(tmp_path),), nprocs=2)
