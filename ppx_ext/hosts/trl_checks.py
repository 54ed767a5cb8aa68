"""Modes of `SFTTrainer` in which a plan cannot be right: each with the reason and the mend."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ppx_ext.contracts import IGNORE
from ppx_ext.hosts import evaluated, trl_build
from ppx_ext.plan import Plan, PlanError

_REWRITES_BASE = ("pissa", "corda", "olora", "loftq", "lora_ga")
_BAKE = "Use `apply: baked`."
_ROWS_OF_A_MAP_BATCH = 1000


def refuse(plan: Plan, call: Mapping[str, Any], *, built: bool) -> None:
    """Check a plan against the arguments that `SFTTrainer` is about to be given.

    Args:
        plan: what the block asks for.
        call: the arguments.
        built: the training set is built already, if the plan has a builder.

    Raises:
        PlanError: modes in which the mask would be wrong or would not reach the loss; all of them.
    """
    evaluated.check(plan)
    to_build = trl_build.problems(call) if plan.build and not built else ()
    stages = (*_of_any(plan, call), *to_build, *_of_choice(plan, call), *_of_mask(plan, call))
    if problems := list(stages):
        raise PlanError(problems)


def _of_any(plan: Plan, call: Mapping[str, Any]) -> Iterator[str]:
    if plan.token_level_loss is not None:
        yield "ppx.token_level_loss: is Axolotl's; TRL always averages over tokens. Remove the key."

    if (
        (plan.mask or plan.choose)
        and call["args"].packing
        and call["args"].packing_strategy == "wrapped"
    ):
        yield from _of_wrapping(call["train_dataset"])


def _of_choice(plan: Plan, call: Mapping[str, Any]) -> Iterator[str]:
    from datasets import IterableDataset

    if not plan.choose:
        return
    if _has_images(call):
        yield "ppx.choose: rows with images cannot be measured; only text can. Remove the stage."
    if isinstance(call.get("train_dataset"), IterableDataset):
        yield (
            "ppx.choose: a streamed data set is never there as a whole, so that its rows cannot be "
            "compared. Load it without streaming."
        )
    if (call["args"].dataset_kwargs or {}).get("skip_prepare_dataset"):
        yield (
            "ppx.choose: `skip_prepare_dataset` skips the step in which rows are chosen. Remove "
            "it: rows that hold `input_ids` and `labels` are taken as they are anyway."
        )


def _has_images(call: Mapping[str, Any]) -> bool:
    rows = call.get("train_dataset")
    return rows is not None and bool({"image", "images"} & set(next(iter(rows), {})))


def _of_mask(plan: Plan, call: Mapping[str, Any]) -> Iterator[str]:
    from datasets import IterableDataset

    if not plan.mask:
        return
    if _has_images(call):
        yield "ppx.mask: rows with images cannot be scored; only text can. Remove the mask."
    if plan.apply != "online" and isinstance(call.get("train_dataset"), IterableDataset):
        yield (
            "ppx.mask: a streamed data set is never there as a whole, so it cannot be scored "
            "before training. Load it without streaming, or use `apply: online`."
        )
    yield from {"baked": _of_baked, "collator": _of_collator, "online": _of_online}[plan.apply](
        plan, call
    )


def _of_wrapping(dataset: Any) -> Iterator[str]:
    # TRL 1.9.0 repeats the first rows of a set in place of all later ones.
    rows = len(dataset) if hasattr(dataset, "__len__") else None
    if (rows is None or rows > _ROWS_OF_A_MAP_BATCH) and not _wraps_every_row():
        yield (
            "packing_strategy 'wrapped' of this TRL repeats the first 1000 rows in place of all "
            f"others ({rows or 'streamed'} rows here). Use `packing_strategy: bfd`, or a newer TRL."
        )


def _of_baked(plan: Plan, call: Mapping[str, Any]) -> Iterator[str]:
    if (call["args"].dataset_kwargs or {}).get("skip_prepare_dataset"):
        yield (
            "ppx.mask: `skip_prepare_dataset` skips the step in which labels are masked. Remove "
            "it: rows that hold `input_ids` and `labels` are taken as they are anyway."
        )


def _of_collator(plan: Plan, call: Mapping[str, Any]) -> Iterator[str]:
    args, where = call["args"], "ppx.mask.apply: collator"
    if args.packing:
        yield (
            f"{where} cannot be used with packing: TRL packs `input_ids` and `labels` only, so the "
            f"scores would be lost. {_BAKE}"
        )
    if args.padding_free:
        yield f"{where} cannot be used with `padding_free`: its collator is TRL's alone. {_BAKE}"
    if args.max_length is not None and args.truncation_mode == "keep_end":
        yield (
            f"{where} cannot be used with `truncation_mode: keep_end`: rows cut at their start no "
            f"longer align with their scores. {_BAKE}"
        )
    yield from _of_baked(plan, call)
    yield from _of_empty_windows(plan, args, where)


def _of_online(plan: Plan, call: Mapping[str, Any]) -> Iterator[str]:
    args, where = call["args"], "ppx.mask.apply: online"
    if call.get("peft_config") is None and not getattr(call["model"], "peft_config", None):
        yield (
            f"{where} needs an adapter: switched off, it gives the base. In full fine-tuning the "
            f"base is gone after the first step. {_BAKE[:-1]}, or give a `peft_config`."
        )
    if plan.mask_eval:
        yield f"{where} masks training batches only, so `mask_eval` has no effect. {_BAKE}"
    if args.packing and args.packing_strategy in ("wrapped", "bfd_split"):
        yield (
            f"{where} cannot be used with packing_strategy {args.packing_strategy!r}: documents "
            "are cut, and their tokens would be scored without what came before. Use "
            "`packing_strategy: bfd`, or `apply: baked`."
        )
    if args.max_length is not None and args.truncation_mode == "keep_end":
        yield (
            f"{where} cannot be used with `truncation_mode: keep_end`: tokens would be scored "
            f"without the text that was cut away. {_BAKE}"
        )
    yield from _of_empty_windows(plan, args, where)


def _of_empty_windows(plan: Plan, args: Any, where: str) -> Iterator[str]:
    if args.loss_type == "dft" and not _dft_survives_an_empty_step():
        yield (
            f"{where} cannot be used with `loss_type: dft` on this TRL: a step whose targets are "
            "all masked would turn every weight into NaN. Newer TRL does not; or use "
            "`apply: baked`, which drops rows without targets."
        )


def _dft_survives_an_empty_step() -> bool:
    """Whether TRL's DFT loss of a step without targets is a number: asked of TRL itself."""
    import torch
    from trl.trainer import sft_trainer

    dft_loss = getattr(sft_trainer, "dft_loss", None)
    if dft_loss is None:  # newer lines divide by at least one
        return True
    logits, labels = torch.zeros(1, 2, 3), torch.full((1, 2), -100)
    outputs = type("Outputs", (), {"logits": logits, "loss": None})()
    return bool(torch.isfinite(dft_loss(outputs, labels, torch.tensor(0))))


