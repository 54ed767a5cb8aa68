"""QLoRA: the 4-bit base is scored with the adapter off, and goes on training afterwards."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
from trl import SFTTrainer

from ppx_ext.hosts.trl_trainer import PpxSFTTrainer
from tests.hosts.trl.lab import Lab, documents, gap, lora, mask, score, shape_of, trainer
from tests.models import tiny_model

pytest.importorskip("bitsandbytes", reason="4-bit weights need bitsandbytes")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    found = tmp_path_factory.mktemp("base")
    tiny_model("llama", hidden_size=64, intermediate_size=128).save_pretrained(found)
    Lab().tokenizer.save_pretrained(found)
    return found


def four_bits(folder: Path) -> dict[str, Any]:
    from transformers import BitsAndBytesConfig

    config = BitsAndBytesConfig(
        load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=torch.float32
    )
    return {"model": str(folder), "peft": lora(), "more": {"quantization_config": config}}


def history(run: Any) -> list[tuple[float, float]]:
    run.train()
    return [(e["loss"], e["grad_norm"]) for e in run.state.log_history if "loss" in e]


@pytest.mark.parametrize("way", ["baked", "online"])
def test_the_quantised_base_is_scored(way: str, folder: Path, tmp_path: Path) -> None:
    lab = Lab()
    stock = trainer(lab, tmp_path / "stock", SFTTrainer, **four_bits(folder))
    for module in stock.model.modules():  # packed for inference, it would round otherwise
        if hasattr(module, "support_avx512bf16_for_cpu"):
            module.support_avx512bf16_for_cpu = False
    for doc in lab.docs:
        score(doc, stock.model.get_base_model())
    lab.threshold = gap(lab.docs)
    for doc in lab.docs:
        mask(doc, lab.threshold, lab.tokenizer.eos_token_id)
    run = trainer(lab, tmp_path, ppx=lab.block(tmp_path, way), **four_bits(folder))
    norms = [norm for _, norm in history(run)]
    assert norms
    assert all(norm > 0 for norm in norms), "scoring must leave the weights trainable"
    seen = Counter(shape_of(*doc) for batch in run.caught for doc in documents(batch))
    assert seen == Counter(shape_of(doc.ids, doc.labels) for doc in lab.docs)


@pytest.mark.parametrize("way", ["baked", "online"])
def test_threshold_infinity_is_plain_qlora(way: str, folder: Path, tmp_path: Path) -> None:
    lab = Lab()
    block = lab.block(tmp_path, way, ppl_threshold=float("inf"))
    ours = trainer(lab, tmp_path / "ours", PpxSFTTrainer, ppx=block, **four_bits(folder))
    stock = trainer(lab, tmp_path / "stock", SFTTrainer, **four_bits(folder))
    assert history(ours) == history(stock)
