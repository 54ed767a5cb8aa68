"""What a mask costs a training step in TRL: the collator, baked labels, and online scoring.

Real MBPP rows, random models of real proportions, LoRA of rank 16, batches of four, one thread.
Each batch is timed in every way before the next one, in turning order; ratios are medians over
batches, with the quartiles as their spread.
"""

from __future__ import annotations

import copy
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
import trl
from datasets import Dataset
from peft import LoraConfig

from ppx_ext.hosts.trl import PpxSFTConfig, PpxSFTTrainer
from tests.benchmarks.result import Result
from tests.benchmarks.scoring_parts import data_folder, mbpp, modulo, random_llama
from tests.models import tiny_tokenizer

BATCH = 4
STEPS = 5
COLLATED = 8
COLLATIONS = 400
MASKED_SHARE = 0.2
SHAPES = (("S32", torch.float32), ("V128", torch.bfloat16))
IGNORE = -100


def run() -> Iterator[Result]:
    """B-1 to B-3, and the raw numbers in ``results/training-trl-<version>.json``."""
    folder = data_folder()
    if folder is None:
        return
    raw: dict[str, Any] = {"trl": trl.__version__, "torch": torch.__version__}
    with tempfile.TemporaryDirectory() as scratch:
        raw["collator"] = collator_cost(folder, Path(scratch))
        raw["steps"] = {
            f"{shape} {str(dtype).removeprefix('torch.')}": step_cost(
                folder, Path(scratch) / shape, shape, dtype
            )
            for shape, dtype in SHAPES
        }
    target = Path(__file__).parent / "results" / f"training-trl-{trl.__version__}.json"
    target.parent.mkdir(exist_ok=True)
    target.write_text(json.dumps(raw, indent=1) + "\n")
    yield from results(raw)


def results(raw: dict[str, Any]) -> Iterator[Result]:
    """The goals' numbers: the worst shape counts, and all are in the note."""
    spread = raw["collator"]
    yield Result(
        id="B-1",
        what="masking collator / TRL's collator",
        value=spread["median"],
        goal=1.05,
        stretch=0.9,
        better="less",
        note=f"quartiles {spread['low']:.2f}-{spread['high']:.2f}; TRL {trl.__version__}",
    )
    for key, id, what, goal, stretch in (
        ("masked", "B-2", "step on masked labels / step on all of the response", 1.03, None),
        ("online_first", "B-3a", "online scoring / masked step, first epoch", 0.35, 0.25),
        ("online_later", "B-3b", "online scoring / masked step, later epochs", 0.01, None),
    ):
        found = {shape: cost[key] for shape, cost in raw["steps"].items()}
        shown = "; ".join(
            f"{shape} {ratio['median']:.3f} ({ratio['low']:.3f}-{ratio['high']:.3f})"
            for shape, ratio in found.items()
        )
        yield Result(
            id=id,
            what=what,
            value=max(ratio["median"] for ratio in found.values()),
            goal=goal,
            stretch=stretch,
            better="less",
            note=f"{shown}; TRL {trl.__version__}",
        )


def spread(ratios: list[float]) -> dict[str, float]:
    """Median and quartiles."""
    low, median, high = statistics.quantiles(ratios, n=4)
    return {"median": median, "low": low, "high": high}


def clock(function: Callable[[], Any]) -> float:
    """Processor seconds of one call."""
    began = time.process_time()
    function()
    return time.process_time() - began


def trainer(folder: Path, data: Path, model: Any, vocabulary: int, **mask: Any) -> PpxSFTTrainer:
    """Our trainer on the response tokens of MBPP rows."""
    ids, targets = mbpp(data, BATCH * STEPS)
    rows = [
        {
            "input_ids": ids_T.tolist(),
            "labels": [int(i) if t else IGNORE for i, t in zip(ids_T, target_T, strict=True)],
        }
        for ids_T, target_T in zip(modulo(ids, vocabulary), targets, strict=True)
    ]
    block = {"mask": {"use": "stm", **mask}, "cache_dir": str(folder / "scores")}
    args = PpxSFTConfig(
        output_dir=str(folder), use_cpu=True, bf16=False, report_to="none", disable_tqdm=True,
        per_device_train_batch_size=BATCH, gradient_checkpointing=False, max_length=None,
        learning_rate=0.0, ppx=block, train_sampling_strategy="sequential", save_strategy="no",
    )  # fmt: skip
    return PpxSFTTrainer(
        model=model,
        args=args,
        train_dataset=Dataset.from_list(rows),
        processing_class=tiny_tokenizer(),
        peft_config=LoraConfig(r=16, target_modules="all-linear"),
    )


