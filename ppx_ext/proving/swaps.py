"""What a recipe must leave behind to run on a CPU, offline, in seconds: each change is told."""

from __future__ import annotations

import copy
import importlib.util
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ppx_ext.proving import items, published

MODEL, TUNED, OUT, PREPARED = "model", "tuned", "out", "prepared"
STEPS, LENGTH, NEW_TOKENS = 2, 512, 80

_EIGHT_BITS = ("8bit", "paged", "bnb", "torchao", "4bit")
_FLASH = ("flash", "flex", "xformers", "sage", "kernels")
_MISSING = object()


@dataclass
class Changes:
    """Settings that are being changed, and what was said about it.

    Attributes:
        settings: as they are by now.
        said: ``key: old -> new (why)``, in order.
        models: names of further models that the recipe asks for -> folders of their stand-ins.
    """

    settings: dict[str, Any]
    said: list[str] = field(default_factory=list)
    models: dict[str, str] = field(default_factory=dict)

    def put(self, key: str, value: Any, why: str, *, always: bool = True) -> None:
        """Set a key; said only where the recipe had another value."""
        old = self.settings.get(key, _MISSING)
        if old is _MISSING and not always:
            return
        self.settings[key] = value
        if old is not _MISSING and old != value:
            self.said.append(f"{key}: {_short(old)} -> {_short(value)} ({why})")

    def drop(self, key: str, why: str) -> None:
        """Take a key out."""
        if self.settings.get(key):
            self.said.append(f"{key}: {_short(self.settings[key])} -> nothing ({why})")
        self.settings.pop(key, None)

    def at_most(self, key: str, most: int, why: str) -> None:
        """Lower a number of the recipe's."""
        old = self.settings.get(key)
        if isinstance(old, int | float) and old > most:
            self.put(key, most, why)

    def value(self, key: str, is_meant: Callable[[str], bool], new: str, why: str) -> None:
        """Replace a text that says something which is not to be had here."""
        old = self.settings.get(key)
        if isinstance(old, str) and is_meant(old):
            self.put(key, new, why)


def of_trl(settings: Mapping[str, Any], attention: str) -> Changes:
    """A TRL recipe, changed.

    Args:
        settings: the recipe.
        attention: what the model's architecture runs with on a CPU.
    """
    change = Changes(copy.deepcopy(dict(settings)))
    change.put("model_name_or_path", MODEL, "a small random model of the same architecture")
    change.drop("model_revision", "of the same")
    change.put("dtype", "float32", "CPU")
    for key in ("bf16", "fp16", "tf32"):
        change.put(key, False, "CPU")
    change.settings["use_cpu"] = True
    _common(change, "optim", attention)
    for key in ("deepspeed", "fsdp", "fsdp_config", "accelerator_config", "parallelism_config"):
        change.drop(key, "one process")
    for key in ("use_liger_kernel", "torch_compile", "padding_free"):
        change.put(key, False, "needs a GPU", always=False)
    change.at_most("max_length", LENGTH, "made-up rows are short")
    change.at_most("per_device_train_batch_size", 2, "few rows")
    change.settings["per_device_eval_batch_size"] = 2
    change.put("report_to", "none", "offline")
    change.put("push_to_hub", False, "offline", always=False)
    change.settings["dataset_num_proc"] = None
    change.put("output_dir", OUT, "the smoke run's own folder")
    return change


def of_axolotl(settings: Mapping[str, Any], attention: str) -> Changes:
    """An Axolotl recipe, changed; arguments as of `of_trl`."""
    change = Changes(copy.deepcopy(dict(settings)))
    change.put("base_model", MODEL, "a small random model of the same architecture")
    change.drop("revision_of_model", "of the same")
    for key in ("bf16", "fp16", "tf32"):
        change.put(key, False, "CPU")
    _common(change, "optimizer", attention)
    for key in ("deepspeed", "fsdp", "fsdp_config", "fsdp_version", "dp_shard_size", "ddp_timeout"):
        change.drop(key, "one process")
    for key in ("flash_attention", "torch_compile", "liger_fused_linear_cross_entropy"):
        change.drop(key, "needs a GPU")
    for key in ("lora_mlp_kernel", "lora_qkv_kernel", "lora_o_kernel"):
        if settings.get("adapter"):
            change.put(key, False, "needs a GPU")
    for key in ("wandb_project", "wandb_entity", "hub_model_id", "mlflow_tracking_uri"):
        change.drop(key, "offline")
    ours = [name for name in settings.get("plugins") or () if str(name).startswith("ppx_ext.")]
    change.put("plugins", ours, "the others need a GPU")
    change.at_most("sequence_len", LENGTH, "made-up rows are short")
    change.at_most("micro_batch_size", 2, "few rows")
    change.settings |= {"dataset_num_proc": 1, "dataloader_pin_memory": False}
    change.put("dataset_prepared_path", PREPARED, "the smoke run's own folder")
    change.put("output_dir", OUT, "the smoke run's own folder")
    return change


