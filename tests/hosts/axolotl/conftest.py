"""A small world for Axolotl: tiny models, chats, configs, and an oracle that knows no ppx-ext."""

from __future__ import annotations

import json
import logging
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from tests import models
from tests.conftest import HAS_AXOLOTL, ROOT

collect_ignore_glob = [] if HAS_AXOLOTL else ["*"]

PLUGIN = "ppx_ext.hosts.axolotl.PpxPlugin"
SPY = "tests.hosts.axolotl.spy.SpyPlugin"
ROWS = 24
PAD_ID = models.SPECIAL.index(models.PAD)


@pytest.fixture(autouse=True, scope="package")
def own_log() -> Iterator[None]:
    """Our log speaks through Axolotl's in a run of Axolotl, and not in the tests that follow."""
    log = logging.getLogger("ppx_ext")
    kept = log.level, log.propagate, list(log.handlers)
    yield
    log.setLevel(kept[0])
    log.propagate, log.handlers = kept[1:]


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """Folders with a tiny Llama and a tiny Gemma 2, their tokenizer, and a file of chats."""
    root = tmp_path_factory.mktemp("axolotl")
    tokenizer = models.tiny_tokenizer()
    for arch in ("llama", "gemma2"):
        models.tiny_model(arch).save_pretrained(root / arch)
        tokenizer.save_pretrained(root / arch)
    write_rows(root / "chat.jsonl", chats(ROWS))
    return SimpleNamespace(root=root, tokenizer=tokenizer, chat=root / "chat.jsonl")


def chats(count: int, *, seed: int = 0) -> list[dict[str, Any]]:
    """Chats of one or two rounds whose answers differ in length."""
    rng = np.random.default_rng(seed)
    words = " ".join(models.CORPUS).split()
    said = lambda least, most: " ".join(rng.choice(words, rng.integers(least, most)))  # noqa: E731
    rows = []
    for number in range(count):
        turns = [{"role": "user", "content": f"{number}: {said(3, 9)}"}]
        turns += [{"role": "assistant", "content": said(2, 14)}]
        if number % 3 == 0:
            turns += [{"role": "user", "content": said(2, 5)}]
            turns += [{"role": "assistant", "content": said(1, 8)}]
        rows.append({"messages": turns})
    return rows


