"""Tiny random models and a tokenizer trained on the spot: real classes, no downloads.

The models are small (hidden 32, two or three layers) but not degenerate: weights are wide enough
that soft-caps bite, sliding windows (8) are shorter than the sequences of the tests, and keys and
values are grouped. ``tiny_model`` and ``tiny_tokenizer`` share a vocabulary of 384 by default.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from transformers import (
    Gemma2Config,
    LlamaConfig,
    MistralConfig,
    Olmo2Config,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    Qwen2Config,
)

ARCHITECTURES = ("llama", "mistral", "gemma2", "qwen2", "olmo2")
VOCAB_SIZE = 384
PAD, START, END = "<|endoftext|>", "<|im_start|>", "<|im_end|>"
SPECIAL = (PAD, START, END)
WINDOW = 8

CHATML = (
    "{% for message in messages %}"
    "{% if message['role'] == 'assistant' %}"
    "{{ '<|im_start|>assistant\n' }}"
    "{% generation %}{{ message['content'] + '<|im_end|>' }}{% endgeneration %}{{ '\n' }}"
    "{% else %}"
    "{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>\n' }}"
    "{% endif %}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)

CORPUS = (
    "Write a function to find the longest chain of pairs. Answer in a code block.",
    "def add(a, b):\n    return a + b\n\nassert add(2, 3) == 5",
    "Natalia sold 48 clips in April and half as many in May. How many in total? #### 72",
    "system user assistant: You are a helpful assistant. The answer is 42.",
    "for i in range(10):\n    print(i * i, i % 3)\nif x is None: raise ValueError(x)",
)

_COMMON: dict[str, Any] = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
    "initializer_range": 0.2,
    "pad_token_id": SPECIAL.index(PAD),
    "bos_token_id": None,
    "eos_token_id": SPECIAL.index(END),
}
_SPECIAL_SETTINGS: dict[str, tuple[type[Any], dict[str, Any]]] = {
    "llama": (LlamaConfig, {"tie_word_embeddings": True}),
    "mistral": (MistralConfig, {"sliding_window": WINDOW, "head_dim": 8}),
    "gemma2": (
        Gemma2Config,
        {
            "head_dim": 8,
            "query_pre_attn_scalar": 8,
            "sliding_window": WINDOW,
            "attn_logit_softcapping": 1.0,
            "final_logit_softcapping": 2.0,
        },
    ),
    "qwen2": (Qwen2Config, {"num_hidden_layers": 3}),
    "olmo2": (Olmo2Config, {}),
}


def tiny_config(arch: str, *, vocab_size: int = VOCAB_SIZE, **overrides: Any) -> Any:
    """The config of a tiny model; ``overrides`` go to the config's class last."""
    kind, special = _SPECIAL_SETTINGS[arch]
    return kind(**{**_COMMON, "vocab_size": vocab_size, **special, **overrides})


def tiny_model(
    arch: str,
    *,
    vocab_size: int = VOCAB_SIZE,
    seed: int = 0,
    dtype: torch.dtype = torch.float32,
    attn_implementation: str | None = None,
    **overrides: Any,
) -> PreTrainedModel:
    """A random causal LM in eval mode, the same for the same seed; the global seed is untouched.

    Args:
        arch: one of `ARCHITECTURES`.
        attn_implementation: None = ``eager`` for Gemma 2 (the only one with soft-caps), else
            ``sdpa``.
    """
    from transformers import AutoModelForCausalLM

    config = tiny_config(arch, vocab_size=vocab_size, **overrides)
    attention = attn_implementation or ("eager" if arch == "gemma2" else "sdpa")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = AutoModelForCausalLM.from_config(config, dtype=dtype, attn_implementation=attention)
    model.eval()
    return model  # type: ignore[no-any-return]


def tiny_tokenizer(
    *, vocab_size: int = VOCAB_SIZE, corpus: Iterable[str] = CORPUS
) -> PreTrainedTokenizerFast:
    """A byte-level BPE tokenizer with ChatML (``{% generation %}`` marks the assistant's words).

    Special tokens: ``<|endoftext|>`` (0, padding), ``<|im_start|>`` (1), ``<|im_end|>`` (2, eos).
    The vocabulary may end up smaller than ``vocab_size`` where the corpus is too small.
    """
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=list(SPECIAL),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    core.train_from_iterator(corpus, trainer)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=core, eos_token=END, pad_token=PAD, extra_special_tokens=[START]
    )
    tokenizer.chat_template = CHATML
    return tokenizer
