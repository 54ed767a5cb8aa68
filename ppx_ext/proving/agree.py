"""Whether the two files of a pair train the same: the same block, and the same hyper-parameters.

Keys that are left out count with the host's own default, as a difference there is one all the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeAlias

from ppx_ext.hosts.axolotl_doctor import Finding

Settings: TypeAlias = Mapping[str, Any]
Reader: TypeAlias = Callable[[Settings], Any]


def disagreements(trl: Settings, axolotl: Settings) -> Iterator[Finding]:
    """One error for each thing in which the pair differs, under TRL's key and Axolotl's."""
    if trl.get("ppx") != axolotl.get("ppx"):
        yield _differ("ppx", "ppx", "the `ppx:` blocks", trl.get("ppx"), axolotl.get("ppx"))
    for what, (trl_key, of_trl), (axolotl_key, of_axolotl) in _PAIRS:
        ours, theirs = of_trl(trl), of_axolotl(axolotl)
        if ours != theirs:
            yield _differ(trl_key, axolotl_key, what, ours, theirs)


def _differ(trl_key: str, axolotl_key: str, what: str, ours: Any, theirs: Any) -> Finding:
    return Finding(
        level="error",
        where=trl_key if trl_key == axolotl_key else f"{trl_key} | {axolotl_key}",
        message=f"{what} of the pair differ: {ours!r} for TRL, {theirs!r} for Axolotl. Give both "
        "files the same.",
    )


def _key(name: str, default: Any = None) -> tuple[str, Reader]:
    return name, lambda settings: _plain(settings.get(name, default))


def _plain(value: Any) -> Any:
    """YAML reads 2e-5 as a text, which both hosts take for the number."""
    if isinstance(value, str):
        try:
            return float(value)
        except ValueError:
            return value
    return float(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _batch(settings: Settings, size: str, default: int) -> Any:
    found = [_plain(settings.get(size, default))]
    found.append(_plain(settings.get("gradient_accumulation_steps", 1)))
    # What is no number is told of the file itself.
    return found[0] * found[1] if all(isinstance(one, float) for one in found) else found


def _kind_trl(settings: Settings) -> str:
    if not settings.get("use_peft"):
        return "full"
    bits = "4" if settings.get("load_in_4bit") else "8" if settings.get("load_in_8bit") else ""
    return ("DoRA" if settings.get("use_dora") else "LoRA") + (f", {bits} bit" if bits else "")


def _kind_axolotl(settings: Settings) -> str:
    if not settings.get("adapter"):
        return "full"
    bits = "4" if settings.get("load_in_4bit") else "8" if settings.get("load_in_8bit") else ""
    return ("DoRA" if settings.get("peft_use_dora") else "LoRA") + (f", {bits} bit" if bits else "")


def _modules_trl(settings: Settings) -> Any:
    found = settings.get("lora_target_modules")
    return _modules(found) if settings.get("use_peft") else None


def _modules_axolotl(settings: Settings) -> Any:
    found = "all-linear" if settings.get("lora_target_linear") else None
    return _modules(settings.get("lora_target_modules") or found) if _adapted(settings) else None


def _modules(found: Any) -> Any:
    if isinstance(found, list | tuple) and len(found) == 1:
        return found[0]
    return sorted(found) if isinstance(found, list | tuple) else found


def _adapted(settings: Settings) -> bool:
    return bool(settings.get("adapter") or settings.get("use_peft"))


def _of_adapter(name: str, default: Any) -> tuple[str, Reader]:
    return (
        name,
        lambda settings: _plain(settings.get(name, default)) if _adapted(settings) else None,
    )


def _warmup_trl(settings: Settings) -> Any:
    return _warmup(settings) or 0.0


def _warmup_axolotl(settings: Settings) -> Any:
    return _warmup(settings, "Axolotl's own default, 3 % and at most 100 steps")


def _warmup(settings: Settings, default: Any = None) -> Any:
    """Steps; or a share, as TRL writes ``warmup_steps: 0.1`` or ``warmup_ratio: 0.1``."""
    for name in ("warmup_steps", "warmup_ratio"):
        if settings.get(name) is not None:
            return _plain(settings[name])
    return default


def _precision(settings: Settings) -> str:
    return "bf16" if settings.get("bf16") is True else "fp16" if settings.get("fp16") else "fp32"


def _precision_trl(settings: Settings) -> str:
    return _precision({"bf16": True, **settings})  # TRL's own default


def _optimiser(name: str) -> tuple[str, Reader]:
    # Names of one update rule: fused or not, its numbers are the same but for rounding.
    alike = {"adamw_bnb_8bit": "adamw_8bit", "adamw_torch_fused": "adamw_torch"}
    return name, lambda settings: alike.get(
        found := settings.get(name) or "adamw_torch_fused", found
    )


def _attention(settings: Settings) -> str:
    return str(settings.get("attn_implementation") or "sdpa")  # transformers' own choice


def _data_trl(settings: Settings) -> list[str]:
    mixed = [entry.get("path") for entry in settings.get("datasets") or ()]
    return [_place(name) for name in (settings.get("dataset_name"), *mixed) if name]


def _data_axolotl(settings: Settings) -> list[str]:
    return [_place(entry.get("path")) for entry in settings.get("datasets") or ()]


def _place(name: Any) -> str:
    """The folder of a file of training rows, which TRL names; a hub id as it is."""
    folder, _, file = str(name).rpartition("/")
    return folder if file.startswith("train.") else str(name)


_PAIRS: tuple[tuple[str, tuple[str, Reader], tuple[str, Reader]], ...] = (
    ("models", _key("model_name_or_path"), _key("base_model")),
    ("data", ("dataset_name", _data_trl), ("datasets", _data_axolotl)),
    ("kinds of training", ("use_peft", _kind_trl), ("adapter", _kind_axolotl)),
    ("ranks", _of_adapter("lora_r", 16), _of_adapter("lora_r", None)),
    ("alphas", _of_adapter("lora_alpha", 32), _of_adapter("lora_alpha", None)),
    ("adapters' dropouts", _of_adapter("lora_dropout", 0.05), _of_adapter("lora_dropout", 0.0)),
    (
        "adapted modules",
        ("lora_target_modules", _modules_trl),
        ("lora_target_linear", _modules_axolotl),
    ),
    ("learning rates", _key("learning_rate", 2e-5), _key("learning_rate")),
    ("epochs", _key("num_train_epochs", 3.0), _key("num_epochs", 1.0)),
    ("numbers of steps", _key("max_steps"), _key("max_steps")),
    (
        "effective batches (of one device)",
        (
            "per_device_train_batch_size x gradient_accumulation_steps",
            lambda settings: _batch(settings, "per_device_train_batch_size", 8),
        ),
        (
            "micro_batch_size x gradient_accumulation_steps",
            lambda settings: _batch(settings, "micro_batch_size", 1),
        ),
    ),
    ("maximal lengths", _key("max_length", 1024), _key("sequence_len", 512)),
    ("packings", _key("packing", False), _key("sample_packing", False)),
    ("schedulers", _key("lr_scheduler_type", "linear"), _key("lr_scheduler", "cosine")),
    ("warm-ups", ("warmup_steps", _warmup_trl), ("warmup_steps", _warmup_axolotl)),
    ("weight decays", _key("weight_decay", 0.0), _key("weight_decay", 0.0)),
    ("optimisers", _optimiser("optim"), _optimiser("optimizer")),
    ("precisions", ("bf16", _precision_trl), ("bf16", _precision)),
    ("attentions", ("attn_implementation", _attention), ("attn_implementation", _attention)),
    ("seeds", _key("seed", 42), _key("seed", 42)),
)
