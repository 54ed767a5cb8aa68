"""TRL: a drop-in for `SFTTrainer`, arguments for a plain one, and recipes.

``from ppx_ext.hosts.trl import PpxSFTConfig, PpxSFTTrainer, sft_arguments``

Data of a recipe are read and tokenised by ppx_ext, in any form that users have them, so that
preparing, training and measuring have one truth; TRL then gets rows that are tokenised already.
`PpxSFTTrainer` on its own tokenises as `SFTTrainer` does.
"""

from __future__ import annotations

import copy
import gc
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ppx_ext import catalog as catalogs
from ppx_ext import plan as plans
from ppx_ext.effects import base_from_model, base_from_path
from ppx_ext.hosts import chosen, evaluated, left, trl_data, trl_order, trl_recipe
from ppx_ext.hosts.chosen import Order
from ppx_ext.hosts.trl_config import PpxScriptArguments, PpxSFTConfig
from ppx_ext.hosts.trl_trainer import PpxSFTTrainer
from ppx_ext.pipeline import Masked, Tokenized
from ppx_ext.rows import Fields

if TYPE_CHECKING:
    from datasets import Dataset
    from transformers import PreTrainedTokenizerBase as Tokenizer
    from trl import SFTConfig  # type: ignore[attr-defined]

    from ppx_ext.building import BuiltRows
    from ppx_ext.readers import Source

__all__ = [
    "PpxSFTConfig",
    "PpxSFTTrainer",
    "PpxScriptArguments",
    "Tokenized",
    "built",
    "sft_arguments",
    "tokenized",
    "train",
    "trainer_of",
]


def tokenized(recipe: str | Path, data: str | None = None, model: str | None = None) -> Tokenized:
    """Tokenise a recipe's training rows as `train` does; no model is loaded, but by a builder.

    Args:
        recipe: a YAML file.
        data: read this file, folder or hub id instead.
        model: start from this base instead.

    Raises:
        ValueError: the recipe is wrong, or its data cannot be used.
    """
    found = trl_recipe.read(recipe, data=data, model=model, anywhere=True)
    return trl_recipe.tokens_of_recipe(found)


def built(
    recipe: str | Path,
    *,
    data: str | None = None,
    model: str | None = None,
    out: Path | None = None,
    rows: int | None = None,
    command: str = "",
) -> BuiltRows:
    """Build a recipe's training rows, as `train` does before it trains.

    Args:
        recipe: a YAML file with a `build:` stage.
        data: read this file, folder or hub id instead.
        model: let this base answer instead.
        out: build here, and not beside the scores, where `train` looks for built rows.
        rows: build only so many, from the first on.
        command: for the card: what a reader can run to have the same.

    Raises:
        ValueError: the recipe is wrong, or its data cannot be used.
    """
    found = trl_recipe.read(recipe, data=data, model=model, anywhere=True)
    return trl_recipe.built_rows(found, out, max_rows=rows, command=command)


def train(
    recipe: str | Path,
    *,
    data: str | None = None,
    model: str | None = None,
    out: str | Path | None = None,
) -> Any:
    """Train a recipe, save the result to its output folder, and return the trainer.

    Works as it is under `accelerate launch` and `torchrun`, whose processes part at the end.

    Args:
        recipe: a YAML file.
        data: train on this file, folder or hub id instead.
        model: start from this base instead.
        out: write to this folder instead.

    Raises:
        ValueError: the recipe is wrong, or its data cannot be used.
    """
    found = trl_recipe.read(recipe, data=data, model=model, out=out)
    trainer = trainer_of(found)
    trainer.add_callback(left.LogCallback())
    if trainer.is_world_process_zero():
        left.recipe(Path(found.args.output_dir), recipe, data=data, model=model, out=out)
    trainer.train(resume_from_checkpoint=found.args.resume_from_checkpoint)
    trainer.save_model(found.args.output_dir)
    if found.args.push_to_hub:
        trainer.push_to_hub(dataset_name=found.script.dataset_name)
    _part(trainer)
    return trainer


def _part(trainer: Any) -> None:
    """End the process groups: one left can abort the exit.

    DDP's wrapper goes first. One that outlives its groups joins gloo's threads while it holds the
    interpreter's lock, and such a thread that still waits for that lock never ends.
    """
    from torch.nn.parallel import DistributedDataParallel

    # A process that leaves while another still talks to it makes that one wait for ever.
    trainer.accelerator.wait_for_everyone()
    if isinstance(trainer.model_wrapped, DistributedDataParallel):
        trainer.model_wrapped = trainer.model
        trainer.accelerator.free_memory()
    trainer.accelerator.end_training()


