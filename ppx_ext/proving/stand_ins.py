"""A small model of a published architecture, with a tokenizer trained on the spot."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ppx_ext.proving.published import Published, Special

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

WORDS = 512
"""Entries of a stand-in's vocabulary, special tokens included."""

_LAYERS, _HEAD, _HIDDEN, _WINDOW = 2, 32, 128, 64  # 4 bits on a CPU: multiples of 32
_POSITIONS = 4096


def write_described(about: Published, folder: Path, corpus: Iterable[str] = ()) -> Path:
    """A folder with the model's own configuration, tokens and template, but without weights."""
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer(about.special, about.template, corpus).save_pretrained(folder)
    (folder / "config.json").write_text(json.dumps(dict(about.config), indent=2), encoding="utf-8")
    return folder


def write_model(about: Published, folder: Path, corpus: Iterable[str], *, seed: int = 0) -> Any:
    """A folder with a small random model of the same architecture; returns the model."""
    import torch
    from transformers import AutoModelForCausalLM, GenerationConfig

    folder.mkdir(parents=True, exist_ok=True)
    words = tokenizer(about.special, about.template, corpus)
    words.save_pretrained(folder)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = AutoModelForCausalLM.from_config(small_config(about.config, words))
    ends = [i for i in (words.eos_token_id, *_ends(words)) if i is not None]
    model.generation_config = GenerationConfig(
        bos_token_id=words.bos_token_id,
        eos_token_id=list(dict.fromkeys(ends)),
        pad_token_id=words.pad_token_id,
    )
    model.save_pretrained(folder)
    return model


def shape(about: Published) -> dict[str, Any]:
    """All that a small model is made from, but for the corpus of its tokenizer."""
    words = tokenizer(about.special, about.template, ())
    config = small_config(about.config, words).to_dict()
    return {"config": config, "special": about.special.all(), "template": about.template}


def small_config(published: Mapping[str, Any], words: PreTrainedTokenizerFast) -> Any:
    """The configuration of the same architecture with small sizes and this vocabulary."""
    from transformers import AutoConfig

    old = dict(published)
    heads = 4
    shared = old["num_attention_heads"] // old["num_key_value_heads"]
    new = {
        "hidden_size": _HIDDEN,
        "intermediate_size": 2 * _HIDDEN,
        "num_hidden_layers": _LAYERS,
        "num_attention_heads": heads,
        "num_key_value_heads": max(1, heads // min(shared, heads)),
        "vocab_size": len(words),
        "max_position_embeddings": _POSITIONS,
        "initializer_range": 0.05,
        "dtype": "float32",
        "bos_token_id": words.bos_token_id,
        "eos_token_id": words.eos_token_id,
        "pad_token_id": words.pad_token_id,
    }
    small = {"head_dim": _HEAD, "query_pre_attn_scalar": _HEAD, "sliding_window": _WINDOW}
    new |= {key: value for key, value in small.items() if old.get(key) is not None}
    if scaling := old.get("rope_scaling"):  # from fewer positions than the small model has
        new["rope_scaling"] = {**scaling, "original_max_position_embeddings": _POSITIONS // 4}
    if "sliding_window_pattern" in old:  # one layer of each kind
        new["sliding_window_pattern"] = _LAYERS
    kept = {key: value for key, value in old.items() if key not in ("architectures", *new)}
    return AutoConfig.for_model(kept.pop("model_type"), **kept, **new)


def tokenizer(special: Special, template: str, corpus: Iterable[str]) -> PreTrainedTokenizerFast:
    """A byte-level BPE tokenizer with a model's own special tokens and chat template."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=WORDS,
        special_tokens=list(special.all()),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    core.train_from_iterator(corpus, trainer)
    if special.bos and special.bos != special.eos:
        begin = (special.bos, core.token_to_id(special.bos))
        core.post_processor = processors.TemplateProcessing(
            single=f"{special.bos} $A", pair=f"{special.bos} $A $B", special_tokens=[begin]
        )
    named = {"bos": special.bos, "eos": special.eos, "pad": special.pad, "unk": special.unk}
    made = PreTrainedTokenizerFast(
        tokenizer_object=core,
        extra_special_tokens=list(special.others),
        **{f"{name}_token": token for name, token in named.items() if token},
    )
    made.chat_template = template
    return made


def _ends(words: Any) -> Iterable[int]:
    from ppx_ext import tokens

    return sorted(tokens.end_of_turn_ids(words))
