"""The demo as a recipe: its rows and tasks as files, and a TRL recipe over them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from ppx_ext.demo.material import Material
from ppx_ext.demo.settings import Settings
from ppx_ext.records import write_text

BUILD_BATCH = 100
Json = dict[str, Any]


def write(material: Material, settings: Settings, *, base: Path, out: Path) -> Path:
    """Write the recipe and all that it names; gives its path. What is there already stays.

    The recipe holds a mask and a builder: arms take what they are about, plain fine-tuning neither.
    """
    import yaml

    data = out / "data"
    chats = ({"messages": row["messages"]} for row in material.train)
    held_out = ({"messages": row["messages"]} for row in material.held_out)
    _lines(data / "train.jsonl", chats)
    _lines(data / "held_out.jsonl", held_out)
    for at, task in enumerate(material.tasks):
        pairs = zip(task.prompts, task.golds, strict=True)
        _lines(_file(data, at), ({"prompt": prompt, "answer": gold} for prompt, gold in pairs))
    path = out / "recipe.trl.yaml"
    content = _training(settings, base=base, data=data) | {"ppx": _block(material, settings, data)}
    _write(path, str(yaml.safe_dump(content, sort_keys=False)))
    return path


def _training(settings: Settings, *, base: Path, data: Path) -> Json:
    return {
        "model_name_or_path": str(base),
        "dtype": "float32",
        "use_peft": True,
        "lora_r": settings.lora_rank,
        "lora_alpha": settings.lora_alpha,
        "lora_dropout": 0.0,
        "lora_target_modules": "all-linear",
        "dataset_name": str(data / "train.jsonl"),
        "max_length": settings.max_length,
        "assistant_only_loss": True,
        "num_train_epochs": settings.epochs,
        "per_device_train_batch_size": settings.batch_size,
        "learning_rate": settings.learning_rate,
        "lr_scheduler_type": "cosine",
        "warmup_steps": settings.warmup_steps,
        "bf16": False,
        "use_cpu": True,
        "gradient_checkpointing": False,
        "dataloader_pin_memory": False,
        "save_strategy": "no",
        "logging_steps": 25,
        "report_to": "none",
        "disable_tqdm": True,
    }


def _block(material: Material, settings: Settings, data: Path) -> Json:
    target = next(task for task in material.tasks if task.target)
    # Its own trial of what is faster takes longer than so small a model needs.
    engine = {"use": "transformers", "batch_size": BUILD_BATCH, "batching": "padded"}
    return {
        # S3FT as a recipe would ask for it: greedy, judged as the target is graded.
        "build": {
            "use": "s3ft",
            "max_new_tokens": target.max_new_tokens,
            "judge": dict(target.judge),
            "generator": engine,
        },
        "mask": {"use": "stm", "ppl_threshold": settings.ppl_threshold},
        "eval": {"suites": [*_suites(material, settings, data)]},
    }


def _suites(material: Material, settings: Settings, data: Path) -> Iterable[Json]:
    for longest in dict.fromkeys(task.max_new_tokens for task in material.tasks):
        tasks = {
            task.name: {
                "path": str(_file(data, at)),
                "judge": dict(task.judge),
                **({"target": True} if task.target else {}),
            }
            for at, task in enumerate(material.tasks)
            if task.max_new_tokens == longest
        }
        shape = {"max_new_tokens": longest, "batch_size": settings.test_batch}
        yield {"use": "tasks", "tasks": tasks, **shape}
    texts = {"gold": {"path": str(data / "held_out.jsonl")}}
    yield {"use": "perplexity", "tasks": texts}


def _file(data: Path, at: int) -> Path:
    return data / f"task-{at}.jsonl"


def _lines(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    _write(path, "".join(json.dumps(row) + "\n" for row in rows))


def _write(path: Path, text: str) -> None:
    # What is as it was keeps its time, by which a run that goes on knows it.
    if not path.is_file() or path.read_text(encoding="utf-8") != text:
        write_text(path, text)
