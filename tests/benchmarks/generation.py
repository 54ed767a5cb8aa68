"""Generation through our layer against the bare engine, and what batches and sharing gain.

A random model of real proportions (`scoring_parts.random_llama`) and short made-up prompts. Ways
take turns, one thread, processor seconds; medians over rounds. A random model of 32,000 tokens
hardly ever ends a response, so that all ways generate the same number of tokens.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch

from ppx_ext.answering import Decoding, LentModel, Request
from ppx_ext.generation import open_generator
from ppx_ext.generation.local import Local
from ppx_ext.stages import Stage
from ppx_generators.in_process import TRANSFORMERS
from tests.benchmarks.result import Result
from tests.benchmarks.scoring_parts import random_llama
from tests.models import CORPUS, tiny_tokenizer

ROUNDS = 3
BATCH = 16
NEW_TOKENS = 24
PROMPTS = [f"{text} Number {n}." for n in range(7) for text in CORPUS][: 2 * BATCH]
TOKENIZER = tiny_tokenizer()


def run() -> Iterator[Result]:
    """C-1 to C-4."""
    model = random_llama("S32", torch.float32)
    # Never an end: the number of tokens is then the same in all ways.
    model.generation_config.eos_token_id = None
    yield layer(model, "C-1a", "greedy", Decoding(max_new_tokens=NEW_TOKENS))
    drawn = Decoding(temperature=0.8, top_p=0.95, max_new_tokens=NEW_TOKENS)
    yield layer(model, "C-1b", "sampled", drawn)
    yield one_by_one(model)
    yield sharing(model)
    yield continuous(model)


def chats(decoding: Decoding, *, samples: int = 1, prompts: int = len(PROMPTS)) -> list[Request]:
    return [
        Request(prompt=({"role": "user", "content": text},), decoding=decoding, seed=seed)
        for text in PROMPTS[:prompts]
        for seed in range(samples)
    ]


def layer(model: Any, id: str, word: str, decoding: Decoding) -> Result:
    """All of the layer (ledger, keys, rendering, texts) against `generate` on the same batches."""
    requests = chats(decoding)

    def ours() -> None:
        lent = LentModel(name="random", load=lambda: model, tokenizer=TOKENIZER)
        settings = {"batch_size": BATCH, "batching": "padded"}
        stage = Stage(
            component=TRANSFORMERS, settings=TRANSFORMERS.settings.model_validate(settings)
        )
        with (
            tempfile.TemporaryDirectory() as folder,
            open_generator(stage, lent, Path(folder), fingerprint="random") as ask,
        ):
            assert len(ask(requests)) == len(requests)

    def bare() -> None:
        texts = [
            str(
                TOKENIZER.apply_chat_template(
                    list(request.prompt), tokenize=False, add_generation_prompt=True
                )
            )
            for request in requests
        ]
        texts.sort(key=len, reverse=True)
        TOKENIZER.padding_side = "left"
        for start in range(0, len(texts), BATCH):
            batch = TOKENIZER(texts[start : start + BATCH], return_tensors="pt", padding=True)
            how: dict[str, Any] = {"do_sample": False}
            if decoding.temperature:
                how = {
                    "do_sample": True,
                    "temperature": decoding.temperature,
                    "top_p": decoding.top_p,
                    "top_k": 0,
                }
            new = model.generate(
                input_ids=batch["input_ids"],
                attention_mask=batch["attention_mask"],
                max_new_tokens=NEW_TOKENS,
                pad_token_id=0,
                **how,
            )
            TOKENIZER.batch_decode(new[:, batch["input_ids"].shape[1] :], skip_special_tokens=True)

    ratios = interleaved(bare, ours)
    return Result(
        id=id,
        what=f"{word} generation through our layer / model.generate on the same batches",
        value=statistics.median(ratios),
        goal=0.97,
        note=_spread(ratios),
    )


def one_by_one(model: Any) -> Result:
    """Length-sorted batches against one row at a time, both through our layer."""
    requests = chats(Decoding(max_new_tokens=NEW_TOKENS), prompts=BATCH)
    ratios = interleaved(
        lambda: answer(model, requests, batch_size=1),
        lambda: answer(model, requests, batch_size=BATCH),
    )
    return Result(
        id="C-2",
        what=f"rows a second, batches of {BATCH} / one row at a time",
        value=statistics.median(ratios),
        goal=2.0,
        note=_spread(ratios),
    )


def sharing(model: Any) -> Result:
    """Eight samples of a prompt with its prefix computed once, or eight times."""
    long = [" ".join(PROMPTS[:4]) + text for text in PROMPTS[:2]]
    decoding = Decoding(temperature=0.8, max_new_tokens=NEW_TOKENS)
    requests = [
        Request(prompt=({"role": "user", "content": text},), decoding=decoding, seed=seed)
        for text in long
        for seed in range(8)
    ]
    ratios = interleaved(
        lambda: answer(model, requests, batch_size=BATCH, share_prefixes=False),
        lambda: answer(model, requests, batch_size=BATCH),
    )
    tokens = len(TOKENIZER(long[0])["input_ids"])
    return Result(
        id="C-3",
        what="8 samples of a prompt, its prefix shared / not shared",
        value=statistics.median(ratios),
        goal=1.2,
        note=f"prompts of about {tokens} tokens, {NEW_TOKENS} new ones; {_spread(ratios)}",
    )


def continuous(model: Any) -> Result:
    """Why `auto` stays with padded batches on a CPU. Not run on a GPU."""
    requests = chats(Decoding(max_new_tokens=NEW_TOKENS))
    ratios = interleaved(
        lambda: answer(model, requests, batch_size=BATCH, batching="continuous"),
        lambda: answer(model, requests, batch_size=BATCH),
        clock=time.perf_counter,
    )
    return Result(
        id="C-4",
        what="padded batches / transformers' continuous batching, CPU",
        value=statistics.median(ratios),
        goal=1.0,
        note=f"wall clock, as it has threads; {_spread(ratios)}",
    )


def answer(model: Any, requests: list[Request], **settings: Any) -> None:
    engine = Local(model=model, tokenizer=TOKENIZER, **{"batching": "padded", **settings})
    assert len(dict(engine.answer(requests))) == len(requests)


def interleaved(
    slow: Callable[[], None],
    fast: Callable[[], None],
    *,
    clock: Callable[[], float] = time.process_time,
) -> list[float]:
    """How many times as fast the second is, round by round, after one round to warm up."""
    ratios = []
    for number in range(ROUNDS + 1):
        seconds = {}
        for way in (slow, fast) if number % 2 else (fast, slow):
            began = clock()
            way()
            seconds[way] = clock() - began
        ratios.append(seconds[slow] / seconds[fast])
    return ratios[1:]


def _spread(ratios: list[float]) -> str:
    return f"{min(ratios):.2f}-{max(ratios):.2f} in {len(ratios)} rounds"
