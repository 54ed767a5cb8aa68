"""Train the demo's base chat model from nothing: ``python -m ppx_ext.demo.make_base --out DIR``.

The result is an ordinary model folder (Llama architecture, byte-level BPE tokenizer, ChatML
template) that ``AutoModelForCausalLM.from_pretrained`` loads without a network.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random

import torch
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    GenerationConfig,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerBase,
    PreTrainedTokenizerFast,
)

from ppx_ext.demo import tasks
from ppx_ext.demo.tasks import TARGET, TASK_NAMES, make_row, question_of, response_of
from ppx_ext.demo.wording import CLOSERS, LINE_ENDS, LINKS, OPENERS, casual_text, echo_text
from ppx_ext.evaluation import Item, each, render_prompt, score_items
from ppx_ext.suites import Subject

START, END, PAD = "<|im_start|>", "<|im_end|>", "<|endoftext|>"
VOCABULARY_SIZE = 768
MAX_POSITIONS = 512
IGNORED = -100

# Copying letters is soon learnt; the other tasks come up three times as often.
_EASY = ("upper", "reverse", "next_letter")
LESSONS = (*_EASY, *3 * tuple(task for task in tasks.OUT_OF_DOMAIN if task not in _EASY))

# One blank may lead a digit, a word or a run of signs; digits never join with one another.
_PIECES = r" ?\p{N}| ?\p{L}+|\r\n| ?[^\s\p{L}\p{N}]+|\s"

CHAT_TEMPLATE = (
    "{%- for message in messages -%}"
    "{{- '<|im_start|>' + message['role'] + '\\n' -}}"
    "{%- if message['role'] == 'assistant' -%}"
    "{%- generation -%}{{- message['content'] + '<|im_end|>' -}}{%- endgeneration -%}"
    "{%- else -%}{{- message['content'] + '<|im_end|>' -}}{%- endif -%}"
    "{{- '\\n' -}}"
    "{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{- '<|im_start|>assistant\\n' -}}{%- endif -%}"
)


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How the base is trained.

    ``story_share`` (of the chats) is small on purpose: it leaves the target task half learnt.
    ``casual_share`` and ``echo_share`` are shares of texts outside chats.  ``question_weight`` is
    the loss weight of the user's tokens, where a response token has 1.
    """

    steps: int = 2400
    batch_size: int = 32
    peak_rate: float = 1e-3
    warmup_steps: int = 100
    weight_decay: float = 0.05
    story_share: float = 0.03
    casual_share: float = 0.04
    echo_share: float = 0.06
    question_weight: float = 0.05
    seed: int = 0


def _tokenizer_texts(rng: Random) -> Iterator[str]:
    for _ in range(600):
        for task in TASK_NAMES:
            row = make_row(task, split="train", rng=rng)
            yield f"user\n{question_of(row)}\nassistant\n{response_of(row)}"
        yield casual_text(rng)
        for gap in (" ", "\r\n"):
            yield gap.join((*OPENERS, *LINKS, *CLOSERS)) + "".join(LINE_ENDS)


def train_tokenizer(*, seed: int) -> PreTrainedTokenizerFast:
    """Learn a byte-level BPE vocabulary from training rows and small talk."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_PIECES), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY_SIZE,
        special_tokens=[PAD, START, END],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(_tokenizer_texts(Random(seed)), trainer=trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token=END,
        pad_token=PAD,
        additional_special_tokens=[START],
        chat_template=CHAT_TEMPLATE,
        clean_up_tokenization_spaces=False,
        model_max_length=MAX_POSITIONS,
    )


def new_model(tokenizer: PreTrainedTokenizerBase) -> LlamaForCausalLM:
    """An untrained two-million-parameter Llama that stops at ``<|im_end|>``."""
    ids = {"eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.pad_token_id}
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=192,
        intermediate_size=576,
        num_hidden_layers=4,
        num_attention_heads=6,
        num_key_value_heads=6,
        max_position_embeddings=MAX_POSITIONS,
        initializer_range=0.06,  # the usual 0.02 starts so narrow a model too slowly
        tie_word_embeddings=True,
        bos_token_id=None,
        **ids,
    )
    model = LlamaForCausalLM(config)
    model.generation_config = GenerationConfig(do_sample=False, bos_token_id=None, **ids)
    return model


@dataclass(frozen=True)
class _Sample:
    """Token ids of one text and, for each, the weight of its loss."""

    ids: list[int]
    weights: list[float]


def _draw_text(
    rng: Random, settings: Settings, tokenizer: PreTrainedTokenizerBase
) -> tuple[str, str]:
    """One ``(question part, response part)``; text outside chats is all response."""
    dice = rng.random()
    if dice < settings.casual_share:
        return "", casual_text(rng) + PAD
    if dice < settings.casual_share + settings.echo_share:
        return "", echo_text(rng) + PAD
    task = TARGET if rng.random() < settings.story_share else rng.choice(LESSONS)
    row = make_row(task, split="train", rng=rng)
    return render_prompt(tokenizer, question_of(row)), response_of(row) + END


def _draw_samples(
    tokenizer: PreTrainedTokenizerBase, rng: Random, settings: Settings, count: int
) -> list[_Sample]:
    texts = [_draw_text(rng, settings, tokenizer) for _ in range(count)]
    questions = tokenizer([question for question, _ in texts]).input_ids
    responses = tokenizer([response for _, response in texts]).input_ids
    return [
        _Sample(
            question + response,
            [settings.question_weight] * len(question) + [1.0] * len(response),
        )
        for question, response in zip(questions, responses, strict=True)
    ]


def _batches(
    tokenizer: PreTrainedTokenizerBase, settings: Settings
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Endless ``(ids, weights)``, both of shape (batch, length), texts of like length together."""
    rng = Random(settings.seed)
    size = settings.batch_size
    while True:
        samples = _draw_samples(tokenizer, rng, settings, 16 * size)
        samples.sort(key=lambda sample: len(sample.ids))
        groups = [samples[start : start + size] for start in range(0, len(samples), size)]
        rng.shuffle(groups)
        for group in groups:
            length = len(max(group, key=lambda sample: len(sample.ids)).ids)
            ids = torch.zeros(size, length, dtype=torch.long)
            weights = torch.zeros(size, length)
            for place, sample in enumerate(group):
                ids[place, : len(sample.ids)] = torch.tensor(sample.ids)
                weights[place, : len(sample.ids)] = torch.tensor(sample.weights)
            yield ids, weights