def trainer_of(recipe: trl_recipe.Recipe) -> Any:
    """The trainer that `train` runs; what asks or scores the base is done, and the base freed."""
    from transformers import set_seed
    from trl import get_peft_config  # type: ignore[attr-defined]

    evaluated.check(recipe.plan)
    args = recipe.args
    _ = args.device  # gives each process its own device before anything is loaded
    train_rows, eval_rows, tokenizer, masked = _masked(recipe)
    gc.collect()
    args.model_init_kwargs = recipe.init
    args.assistant_only_loss = False  # the rows' labels say it already; TRL would ask for chats
    # TRL 1.9 leaves the adapter's first weights to what was drawn before.
    set_seed(args.seed)
    return PpxSFTTrainer(
        model=recipe.model.model_name_or_path,
        args=args,
        train_dataset=train_rows,
        eval_dataset=eval_rows,
        processing_class=tokenizer,
        quantization_config=trl_recipe.quantization_of(recipe),
        peft_config=get_peft_config(recipe.model),
        ppx_masked=masked,
    )


def _masked(recipe: trl_recipe.Recipe) -> tuple[Dataset, Dataset | None, Any, Masked]:
    found = trl_recipe.tokens_of_recipe(recipe)
    eval_rows = trl_recipe.eval_rows_of(recipe, found.tokenizer)
    masked = trl_data.prepare(found)
    _one_pass(recipe, chosen.order_of(masked.records))
    if eval_rows is not None and found.plan.mask_eval and found.plan.apply != "online":
        eval_rows = trl_data.mask_evaluation(found, eval_rows, masked.state)
    return masked.dataset, eval_rows, found.tokenizer, masked


def _one_pass(recipe: trl_recipe.Recipe, order: Order) -> None:
    """TRL's own default is three passes, over rows that may spell out several already."""
    if order.epochs > 1 and "num_train_epochs" not in recipe.given:
        recipe.args.num_train_epochs = 1


def sft_arguments(
    dataset: Source,
    *,
    model: Any,
    processing_class: Tokenizer,
    args: SFTConfig,
    ppx: dict[str, Any],
    fields: Fields | None = None,
    split: str = "train",
) -> dict[str, Any]:
    """Constructor arguments for a plain `SFTTrainer`: rows built, chosen and masked already.

    ``SFTTrainer(**sft_arguments(...), peft_config=...)`` works in every mode of TRL.

    Args:
        dataset: rows in any form that users have them (`readers.read_rows`).
        model: the base, as a path, hub id or loaded model; it is asked and scored here, before any
            adapter.
        processing_class: its tokenizer.
        args: `max_length`, packing and what is trained on are read from it.
        ppx: the `ppx` block: a builder, a sampler, a ``baked`` mask, or several of them.
        fields: names of columns; those that are not given are found.
        split: of a folder or hub id that has several.

    Raises:
        PlanError: the block is wrong, or asks for what a plain `SFTTrainer` cannot do.
        ValueError: the rows cannot be used.
    """
    catalog = catalogs.load()
    plan = _plan_for_plain(ppx, catalog)
    is_path = isinstance(model, str)
    base = base_from_path(model, scoring=plan.scoring) if is_path else base_from_model(model)
    found = trl_data.tokens_of_training(
        dataset,
        processing_class,
        args,
        plan,
        catalog,
        base,
        fields=fields or Fields(),
        split=split,
    )
    masked = trl_data.prepare(found)
    order = chosen.order_of(masked.records)
    trl_order.refuse(order, args)
    plain = copy.copy(args)
    plain.assistant_only_loss = False
    if order.ordered:
        plain.train_sampling_strategy = "sequential"
    if hasattr(plain, "ppx"):
        plain.ppx = None
    return {
        "model": model,
        "args": plain,
        "train_dataset": masked.dataset.select_columns(["input_ids", "labels"]),
        "processing_class": processing_class,
    }


def _plan_for_plain(ppx: dict[str, Any], catalog: catalogs.Catalog) -> plans.Plan:
    """The block as a plan that a plain `SFTTrainer` can carry out."""
    plan = plans.parse(ppx, catalog)
    if not (plan.mask or plan.build or plan.choose):
        raise plans.PlanError(
            ["ppx: name a mask, a builder or a sampler (`choose`); or use PpxSFTTrainer"]
        )
    if plan.apply != "baked" or plan.mask_eval or plan.eval or plan.kl:
        raise plans.PlanError(
            ["ppx: a plain SFTTrainer takes baked training masks only; use PpxSFTTrainer"]
        )
    return plan
