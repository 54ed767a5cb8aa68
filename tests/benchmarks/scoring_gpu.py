"""`python -m tests.benchmarks.scoring_gpu`: goal A-8, real shapes with random weights on one GPU.

Gemma-2-2B's and Llama-3-8B's shapes in bfloat16, made in place: nothing is downloaded. The limit is
the best matmul of the same run. Says so, and measures nothing, where no GPU is at hand.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
import torch

from ppx_ext.scoring import SCORES, packing, token_scores
from tests.benchmarks import scoring_parts as parts
from tests.benchmarks.result import Result

ROUNDS = 3
THEIR_ROWS = 60  # one row at a time: more would only take longer

GEMMA_2_2B: dict[str, Any] = {
    "vocab_size": 256_000,
    "hidden_size": 2304,
    "intermediate_size": 9216,
    "num_hidden_layers": 26,
    "num_attention_heads": 8,
    "num_key_value_heads": 4,
    "head_dim": 256,
}
LLAMA_3_8B: dict[str, Any] = {
    "vocab_size": 128_256,
    "hidden_size": 4096,
    "intermediate_size": 14_336,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "rope_theta": 500_000.0,
}


def measure() -> Iterable[Result]:
    """Fraction of the limit, speed over the authors' loop, and cost of entropy and rank."""
    folder = parts.data_folder()
    if not torch.cuda.is_available():
        print("SKIPPED A-8: no GPU is at hand; nothing was measured", file=sys.stderr)
        return []
    if folder is None:
        print("SKIPPED A-8: no mbpp_train.jsonl; set PPX_DATA to its folder", file=sys.stderr)
        return []
    ids, targets = parts.mbpp(folder, 374)
    found: list[Result] = []
    for name, shape, goals in (
        ("Gemma-2-2B", GEMMA_2_2B, (8.0, 14.0)),
        ("Llama-3-8B", LLAMA_3_8B, (3.5, 5.0)),
    ):
        model = _random(name, shape)
        found += _of_model(name, model, (parts.modulo(ids, shape["vocab_size"]), targets), goals)
        del model
        torch.cuda.empty_cache()
    return found


def _random(name: str, shape: dict[str, Any]) -> Any:
    from transformers import AutoModelForCausalLM, Gemma2Config, LlamaConfig

    config = (Gemma2Config if name.startswith("Gemma") else LlamaConfig)(**shape)
    attention = "eager" if name.startswith("Gemma") else "sdpa"
    torch.manual_seed(0)
    with torch.device("cuda"):
        model = AutoModelForCausalLM.from_config(
            config, dtype=torch.bfloat16, attn_implementation=attention
        )
    return model.eval()


def _of_model(
    name: str, model: Any, rows: parts.Rows, goals: tuple[float, float]
) -> Iterator[Result]:
    ids, targets = rows
    few = ids[:THEIR_ROWS], targets[:THEIR_ROWS]
    tokens, tokens_of_few = (sum(map(len, part)) for part in (ids, few[0]))
    ways: dict[str, Callable[[], Any]] = {
        "authors": lambda: parts.authors(model, *few),
        "nll": lambda: token_scores(model, ids, targets),
        "all": lambda: token_scores(model, ids, targets, names=SCORES),
    }
    seconds = _interleaved(ways)
    mid = {way: statistics.median(each) for way, each in seconds.items()}
    best = _best_matmul(model)
    share = parts.useful_flops(model, ids, targets) / best / mid["nll"]
    packed = "packed" if packing.route_of(model).packed else "padded"
    note = f"{tokens / mid['nll']:.0f} tokens/s, {packed}, matmul {best / 1e12:.0f} TFLOP/s"
    faster = (tokens / mid["nll"]) / (tokens_of_few / mid["authors"])
    yield _result(f"{name}: useful FLOP/s over the best matmul's", share, (0.6, 0.75), note)
    yield _result(f"{name}: scorer over the authors' loop", faster, goals, _spread(seconds))
    yield Result(
        id="A-6",
        what=f"{name}: NLL, entropy and rank over NLL alone",
        value=mid["all"] / mid["nll"],
        goal=1.08,
        stretch=1.03,
        better="less",
    )


def _result(what: str, value: float, goals: tuple[float, float], note: str) -> Result:
    goal, stretch = goals
    return Result(id="A-8", what=what, value=value, goal=goal, stretch=stretch, note=note)


def _spread(seconds: dict[str, list[float]]) -> str:
    return "; ".join(f"{way} {min(each):.2f}-{max(each):.2f} s" for way, each in seconds.items())


def _interleaved(ways: dict[str, Callable[[], Any]]) -> dict[str, list[float]]:
    """Wall seconds, as the host's time is part of it; one warm-up, then rounds A, B, A, B ..."""
    seconds: dict[str, list[float]] = {way: [] for way in ways}
    for turn in range(ROUNDS + 1):
        for way, call in ways.items():
            torch.cuda.synchronize()
            start = time.perf_counter()
            call()
            torch.cuda.synchronize()
            if turn:
                seconds[way].append(time.perf_counter() - start)
    return seconds


def _best_matmul(model: Any) -> float:
    """The best FLOP/s over a square matmul and those of the model's body."""
    hidden, wide = model.config.hidden_size, model.config.intermediate_size
    shapes = ((8192, 8192, 8192), (16_384, hidden, wide), (16_384, wide, hidden))
    return max(_rate(*shape) for shape in shapes)


def _rate(m: int, k: int, n: int) -> float:
    x, w = (torch.randn(size, device="cuda", dtype=torch.bfloat16) for size in ((m, k), (n, k)))
    times = []
    for _ in range(12):
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        torch.nn.functional.linear(x, w)
        end.record()
        torch.cuda.synchronize()
        times.append(start.elapsed_time(end) / 1000)
    return 2.0 * m * k * n / float(np.min(times[2:]))


def main() -> None:
    from rich.console import Console

    from tests.benchmarks.__main__ import table

    if found := list(measure()):
        Console(width=None if sys.stdout.isatty() else 150).print(table(found))


if __name__ == "__main__":
    main()