def refuse_sharding(plan: Plan, accelerator: Any) -> None:
    """Online scoring needs whole rows, and the whole model, on each device.

    Raises:
        PlanError: context or sequence parallelism cuts rows; FSDP or ZeRO-3 cuts the model.
    """
    if not plan.mask or plan.apply != "online":
        return
    parallelism = accelerator.parallelism_config
    if parallelism is not None and (
        parallelism.cp_enabled or getattr(parallelism, "sp_enabled", False)
    ):
        raise PlanError(
            [f"ppx.mask.apply: online scores whole rows; sequence parallelism cuts them. {_BAKE}"]
        )
    deepspeed = accelerator.state.deepspeed_plugin
    if accelerator.distributed_type == "FSDP" or (deepspeed and deepspeed.zero_stage == 3):
        raise PlanError(
            [f"ppx.mask.apply: online is not offered for sharded models (FSDP, ZeRO-3). {_BAKE}"]
        )


def refuse_rewritten_base(model: Any, peft_config: Any) -> None:
    """Some initialisations of an adapter change the base's own weights.

    Raises:
        PlanError: the base cannot be had back by switching such an adapter off.
    """
    configs = [peft_config, *(getattr(model, "peft_config", None) or {}).values()]
    for config in configs:
        init = getattr(config, "init_lora_weights", None)
        if isinstance(init, str) and init.startswith(_REWRITES_BASE):
            raise PlanError(
                [
                    f"ppx: init_lora_weights {init!r} rewrites the base's own weights, so the "
                    "untouched base can no longer be scored. Use another initialisation, or score "
                    "first (`ppx train`, `ppx prepare`, `sft_arguments`)."
                ]
            )


def _wraps_every_row() -> bool:
    from datasets import Dataset
    from trl import pack_dataset  # type: ignore[attr-defined]

    rows = _ROWS_OF_A_MAP_BATCH + 1
    probe = Dataset.from_dict({"input_ids": [[row] for row in range(rows)]})
    packed = pack_dataset(probe, 1, "wrapped")
    return len({row[0] for row in packed["input_ids"]}) == rows


def refuse_other_dtype(plan: Plan, model: Any) -> None:
    """A loaded model is scored as it is, so it cannot have another dtype than was asked for.

    Raises:
        PlanError: ``scoring.dtype`` names another one.
    """
    wanted = plan.scoring.dtype
    if wanted != "auto" and str(model.dtype) != f"torch.{wanted}":
        raise PlanError(
            [
                f"ppx.scoring.dtype: {wanted} is asked for, but the model is trained and scored in "
                f"{str(model.dtype).removeprefix('torch.')}. Leave it out, load the model so, or "
                "score on its own with `ppx prepare`."
            ]
        )


def refuse_deaf_collator(collator: Any, rows: list[Any]) -> None:
    """Some collators make labels of their own from the ids, and a mask would go unheard.

    Raises:
        PlanError: batches of one row each have more targets than the rows themselves.
    """
    kept = sum(label != IGNORE for row in rows for label in row["labels"][1:])
    batches = [collator([{name: row[name] for name in ("input_ids", "labels")}]) for row in rows]
    found = sum(int((batch["labels"][..., 1:] != IGNORE).sum()) for batch in batches)
    if found > kept:
        raise PlanError(
            [
                f"the data collator {type(collator).__name__} makes its own labels: {found} "
                f"targets in batches whose rows have {kept}, so the mask would be lost. Use one "
                "that keeps `labels`, such as TRL's own (leave data_collator out)."
            ]
        )