def collator_cost(data: Path, scratch: Path) -> dict[str, float]:
    """Masking collator over TRL's own, on the very rows that the trainer's loader gives them."""
    model = random_llama("S32", torch.float32)
    found = trainer(scratch, data, model, 32_000, apply="collator", mask_fraction=MASKED_SHARE)
    plain, masking = found.data_collator, found._masking_collator(found.data_collator)
    kept = ["input_ids", "labels", *found._score_columns()]
    train: Any = found.train_dataset.select_columns(kept)
    starts = range(0, len(train) - COLLATED, COLLATED)
    batches = [[train[i] for i in range(at, at + COLLATED)] for at in starts]
    bare = [[{k: row[k] for k in ("input_ids", "labels")} for row in batch] for batch in batches]
    ratios = []
    for turn in range(COLLATIONS // 10):
        at = turn % len(batches)
        ours = [clock(lambda at=at: masking(copy_of(batches[at]))) for _ in range(10)]
        theirs = [clock(lambda at=at: plain(copy_of(bare[at]))) for _ in range(10)]
        copying = [clock(lambda at=at: copy_of(batches[at])) for _ in range(10)]
        idle = statistics.median(copying)
        ratios.append((statistics.median(ours) - idle) / (statistics.median(theirs) - idle))
    return spread(ratios)


def copy_of(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Fresh mappings: a collator may take keys out of its rows."""
    return [dict(row) for row in rows]


def step_cost(data: Path, folder: Path, shape: str, dtype: torch.dtype) -> dict[str, Any]:
    """Steps on response labels and on masked labels, and what online scoring adds to the latter."""
    model = random_llama(shape, dtype)
    vocabulary = model.config.vocab_size
    baked = trainer(folder, data, copy.deepcopy(model), vocabulary, mask_fraction=MASKED_SHARE)
    threshold = baked._ppx.masked.state["ppl_threshold"]
    online = trainer(folder, data, model, vocabulary, apply="online", ppl_threshold=threshold)
    masker = online._ppx.masker
    full = list(online.get_train_dataloader())
    masked = list(baked.get_train_dataloader())
    ratios: dict[str, list[float]] = {"masked": [], "online_first": [], "online_later": []}
    one_step(baked, masked[0])
    seconds = []
    for number, (whole, less) in enumerate(zip(full, masked, strict=True)):
        order = (whole, less) if number % 2 else (less, whole)
        time_of = {id(b): clock(lambda b=b: one_step(baked, b)) for b in order}
        step = time_of[id(less)]
        batch = clone(whole)
        first = clock(lambda batch=batch: masker.mask_batch(online.model, batch))
        assert torch.equal(batch["labels"], less["labels"]), "online and baked must mask alike"
        later = clock(lambda whole=whole: masker.mask_batch(online.model, clone(whole)))
        ratios["masked"].append(step / time_of[id(whole)])
        ratios["online_first"].append(first / step)
        ratios["online_later"].append(later / step)
        seconds.append(step)
    share = 1 - kept(masked) / kept(full)
    return {
        **{name: spread(found) for name, found in ratios.items()},
        "seconds_of_a_masked_step": statistics.median(seconds),
        "masked_share": share,
    }


def one_step(found: Any, batch: dict[str, Any]) -> None:
    """Forward, backward, and the gradients let go, through the trainer's own step."""
    samples, count = found.get_batch_samples(iter([clone(batch)]), 1, torch.device("cpu"))
    found.training_step(found.model, samples[0], count)
    found.model.zero_grad()


def clone(batch: dict[str, Any]) -> dict[str, Any]:
    """A batch whose labels may be changed."""
    return {name: v.clone() if torch.is_tensor(v) else v for name, v in batch.items()}


def kept(batches: list[Any]) -> int:
    """Targets of some batches."""
    return sum(int((batch["labels"][..., 1:] != IGNORE).sum()) for batch in batches)


if __name__ == "__main__":
    torch.set_num_threads(1)
    for each in run():
        print(f"{each.id:5} {each.value:.3f} {each.mark:8} {each.what}: {each.note}")
