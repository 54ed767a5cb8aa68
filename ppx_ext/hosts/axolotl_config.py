"""The `ppx:` block in an Axolotl config: found, checked, and refused where it cannot be right."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, TypeAlias

import pydantic

from ppx_ext import plan as plans

if TYPE_CHECKING:
    from ppx_ext.catalog import Catalog
    from ppx_ext.plan import Plan

BLOCK = "ppx"
PLUGIN = "ppx_ext.hosts.axolotl.PpxPlugin"


class PpxArgs(pydantic.BaseModel):
    """What Axolotl's schema must know of us: without a field of its own, a block is dropped.

    The block itself is checked, key by key, by `ppx_ext.plan.parse` before this is ever read.
    """

    ppx: dict[str, Any] | None = pydantic.Field(
        default=None, json_schema_extra={"description": "Stages of ppx-ext; see `ppx methods`."}
    )


def parse(cfg: Mapping[str, Any], catalog: Catalog) -> Plan:
    """The plan of a raw or validated config.

    Raises:
        PlanError: there is no block, or something in it is wrong; each problem has its key.
    """
    block = cfg.get(BLOCK)
    if block is None:
        raise plans.PlanError([missing(cfg)])
    plain = block.to_dict() if hasattr(block, "to_dict") else block
    plan = plans.parse(plain, catalog)
    if not any((plan.build, plan.choose, plan.mask, plan.eval, plan.kl)):
        raise plans.PlanError([f"{BLOCK}: names no stage; for instance `mask: {{use: stm}}`"])
    if problems := _refusals(cfg, plan):
        raise plans.PlanError(problems)
    return plan


def missing(cfg: Iterable[str]) -> str:
    """What to say where the plugin is listed and its block is not there."""
    near = difflib.get_close_matches(BLOCK, [str(key) for key in cfg], n=1, cutoff=0.6)
    hint = f" Did you mean `{BLOCK}` where the config says `{near[0]}`?" if near else ""
    return (
        f"{BLOCK}: the plugin {PLUGIN} is listed, but the config has no `{BLOCK}:` block, so this "
        f"would be a plain run.{hint} Add the block, or take the plugin off the list."
    )


def _refusals(cfg: Mapping[str, Any], plan: Plan) -> list[str]:
    """Modes in which the plan cannot be right, each with the reason and the mend."""
    found = []
    if plan.choose:
        found += [text for refused, text in _CHOOSE_REFUSALS if refused(cfg)]
    if plan.build:
        found += [text for refused, text in _BUILD_REFUSALS if refused(cfg)]
        found += _unbuildable(cfg)
    if plan.mask:
        found += [text for refused, text in _MASK_REFUSALS if refused(cfg)]
    if plan.mask and plan.apply == "online":
        found += [text for refused, text in _ONLINE_REFUSALS if refused(cfg)]
    return found


_Refusals: TypeAlias = tuple[tuple[Callable[[Mapping[str, Any]], Any], str], ...]

_MASK_REFUSALS: _Refusals = (
    (
        lambda cfg: cfg.get("streaming") or cfg.get("pretraining_dataset"),
        f"{BLOCK}.mask: a streamed data set (`streaming`, `pretraining_dataset`) is never there as "
        "a whole, so it cannot be scored before training. Remove `streaming: true`, or prepare "
        "the data with `ppx prepare` and name the result under `datasets:`.",
    ),
    (
        lambda cfg: cfg.get("rl") or cfg.get("reward_model") or cfg.get("process_reward_model"),
        f"{BLOCK}.mask: a mask takes tokens out of the loss of supervised fine-tuning; `rl` and "
        "reward models have another loss. Remove the mask, or train with plain SFT.",
    ),
    (
        lambda cfg: cfg.get("processor_type"),
        f"{BLOCK}.mask: rows with images or sound (`processor_type`) cannot be scored; only text "
        "can. Remove the mask.",
    ),
)

_CHOOSE_REFUSALS: _Refusals = (
    (
        lambda cfg: cfg.get("streaming") or cfg.get("pretraining_dataset"),
        f"{BLOCK}.choose: a streamed data set (`streaming`, `pretraining_dataset`) is never there "
        "as a whole, so that its rows cannot be compared. Remove `streaming: true`.",
    ),
    (
        lambda cfg: cfg.get("rl") or cfg.get("reward_model") or cfg.get("process_reward_model"),
        f"{BLOCK}.choose: measures are of responses in supervised fine-tuning; `rl` and reward "
        "models learn from pairs. Remove the stage, or train with plain SFT.",
    ),
    (
        lambda cfg: cfg.get("processor_type"),
        f"{BLOCK}.choose: rows with images or sound (`processor_type`) cannot be measured; only "
        "text can. Remove the stage.",
    ),
)

_BUILD_REFUSALS: _Refusals = (
    (
        lambda cfg: cfg.get("streaming") or cfg.get("pretraining_dataset"),
        f"{BLOCK}.build: a streamed data set (`streaming`, `pretraining_dataset`) is never there "
        "as a whole, so it cannot be built before training. Remove `streaming: true`, or run `ppx "
        "build` and name the result under `datasets:`.",
    ),
    (
        lambda cfg: cfg.get("rl") or cfg.get("reward_model") or cfg.get("process_reward_model"),
        f"{BLOCK}.build: a builder writes responses for supervised fine-tuning; `rl` and reward "
        "models learn from pairs. Remove it, or train with plain SFT.",
    ),
    (
        lambda cfg: cfg.get("processor_type") or cfg.get("tokenizer_use_mistral_common"),
        f"{BLOCK}.build: only text, under a chat template of the tokenizer, can be asked for; take "
        "`processor_type` and `tokenizer_use_mistral_common` out, or the builder.",
    ),
    (
        lambda cfg: cfg.get("chat_template_kwargs"),
        f"{BLOCK}.build: `chat_template_kwargs` are not heard when the model is asked, so that it "
        "would answer under another template than it is trained on. Write them into the template "
        "(`chat_template: jinja`).",
    ),
)

_OF_TURNS = ("message_field_training", "message_field_training_detail")


def _unbuildable(cfg: Mapping[str, Any]) -> list[str]:
    """Data sets that a builder cannot read, each with the mend."""
    found = []
    for at, entry in enumerate(cfg.get("datasets") or ()):
        where, kind = f"datasets[{at}]", entry.get("type")
        if kind != "chat_template":
            found.append(
                f"{where}.type: {kind!r} is no chat, and a builder asks the model in one. Use "
                "`type: chat_template` (with `field_messages` and `message_property_mappings`), "
                "or run `ppx build` on the file and name the result."
            )
        found += [
            f"{where}.{key}: speaks of the user's own turns, one of which a builder replaces. "
            "Remove the key, or the builder."
            for key in _OF_TURNS
            if entry.get(key)
        ]
    return found


_REWRITES_BASE = ("pissa", "corda", "olora", "loftq", "lora_ga")
_ONLINE_REFUSALS: _Refusals = (
    (
        lambda cfg: not cfg.get("adapter"),
        f"{BLOCK}.mask.apply: online needs an adapter: switched off, it gives the base. In full "
        "fine-tuning the base is gone after the first step. Use `apply: baked` or `adapter: lora`.",
    ),
    (
        lambda cfg: cfg.get("relora") or cfg.get("relora_steps"),
        f"{BLOCK}.mask.apply: online needs an untouched base, and ReLoRA merges the adapter into "
        "it. Use `apply: baked`.",
    ),
    (
        lambda cfg: str(cfg.get("peft_init_lora_weights") or "").startswith(_REWRITES_BASE),
        f"{BLOCK}.mask.apply: online needs an untouched base, and this `peft_init_lora_weights` "
        "rewrites the base's own weights. Use `apply: baked`.",
    ),
    (
        lambda cfg: (cfg.get("context_parallel_size") or 1) > 1,
        f"{BLOCK}.mask.apply: online scores whole rows, and `context_parallel_size` cuts them over "
        "devices. Use `apply: baked`.",
    ),
    (
        # Computed by Axolotl's schema, so that only a validated config has it.
        lambda cfg: cfg.get("sample_packing") and cfg.get("attn_decontaminates_packing") is False,
        f"{BLOCK}.mask.apply: online with `sample_packing` needs an attention that keeps the "
        "documents of a pack apart; with this `attn_implementation` they see each other in the "
        "training step, so that its base is not the base of each document. Set "
        "`attn_implementation: sdpa` (or eager, or flash_attention_2), or use `apply: baked`.",
    ),
)