def write_rows(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def tokens_of(row: dict[str, Any], tokenizer: Any) -> tuple[list[int], list[int]]:
    """Ids and plain labels of a chat, written down by hand from the template."""
    ids: list[int] = []
    labels: list[int] = []

    def add(text: str, *, trained: bool) -> None:
        new = tokenizer(text, add_special_tokens=False)["input_ids"]
        ids.extend(new)
        labels.extend(new if trained else [-100] * len(new))

    for turn in row["messages"]:
        add(f"<|im_start|>{turn['role']}\n", trained=False)
        add(f"{turn['content']}<|im_end|>", trained=turn["role"] == "assistant")
        add("\n", trained=False)
    return ids, labels


class Oracle:
    """Expected labels of every chat, from one plain forward a row."""

    def __init__(self, world: Any, arch: str, rows: list[dict[str, Any]] | None = None) -> None:
        import torch
        from transformers import AutoModelForCausalLM

        model = AutoModelForCausalLM.from_pretrained(
            world.root / arch, dtype=torch.float32, attn_implementation="eager"
        )
        rows = rows or [json.loads(line) for line in world.chat.read_text().splitlines()]
        end = world.tokenizer.convert_tokens_to_ids("<|im_end|>")
        self.plain: dict[tuple[int, ...], list[int]] = {}
        self.perplexity: dict[tuple[int, ...], list[float]] = {}
        self.end = end
        for row in rows:
            ids, labels = tokens_of(row, world.tokenizer)
            with torch.no_grad():
                logits = model(torch.tensor([ids])).logits[0, :-1].double()
            nll = -logits.log_softmax(-1)[range(len(ids) - 1), ids[1:]]
            self.plain[tuple(ids)] = labels
            self.perplexity[tuple(ids)] = [1.0, *nll.exp().tolist()]

    def threshold(self) -> float:
        """A line near the middle that no target lies near."""
        found = sorted(
            perplexity
            for ids, labels in self.plain.items()
            for perplexity, label in zip(self.perplexity[ids], labels, strict=True)
            if label not in (-100, self.end)
        )
        middle = range(len(found) // 3, 2 * len(found) // 3)
        at = max(middle, key=lambda i: found[i + 1] / found[i])
        assert found[at + 1] / found[at] > 1.01
        return float(np.sqrt(found[at] * found[at + 1]))

    def labels(self, ids: tuple[int, ...], threshold: float) -> list[int]:
        """Plain labels, less the tokens above the line; ends of turns stay."""
        return [
            -100 if label != self.end and perplexity > threshold else label
            for label, perplexity in zip(self.plain[ids], self.perplexity[ids], strict=True)
        ]


@pytest.fixture(scope="session")
def oracles(world: SimpleNamespace) -> Callable[[str], Oracle]:
    kept: dict[str, Oracle] = {}
    return lambda arch: kept.setdefault(arch, Oracle(world, arch))


def documents(entry: dict[str, Any]) -> Iterator[tuple[tuple[int, ...], list[int]]]:
    """(ids, labels) of every document in a batch that reached the loss, padding left out."""
    for at, (ids, labels) in enumerate(zip(entry["input_ids"], entry["labels"], strict=True)):
        places = entry.get("position_ids")
        mask = entry.get("attention_mask")
        if places is not None:
            starts = [i for i, place in enumerate(places[at]) if place == 0]
        else:
            starts = [0]
        for start, stop in zip(starts, [*starts[1:], len(ids)], strict=True):
            real = [i for i in range(start, stop) if mask is None or mask[at][i]]
            found = tuple(ids[i] for i in real)
            padding = set(found) <= {PAD_ID}
            if padding:
                assert {labels[i] for i in real} <= {-100}
            else:
                yield found, [labels[i] for i in real]


@pytest.fixture
def config(world: SimpleNamespace, tmp_path: Path) -> Callable[..., Path]:
    """Write a config that trains on a CPU in seconds; keyword arguments replace its keys."""

    def make(arch: str = "llama", *, ppx: Any = None, **changes: Any) -> Path:
        import yaml

        settings = {
            "base_model": str(world.root / arch),
            "plugins": [*([PLUGIN] if ppx is not None else []), SPY],
            "datasets": [{"path": str(world.chat), "type": "chat_template"}],
            "dataset_prepared_path": str(world.root / "prepared"),
            "output_dir": str(tmp_path / "out"),
            "sequence_len": 256,
            "adapter": "lora",
            "lora_r": 4,
            "lora_alpha": 8,
            "lora_target_linear": True,
            "lora_mlp_kernel": False,
            "bf16": False,
            "fp16": False,
            "tf32": False,
            "micro_batch_size": 2,
            "gradient_accumulation_steps": 2,
            "num_epochs": 1,
            "max_steps": 3,
            "learning_rate": 0.001,
            "optimizer": "adamw_torch",
            "lr_scheduler": "constant",
            "logging_steps": 1,
            "dataloader_pin_memory": False,
            "dataset_num_proc": 1,
            "attn_implementation": "eager",
            "save_strategy": "no",
            "val_set_size": 0,
            "seed": 42,
            **changes,
        }
        if ppx is not None:
            settings["ppx"] = ppx
        if settings["adapter"] is None:
            settings = {k: v for k, v in settings.items() if "lora" not in k and k != "adapter"}
        path = tmp_path / f"recipe-{len(list(tmp_path.glob('recipe-*')))}.axolotl.yaml"
        path.write_text(yaml.safe_dump(settings, sort_keys=False))
        return path

    return make


@pytest.fixture
def train(monkeypatch: pytest.MonkeyPatch) -> Callable[[Path], SimpleNamespace]:
    """Train a config in this process; gives what reached the loss and the trained weights."""
    monkeypatch.delenv("AXOLOTL_IS_PREPROCESS", raising=False)
    return run


def run(path: Path) -> SimpleNamespace:
    from axolotl.cli.args import TrainerCliArgs
    from axolotl.cli.config import load_cfg
    from axolotl.cli.train import do_train

    from tests.hosts.axolotl import spy

    forget_plugins()
    spy.reset()
    cfg = load_cfg(str(path))
    do_train(cfg, TrainerCliArgs())
    return SimpleNamespace(
        cfg=cfg,
        train=[entry for entry in spy.SEEN if entry["training"]],
        evaluation=[entry for entry in spy.SEEN if not entry["training"]],
        trainer=spy.FINAL["trainer"],
        weights=spy.FINAL["weights"],
        out=Path(cfg.output_dir),
    )


@pytest.fixture
def prepare(monkeypatch: pytest.MonkeyPatch) -> Callable[[Path], SimpleNamespace]:
    """What `load_datasets` gives for a config: masked, split and counted, but not trained on."""
    monkeypatch.delenv("AXOLOTL_IS_PREPROCESS", raising=False)

    def load(path: Path) -> SimpleNamespace:
        from axolotl.cli.config import load_cfg
        from axolotl.common.datasets import load_datasets
        from axolotl.integrations.base import PluginManager

        forget_plugins()
        cfg = load_cfg(str(path))
        found = PluginManager.get_instance().load_datasets(cfg) or load_datasets(cfg=cfg)
        return SimpleNamespace(
            cfg=cfg,
            train=pairs(found.train_dataset),
            evaluation=pairs(found.eval_dataset) if found.eval_dataset is not None else [],
            steps=found.total_num_steps,
            columns=set(found.train_dataset.column_names),
        )

    return load


def pairs(dataset: Any) -> list[tuple[tuple[int, ...], list[int]]]:
    """(ids, labels) of every row."""
    return [(tuple(row["input_ids"]), list(row["labels"])) for row in dataset]


def forget_plugins() -> None:
    """Axolotl keeps the plugins of earlier configs of a process."""
    from axolotl.integrations.base import PluginManager

    PluginManager.get_instance().plugins.clear()


@pytest.fixture(autouse=True)
def _forget() -> None:
    forget_plugins()


def command_line(*words: str, cwd: Path, **environment: str) -> Any:
    """Run a command with the checkout importable, and its output kept."""
    import subprocess

    commands = Path(sys.executable).parent
    path = f"{commands}{os.pathsep}{os.environ['PATH']}"
    variables = {**os.environ, "PYTHONPATH": str(ROOT), "PATH": path, **environment}
    return subprocess.run(
        [str(commands / words[0]), *words[1:]],
        cwd=cwd,
        env=variables,
        capture_output=True,
        text=True,
        timeout=400,
        check=False,
    )
