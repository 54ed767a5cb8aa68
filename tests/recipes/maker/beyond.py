"""Recipes that are of no paper: today's small models, every method, and ways to train."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

from tests.recipes.maker import evaluations
from tests.recipes.maker.facts import (
    DIFFICULTY,
    GEMMA_3_1B,
    GSM8K,
    LLAMA_3_1_8B,
    LLAMA_3_2_3B,
    MBPP,
    QWEN_3_4B,
    S3FT,
    STM,
    Data,
    Model,
)
from tests.recipes.maker.recipe import Recipe
from tests.recipes.maker.settings import SMALL_CARD, Training

_STM = "mask: {use: stm, mask_fraction: 0.2} # the hardest fifth, whatever their perplexity"
_S3FT = (
    "build:",
    "  use: s3ft",
    "  judge: math",
    "  max_new_tokens: 512",
    "  generator: {use: transformers, batch_size: 16}",
)
_SCORED = "cache_dir: scored/scores # the scores, which one process makes before training"
_TUNED = "tuned/qwen3-4b-instruct-2507-gsm8k"
_FIRST = (
    "ppx recipes copy sft/qwen3-4b-instruct-2507/gsm8k.{host} sft.{host}.yaml\n"
    f"ppx train sft.{{host}}.yaml --out {_TUNED}"
)
_CARD = "one card of 16 GB with bfloat16, so Ampere or newer"
_GAVE = "this model is in no paper's tables; measure it: the `eval:` block does"

# method (folder), variant, title, paper, stages, further fields
_EACH: tuple[tuple[str, str, str, str, tuple[str, ...], Mapping[str, Any]], ...] = (
    ("sft", "", "Plain fine-tuning", "none; the baseline of all of them", (), {}),
    ("stm", "", "Selective Token Masking", STM, (_STM,), {"arms": "sft,stm,random,lowest"}),
    (
        "stm",
        "random",
        "A random fifth of the tokens masked",
        f"{STM}, Table 3, a control",
        ("mask: {use: random, mask_fraction: 0.2}",),
        {},
    ),
    (
        "stm",
        "lowest",
        "The likeliest fifth of the tokens masked",
        f"{STM}, Table 3, a control",
        ("mask: {use: lowest, mask_fraction: 0.2}",),
        {},
    ),
    (
        "dpf",
        "",
        "Differential Perplexity Filtering",
        f"{STM}, appendix G",
        ("mask:", "  use: dpf", f"  tuned: {_TUNED} # what `First` writes"),
        {"first": _FIRST},
    ),
    (
        "stm_dpf",
        "",
        "STM with Differential Perplexity Filtering",
        f"{STM}, appendix G",
        ("mask:", "  use: stm_dpf", f"  tuned: {_TUNED} # what `First` writes"),
        {"first": _FIRST},
    ),
    (
        "s3ft",
        "",
        "Selective Self-to-Supervised Fine-Tuning",
        S3FT,
        _S3FT,
        {"arms": "sft,rephrase,s3ft"},
    ),
    (
        "self_output",
        "",
        "Self-Output, 8 samples",
        f"{STM}, section 2.3",
        (
            "build:",
            "  use: self_output",
            "  judge: math",
            "  samples: 8 # 32 in the paper; one right sample is about as good as the best of 32",
            "  pick: first",
            "  max_new_tokens: 512",
            "  generator: {use: transformers, batch_size: 16}",
        ),
        {},
    ),
    (
        "rephrase",
        "",
        "SDFT (rephrase)",
        "arXiv 2402.13669",
        (
            "build:",
            "  use: rephrase",
            "  judge: math",
            "  max_new_tokens: 512",
            "  generator: {use: transformers, batch_size: 16}",
        ),
        {},
    ),
    (
        "difficulty",
        "budget",
        "A budget of 1,000 examples",
        f"{DIFFICULTY}, section 3",
        (
            "choose:",
            "  use: budget",
            "  by: response_length # the paper's measure; or nll, pass_rate, steps, a column",
            "  max_examples: 1000",
            "  band: auto # a rule believed beforehand; `ppx budget --grid` asks pilots",
        ),
        {},
    ),
    (
        "difficulty",
        "curriculum",
        "Easy to hard, in two passes",
        f"{DIFFICULTY}, for difficulty as such; the order and this measure of it are older",
        ("choose: {use: curriculum, by: nll, order: easy_to_hard, epochs: 2, replay: 0.1}",),
        {"training": dataclasses.replace(SMALL_CARD, epochs=1)},
    ),
    (
        "difficulty",
        "tail",
        "Without the hardest fifth",
        f"{DIFFICULTY}, Figure 2",
        ("choose: {use: remove_tail, by: response_length, drop: hardest, share: 0.2}",),
        {},
    ),
    (
        "difficulty",
        "pass-rate",
        "The middle third by its pass rate",
        f"{DIFFICULTY}, Figure 1 (pass rates there are another model's)",
        (
            "build: {use: pass_rate, judge: math, samples: 4, max_tokens: 512}",
            "# It may always solve more than a third: look with `ppx measure`, then set `window:`",
            "choose: {use: budget, by: pass_rate, band: medium}",
        ),
        {},
    ),
    (
        "combined",
        "",
        "S3FT, STM and a budget",
        f"{S3FT}, {STM} and {DIFFICULTY}, one after the other",
        (
            "# The model's own right answers where it has them; 4,000 rows by difficulty; what is",
            "# left of the golds without its surprises.",
            *_S3FT,
            "choose: {use: budget, by: response_length, max_examples: 4000, band: auto}",
            "mask: {use: stm, ppl_threshold: 2.5} # of golds alone, after a builder",
        ),
        {"arms": "sft,stm,s3ft,s3ft+stm"},
    ),
)


def recipes() -> Iterator[Recipe]:
    """One of each method on one small model, and one of each way to train."""
    for method, variant, title, paper, stages, more in _EACH:
        yield _small(method, variant, title, paper, stages, **more)
    yield from _ways()


def _small(
    method: str,
    variant: str,
    title: str,
    paper: str,
    stages: tuple[str, ...],
    model: Model = QWEN_3_4B,
    data: Data = GSM8K,
    training: Training = SMALL_CARD,
    hardware: str = "",
    gave: str = _GAVE,
    first: str = "",
    arms: str = "",
    same: str = "",
) -> Recipe:
    theirs = {"sft": "", "combined": "; only the methods are the papers'"}
    whose = (
        "" if variant == "curriculum" else theirs.get(method, "; only the method is the paper's")
    )
    answers = any(line.startswith("build") for line in stages)
    hours = "6 h on it, most of it answering" if answers else "3 h on it"
    return Recipe(
        method=method,
        model=model,
        data=data,
        variant=variant,
        title=title,
        block=(*stages, *evaluations.small(data), "seed: 42"),
        training=training,
        paper=paper,
        gave=gave,
        same=same,
        measured="Measured: a few hundred items of each task after each epoch, in minutes.",
        deviations=f"Model, data and all settings are ours{whose}.",
        unpublished="",
        hardware=hardware or f"{_CARD}; about {hours} (both estimated)",
        first=first,
        arms=arms,
        extras=_extras(training),
        sandbox=data is MBPP,
    )


def _extras(training: Training) -> tuple[str, ...]:
    needed = training.adapter == "qlora" or "8bit" in training.optimizer
    return (*(("quantization",) if needed else ()), "judges", "eval")


def _ways() -> Iterator[Recipe]:
    """Other models and other ways to train, each with STM."""
    stm: tuple[str, str, str, tuple[str, ...]] = ("", "Selective Token Masking", STM, (_STM,))
    yield _small("stm", *stm, model=LLAMA_3_2_3B)
    yield _small(
        "stm",
        *stm,
        model=GEMMA_3_1B,
        hardware=f"{_CARD}; about 1 h on it (both estimated)",
    )
    yield _small(
        "stm",
        "full",
        *stm[1:],
        model=GEMMA_3_1B,
        data=MBPP,
        training=Training(
            adapter="full",
            batch=1,
            accumulate=8,
            rate="2.0e-6",
            warmup=20,
            epochs=3,
            optimizer="adamw_bnb_8bit",
            length=1024,
        ),
        hardware=f"{_CARD}; about 1 h on it (both estimated)",
        gave="with Gemma-2-2B-it, all weights trained (Table 4): BWT -31.87 -> -0.13 %, TI -27.98 "
        "-> -8.81 %",
        same="The learning rate is the one that the authors' spreadsheet names for all weights.",
    )
    yield _small(
        "stm",
        "qlora",
        *stm[1:],
        model=LLAMA_3_1_8B,
        training=dataclasses.replace(
            SMALL_CARD, adapter="qlora", batch=1, accumulate=16, optimizer="paged_adamw_8bit"
        ),
        same="The base is scored in four bits too: it is what training starts from.",
    )
    for cards, called in (("fsdp", "FSDP 2"), ("deepspeed", "ZeRO-3")):
        yield _sharded(cards, called, *stm[1:])


def _sharded(cards: Any, called: str, title: str, paper: str, stages: tuple[str, ...]) -> Recipe:
    return _small(
        "stm",
        cards,
        f"{title} with {called}",
        paper,
        (*stages, _SCORED),
        model=LLAMA_3_1_8B,
        training=Training(
            adapter="full",
            batch=1,
            accumulate=4,
            rate="2.0e-6",
            warmup=20,
            epochs=2,
            optimizer="adamw_torch_fused",
            length=2048,
            cards=cards,
        ),
        hardware="four cards of 80 GB; about 2 h on H100s (both estimated; not run by us)",
        same="All weights are trained, over four cards. Rows are scored beforehand by one process; "
        "the training itself would load a whole base on each card to do so. Checkpoints are "
        "measured in a process of their own.",
    )
