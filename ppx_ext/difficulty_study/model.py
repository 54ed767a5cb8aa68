"""The study's model and tokenizer, both made on the spot: one token for each word and number."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import TYPE_CHECKING

from ppx_ext.problems import Settings, drawn, question, solution
from ppx_ext.problems.making import NAMES, SIGNS

if TYPE_CHECKING:
    from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

    from ppx_ext.difficulty_study.protocol import Protocol

END, PAD, UNKNOWN = "<|end|>", "<|pad|>", "<|unknown|>"
_SAMPLE = 200


def train_tokenizer(protocol: Protocol) -> PreTrainedTokenizerFast:
    """Learn the words of the problems; blanks separate them and are not kept."""
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.WordLevel(unk_token=UNKNOWN))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    trainer = trainers.WordLevelTrainer(
        special_tokens=[PAD, END, UNKNOWN],
        show_progress=False,
    )
    tokenizer.train_from_iterator(_texts(protocol), trainer=trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token=END,
        pad_token=PAD,
        unk_token=UNKNOWN,
        clean_up_tokenization_spaces=False,
        model_max_length=protocol.max_length,
    )


def _texts(protocol: Protocol) -> Iterator[str]:
    yield " ".join((*NAMES, *SIGNS, *map(str, range(protocol.modulus + 1))))
    settings = Settings(ops=(protocol.slices[0], protocol.slices[-1]), modulus=protocol.modulus)
    for problem in itertools.islice(drawn(settings, count=_SAMPLE, seed=0), _SAMPLE):
        yield f"{question(problem)} {solution(problem)}"


def new_model(protocol: Protocol, tokenizer: PreTrainedTokenizerFast) -> LlamaForCausalLM:
    """An untrained model of the Llama architecture that stops at the end of a solution."""
    from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM

    ids = {"eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.pad_token_id}
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=protocol.hidden_size,
        intermediate_size=3 * protocol.hidden_size,
        num_hidden_layers=protocol.layers,
        num_attention_heads=protocol.heads,
        num_key_value_heads=protocol.heads,
        max_position_embeddings=protocol.max_length,
        initializer_range=0.06,  # the usual 0.02 starts so narrow a model too slowly
        tie_word_embeddings=True,
        bos_token_id=None,
        **ids,
    )
    model = LlamaForCausalLM(config)
    model.generation_config = GenerationConfig(do_sample=False, bos_token_id=None, **ids)
    return model
