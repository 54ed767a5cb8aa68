"""What TRL's tests find in place of the hub, and of its trainer; loaded by pytest's ``-p``."""

from __future__ import annotations

import importlib.util
import os
import sys
from pathlib import Path
from typing import Any

import datasets
import pytest
import trl
from transformers import (
    AutoModelForCausalLM,
    GPTNeoXConfig,
    LlamaConfig,
    MistralConfig,
    PretrainedConfig,
    Qwen2Config,
    Qwen3Config,
)
from transformers import PreTrainedTokenizerFast as Tokenizer

SPECIAL = (
    "<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|begin_of_text|>", "<|end_of_text|>",
    "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>", "<s>", "</s>", "[INST]", "[/INST]",
)  # fmt: skip
MODELS: dict[str, tuple[type[Any], str, str]] = {
    "Qwen2ForCausalLM-2.5": (Qwen2Config, "qwen2_5", "<|im_end|>"),
    "Qwen3ForCausalLM": (Qwen3Config, "qwen3", "<|im_end|>"),
    "LlamaForCausalLM-3.1": (LlamaConfig, "llama3_1", "<|eot_id|>"),
    "LlamaForCausalLM-3.2": (LlamaConfig, "llama3_2", "<|eot_id|>"),
    "LlamaForCausalLM-3": (LlamaConfig, "llama3", "<|eot_id|>"),
    "MistralForCausalLM-0.2": (MistralConfig, "qwen2_5", "</s>"),
    "MistralForCausalLM-0.1": (MistralConfig, "qwen2_5", "</s>"),
    "GPTNeoXForCausalLM": (GPTNeoXConfig, "", "<|endoftext|>"),
}
CHECKOUT = Path(os.environ["PPX_TRL_CHECKOUT"])
KIND = os.environ["PPX_TRL_KIND"]


def tokenizer(template: str, end: str) -> Tokenizer:
    """A byte-level tokenizer with one of TRL's own chat templates."""
    from tokenizers import Tokenizer as Core
    from tokenizers import decoders, models, pre_tokenizers, trainers

    core = Core(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    core.train_from_iterator(
        [(CHECKOUT / "scripts/generate_zen_dataset.py").read_text()] * 4,
        trainers.BpeTrainer(
            vocab_size=2000, special_tokens=list(SPECIAL), initial_alphabet=alphabet
        ),
    )
    found = Tokenizer(tokenizer_object=core, eos_token=end, pad_token="<|endoftext|>")
    if template:
        folder = Path(trl.__file__).parent / "chat_templates"
        found.chat_template = (folder / f"{template}.jinja").read_text()
    return found


def make_hub(folder: Path) -> None:
    """The tiny models, as a cache of the hub."""
    for name, (kind, template, end) in MODELS.items():
        root = folder / f"models--trl-internal-testing--tiny-{name}"
        if root.is_dir():
            continue
        found = tokenizer(template, end)
        settings = {
            "vocab_size": len(found), "hidden_size": 8, "intermediate_size": 32,
            "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
            "pad_token_id": found.pad_token_id, "eos_token_id": found.eos_token_id,
            "bos_token_id": None,
        }  # fmt: skip
        config: PretrainedConfig = kind(**settings)
        snapshot = root / "snapshots" / ("0" * 40)
        AutoModelForCausalLM.from_config(config).save_pretrained(snapshot)
        found.save_pretrained(snapshot)
        (root / "refs").mkdir()
        (root / "refs" / "main").write_text("0" * 40)


def zen() -> dict[str, datasets.DatasetDict]:
    """TRL's `zen` data set, by its own script."""
    spec = importlib.util.spec_from_file_location(
        "zen", CHECKOUT / "scripts/generate_zen_dataset.py"
    )
    assert spec is not None
    assert spec.loader is not None
    script = importlib.util.module_from_spec(spec)
    sys.modules["zen"] = script
    spec.loader.exec_module(script)
    found: dict[str, datasets.DatasetDict] = {}

    def keep(self: Any, repo: str, config_name: str) -> None:
        found[config_name] = self

    original = datasets.DatasetDict.push_to_hub
    datasets.DatasetDict.push_to_hub = keep
    try:
        script.main(0.1, True, "zen")
    finally:
        datasets.DatasetDict.push_to_hub = original
    return found


def replace_loading(found: dict[str, datasets.DatasetDict]) -> None:
    """`load_dataset` knows `zen`; what else the tests ask for is not here."""

    def load(path: str, name: str | None = None, split: str | None = None, **options: Any) -> Any:
        if path != "trl-internal-testing/zen" or name not in found:
            pytest.skip(f"{path} is on the hub only")
        sets: Any = found[name]
        if options.get("streaming"):
            sets = datasets.IterableDatasetDict(
                {key: value.to_iterable_dataset() for key, value in sets.items()}
            )
        if split is None:
            return sets
        part, _, stop = split.removesuffix("]").partition("[:")
        return sets[part].select(range(int(stop))) if stop else sets[part]

    datasets.load_dataset = load


def replace_trainer() -> None:
    """Defaults that a CPU can run; and our trainer in place of TRL's."""
    from ppx_ext.hosts.trl import PpxSFTConfig, PpxSFTTrainer

    give_defaults(trl.SFTConfig, {"use_cpu": True, "bf16": False})
    if KIND == "stock":
        return
    block = {"mask": {"use": "stm", "ppl_threshold": float("inf")}} if KIND == "infinity" else None
    give_defaults(PpxSFTConfig, {"use_cpu": True, "bf16": False, "ppx": block})
    trl.SFTConfig, trl.SFTTrainer = PpxSFTConfig, PpxSFTTrainer


def give_defaults(kind: type[Any], defaults: dict[str, Any]) -> None:
    """Other defaults for a config, in its own constructor: checkpoints pickle it by its name."""
    original = kind.__init__

    def init(self: Any, *args: Any, **kwargs: Any) -> None:
        original(self, *args, **{**defaults, **kwargs})

    kind.__init__ = init  # type: ignore[misc]


def shim_names() -> None:
    """Private names that the tests import and newer lines no longer have."""
    from trl.trainer import sft_trainer

    for name in ("_chunked_cross_entropy_loss", "_patch_chunked_ce_lm_head", "dft_loss"):
        if not hasattr(sft_trainer, name):
            setattr(sft_trainer, name, None)


make_hub(Path(os.environ["HF_HOME"]) / "hub")
replace_loading(zen())
replace_trainer()
shim_names()