def _common(change: Changes, optimiser: str, attention: str) -> None:
    eight_bits = lambda name: any(part in name for part in _EIGHT_BITS)  # noqa: E731
    change.value(optimiser, eight_bits, "adamw_torch", "needs a GPU")
    flash = lambda name: any(part in name for part in _FLASH)  # noqa: E731
    change.value("attn_implementation", flash, attention, "needs a GPU")
    if not change.settings.get("attn_implementation"):
        change.settings["attn_implementation"] = attention
    if importlib.util.find_spec("bitsandbytes") is None:
        for key in ("load_in_4bit", "load_in_8bit"):
            change.put(key, False, "bitsandbytes is not installed", always=False)
        change.value("adapter", lambda kind: kind == "qlora", "lora", "the same")
    change.at_most("gradient_accumulation_steps", 2, "few rows")
    change.put("max_steps", STEPS, "a smoke run")
    change.at_most("warmup_steps", 1, "a smoke run")
    for key in ("eval_steps", "save_steps"):
        change.at_most(key, STEPS, "a smoke run")
    change.settings["logging_steps"] = 1
    change.put("dataloader_num_workers", 0, "one process", always=False)
    if isinstance(change.settings.get("ppx"), Mapping):
        _block(change)


def _block(change: Changes) -> None:
    """The `ppx:` block: stages stay, what they would need of the outside goes."""
    block: dict[str, Any] = change.settings["ppx"]
    for name in ("build", "choose", "mask", "eval"):
        if isinstance(stage := block.get(name), dict):
            inner = Changes(stage)
            {"build": _build, "choose": _choose, "mask": _mask, "eval": _eval}[name](inner)
            change.said += [f"ppx.{name}.{line}" for line in inner.said]
            change.models |= inner.models
            block[name] = inner.settings
    rest = Changes(block)
    for key in ("scoring", "cache_dir"):
        rest.drop(key, "CPU, and the smoke run's own folder")
    change.said += [f"ppx.{line}" for line in rest.said]


def _build(stage: Changes) -> None:
    # pass_rate says `max_tokens` where the others say `max_new_tokens`.
    key = "max_tokens" if stage.settings.get("use") == "pass_rate" else "max_new_tokens"
    stage.put(key, NEW_TOKENS, "a smoke run")
    if stage.settings.get("use") in ("self_output", "pass_rate"):
        stage.put("samples", 2, "a smoke run")
    stage.put("fallback", "gold", "so that rows are left", always=False)
    stage.drop("generator", "the small model answers, in process")
    stage.settings["judge"] = _judge(stage, stage.settings.get("judge"))
    if stage.settings["judge"] is None:
        del stage.settings["judge"]


def _judge(stage: Changes, judge: Any) -> Any:
    """No model judges here; code is run where a sandbox is to be had."""
    if isinstance(judge, list):
        return [_judge(stage, one) for one in judge]
    use = judge.get("use") if isinstance(judge, Mapping) else judge
    if use == "code" and (why := items.no_sandbox()):
        stage.said.append(f"judge: code -> exact ({why})")
        return "exact"
    if use == "llm":
        stage.said.append("judge: llm -> exact (a small random model gives no verdicts)")
        return "exact"
    return judge


def _choose(stage: Changes) -> None:
    # A budget of a token or an example takes one row, and leaves out copies of the made-up ones.
    stage.at_most("max_examples", 1, "few rows")
    stage.at_most("max_tokens", LENGTH, "few rows")


def _mask(stage: Changes) -> None:
    if "tuned" in stage.settings:
        stage.put("tuned", TUNED, "another small model, which knows other rows")
    for key in ("scoring_model", "scores_from"):
        old = stage.settings.get(key)
        if isinstance(old, str) and published.of(old):
            stage.models[old] = folder = "scoring-" + old.rpartition("/")[2]
            stage.put(key, folder, "a small random model of that architecture")
    stage.drop("scoring_revision", "of the same")


def _eval(stage: Changes) -> None:
    if isinstance(stage.settings.get("suites"), list):
        found = [items.stand_in(suite) for suite in stage.settings["suites"]]
        stage.settings["suites"] = [suite for suite, _ in found]
        stage.said += [f"suites[{at}]: {why}" for at, (_, whys) in enumerate(found) for why in whys]
    else:
        own = ("every", "gate", "keep", "where")
        suite = {key: value for key, value in stage.settings.items() if key not in own}
        kept = {key: value for key, value in stage.settings.items() if key in own}
        made, whys = items.stand_in(suite)
        stage.settings = {**made, **kept}
        stage.said += whys
    every = stage.settings.get("every")
    if isinstance(every, int):
        stage.at_most("every", 1, "a smoke run")
    elif every is not None:
        stage.put("every", 1, "a smoke run")


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
