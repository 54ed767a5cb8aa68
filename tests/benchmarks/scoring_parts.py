"""What the scoring benchmarks share: real text, random models of real shapes, and the rivals."""

from __future__ import annotations

import contextlib
import json
import os
import platform
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ppx_ext.scoring import packing, tree, varlen
from tests.benchmarks.result import Result
from tests.models import tiny_tokenizer

Rows = tuple[list[Any], list[Any]]

SHAPES: dict[str, dict[str, Any]] = {
    # 26.5 M parameters, of which the tied head has 46 %.
    "S32": {"vocab_size": 32_000, "hidden_size": 384, "intermediate_size": 1024, "heads": 6},
    # 29 M parameters, of which the tied head has 85 %.
    "V128": {"vocab_size": 128_000, "hidden_size": 192, "intermediate_size": 512, "heads": 3},
}
LAYERS = {"S32": 8, "V128": 10}


def data_folder() -> Path | None:
    """Where the shared data lies: ``PPX_DATA``, or ``../shared/data`` next to the checkout."""
    named = os.environ.get("PPX_DATA")
    folder = Path(named) if named else Path(__file__).parents[2].parent / "shared" / "data"
    return folder if (folder / "mbpp_train.jsonl").exists() else None


def mbpp(folder: Path, count: int) -> Rows:
    """``count`` rows of MBPP: ids of prompt and gold response; targets = the response."""
    lines = (folder / "mbpp_train.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line) for line in lines if line]
    texts = [row["prompt"] + row["response"] for row in rows]
    tokenizer = tiny_tokenizer(vocab_size=4096, corpus=texts)
    ids, targets = [], []
    for row in rows[:count]:
        prompt = tokenizer(row["prompt"], add_special_tokens=False)["input_ids"]
        answer = tokenizer(row["response"], add_special_tokens=False)["input_ids"]
        ids.append(np.array([*prompt, *answer, tokenizer.eos_token_id], np.int32))
        targets.append(np.arange(len(ids[-1])) >= len(prompt))
    return ids, targets


def modulo(ids: Sequence[Any], vocabulary: int) -> list[Any]:
    return [np.asarray(ids_T, np.int32) % vocabulary for ids_T in ids]


def random_llama(shape: str, dtype: torch.dtype) -> Any:
    """A random Llama of one of `SHAPES`, sdpa, eval mode."""
    from transformers import LlamaConfig, LlamaForCausalLM

    size = dict(SHAPES[shape])
    heads = size.pop("heads")
    config = LlamaConfig(
        **size,
        num_hidden_layers=LAYERS[shape],
        num_attention_heads=heads,
        num_key_value_heads=heads,
        max_position_embeddings=4096,
        tie_word_embeddings=True,
        attn_implementation="sdpa",
    )
    torch.manual_seed(0)
    return LlamaForCausalLM(config).to(dtype).eval()


@torch.no_grad()
def authors(model: Any, ids: Sequence[Any], targets: Sequence[Any]) -> list[Any]:
    """The way of arXiv 2501.14315's code, written anew.

    One row at a time, full logits, the model's own loss, a second cross-entropy for each token,
    perplexities as Python lists. Returns NLL (R,) for each row for comparison.
    """
    found = []
    for ids_T, target_T in zip(ids, targets, strict=True):
        row = torch.from_numpy(np.asarray(ids_T, np.int64))[None].to(model.device)
        output = model(input_ids=row, labels=row)
        losses = F.cross_entropy(output.logits[0, :-1], row[0, 1:], reduction="none")
        perplexities = [10.0, *torch.exp(losses).float().tolist()]
        found.append(np.log(np.array(perplexities)[target_T]))
    return found


@torch.no_grad()
def trl_fused(model: Any, ids: Sequence[Any], targets: Sequence[Any], size: int = 8) -> list[Any]:
    """TRL's fused head (already on the model), batches of rows sorted by length."""
    order = sorted(range(len(ids)), key=lambda i: -len(ids[i]))
    found: list[Any] = [None] * len(ids)
    for start in range(0, len(order), size):
        group = order[start : start + size]
        padded = torch.nn.utils.rnn.pad_sequence(
            [torch.from_numpy(np.asarray(ids[i], np.int64)) for i in group], batch_first=True
        )
        labels = torch.full_like(padded, -100)
        for place, i in enumerate(group):
            where = torch.from_numpy(np.flatnonzero(targets[i]))
            labels[place, where] = padded[place, where]
        mask = (torch.arange(padded.shape[1]) < torch.tensor([[len(ids[i])] for i in group])).long()
        output = model(input_ids=padded, attention_mask=mask, labels=labels, fused_lm_head=True)
        for place, i in enumerate(group):
            where = torch.from_numpy(np.flatnonzero(targets[i])) - 1
            found[i] = -output.log_probs[place, where].float().numpy()
    return found


def largest(one: Sequence[Any], other: Sequence[Any]) -> float:
    """The largest absolute difference between two lists of arrays."""
    return max(float(np.abs(a - b).max()) for a, b in zip(one, other, strict=True))


@dataclass(frozen=True, slots=True)
class Ratio:
    """A ratio of medians of CPU seconds, with its smallest and largest value over the rounds."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.2f} ({self.low:.2f}-{self.high:.2f})"


def interleaved(ways: dict[str, Callable[[], Any]], rounds: int) -> dict[str, list[float]]:
    """CPU seconds of each way, in rounds A, B, A, B ... after one warm-up of each."""
    for way in ways.values():
        way()
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, way in ways.items():
            start = time.process_time()
            way()
            seconds[name].append(time.process_time() - start)
    return seconds


def ratio(slow: Sequence[float], fast: Sequence[float]) -> Ratio:
    """How many times faster: the ratio of medians, and the extremes of the rounds' own ratios."""
    each = [s / f for s, f in zip(slow, fast, strict=True)]
    return Ratio(float(np.median(slow) / np.median(fast)), min(each), max(each))


def useful_flops(
    model: Any, ids: Sequence[Any], targets: Sequence[Any], *, shared: bool = False
) -> float:
    """2 x weights of the body for each token, and of the head for each target.

    With ``shared``, tokens that rows begin with together count once.
    """
    head, table = (
        part.weight for part in (model.get_output_embeddings(), model.get_input_embeddings())
    )
    looked_up = 0 if table is head else table.numel()  # reading a row of it is no FLOP
    body = sum(p.numel() for p in model.parameters()) - head.numel() - looked_up
    tokens = tokens_of(ids, shared=shared)
    return 2.0 * (body * tokens + head.numel() * sum(int(t.sum()) for t in targets))


def tokens_of(ids: Sequence[Any], *, shared: bool) -> int:
    """Tokens of all rows; with ``shared`` those that rows begin with together count once."""
    order = sorted(ids, key=lambda ids_T: np.asarray(ids_T).astype(">u4").tobytes())
    return tree.lay(order, shared=shared)[-1].own[1]


@contextlib.contextmanager
def unshared(model: Any) -> Iterator[None]:
    """Let our scorer pack rows, but share nothing between them."""
    route = packing.route_of(model)
    routes = packing._ROUTES[model]
    name = varlen.implementation_of(model)
    routes[name] = packing.Route(packed=route.packed, held=route.held)
    try:
        yield
    finally:
        routes[name] = route


def best_matmul(model: Any, rounds: int = 3) -> float:
    """The best FLOP/s of a matmul in this process: a square one and those of the model."""
    weight: Tensor = model.get_output_embeddings().weight
    hidden, wide = model.config.hidden_size, model.config.intermediate_size
    shapes = ((2048, 2048, 2048), (2048, hidden, wide), (2048, wide, hidden))
    shapes += ((2048, hidden, hidden), (256, hidden, 32_000))
    return max(_matmul_rate(*shape, weight.dtype, weight.device, rounds) for shape in shapes)


def _matmul_rate(
    m: int, k: int, n: int, dtype: torch.dtype, device: torch.device, rounds: int
) -> float:
    x, w = (torch.randn(s, device=device).to(dtype) for s in ((m, k), (n, k)))
    seconds = interleaved({"": lambda: F.linear(x, w)}, rounds)[""]
    return 2.0 * m * k * n / min(seconds)


def write(found: Sequence[Result], name: str) -> None:
    """Keep results with the machine they are of, in a file for each stack."""
    stack = f"trl-{version('trl')}"
    folder = Path(__file__).parent / "results"
    folder.mkdir(exist_ok=True)
    machine = {"cpu": _cpu(), "torch": torch.__version__, "stack": stack, "threads": 1}
    machine |= {module: version(module) for module in ("transformers", "numpy")}
    machine["load_average"] = f"{os.getloadavg()[2]:.1f} on {os.cpu_count()} cores (15 minutes)"
    results = [{**asdict(each), "mark": each.mark} for each in found]
    text = json.dumps({"machine": machine, "results": results}, indent=2) + "\n"
    (folder / f"{name}-{stack}.json").write_text(text, encoding="utf-8")


def _cpu() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.exists() else []
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, platform.processor())