def _weighted_loss(
    model: LlamaForCausalLM, ids: torch.Tensor, weights: torch.Tensor
) -> torch.Tensor:
    """Mean cross-entropy in nats.  Texts are padded on the right, so causality hides the pads."""
    logits = model(input_ids=ids).logits[:, :-1]
    losses = torch.nn.functional.cross_entropy(
        logits.flatten(0, 1), ids[:, 1:].flatten(), reduction="none"
    )
    shifted = weights[:, 1:].flatten()
    return (losses * shifted).sum() / shifted.sum()


def _rate_at(step: int, settings: Settings) -> float:
    """Learning rate: a linear warm-up, then half a cosine down to a fiftieth of the peak."""
    warm = min(1.0, (step + 1) / settings.warmup_steps)
    fall = 0.5 * (1 + math.cos(math.pi * step / settings.steps))
    return settings.peak_rate * warm * (0.02 + 0.98 * fall)


def train(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerBase, settings: Settings) -> None:
    """Train ``model`` in place and print its progress every 100 steps."""
    optimizer = torch.optim.AdamW(
        model.parameters(), betas=(0.9, 0.98), weight_decay=settings.weight_decay
    )
    batches = _batches(tokenizer, settings)
    began = time.monotonic()
    for step in range(settings.steps):
        model.train()
        for group in optimizer.param_groups:
            group["lr"] = _rate_at(step, settings)
        loss = _weighted_loss(model, *next(batches))
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        if step % 100 == 0:
            minutes = (time.monotonic() - began) / 60
            print(f"step {step}: loss {loss.item():.3f}, {minutes:.1f} min", flush=True)
        if step % 500 == 499:
            print(accuracy_by_task(model, tokenizer, count=30, seed=0), flush=True)


def accuracy_by_task(
    model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerBase, *, count: int, seed: int
) -> dict[str, float]:
    """Share of right final answers (0 to 1) to ``count`` held-out questions of each task."""
    subject, found = Subject(model=model, tokenizer=tokenizer), {}
    grade = each(lambda text, gold: tasks.final_answer(text) == gold)
    for task in TASK_NAMES:
        rows = tasks.make_rows(task, split="test", count=count, seed=seed)
        items = [Item(prompt=question_of(row), gold=row["answer"]) for row in rows]
        score = score_items(subject, items, task=task, grade=grade, max_new_tokens=64)
        found[task] = round(score.accuracy, 3)
    return found


def save(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, folder: Path) -> None:
    """Write the model folder; weights are bfloat16 on disk, and loading gives float32."""
    model.to(torch.bfloat16)  # type: ignore[arg-type]
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    config_file = folder / "config.json"
    config = json.loads(config_file.read_text())
    config["dtype"] = "float32"  # else loading keeps bfloat16, too coarse to fine-tune in
    config_file.write_text(json.dumps(config, indent=2) + "\n")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--start", type=Path, help="a folder to train on from, not from nothing")
    parser.add_argument("--seed", type=int, default=Settings.seed)
    parser.add_argument("--steps", type=int, default=Settings.steps)
    parser.add_argument("--story-share", type=float, default=Settings.story_share)
    parser.add_argument("--threads", type=int, default=1)
    return parser.parse_args()


def main() -> None:
    """Train, save, load again and print the held-out accuracy of every task."""
    options = _options()
    torch.set_num_threads(options.threads)
    torch.manual_seed(options.seed)
    if options.start:
        tokenizer = PreTrainedTokenizerFast.from_pretrained(options.start)
        model = LlamaForCausalLM.from_pretrained(options.start)
    else:
        tokenizer = train_tokenizer(seed=options.seed)
        model = new_model(tokenizer)
    print(f"{len(tokenizer)} tokens, {model.num_parameters():,} parameters", flush=True)
    settings = Settings(steps=options.steps, story_share=options.story_share, seed=options.seed)
    train(model, tokenizer, settings)
    save(model, tokenizer, options.out)
    loaded = LlamaForCausalLM.from_pretrained(options.out)
    print(accuracy_by_task(loaded, tokenizer, count=150, seed=1))


if __name__ == "__main__":
    main()
