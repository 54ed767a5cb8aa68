"""A TRL recipe: its YAML with all of TRL's arguments, its tokenizer, its rows and its base."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ppx_ext import catalog as catalogs
from ppx_ext import pipeline
from ppx_ext import plan as plans
from ppx_ext.hosts import trl_data
from ppx_ext.hosts.trl_base import recipe_base
from ppx_ext.rows import Fields

if TYPE_CHECKING:
    from datasets import Dataset

    from ppx_ext.building import BuiltRows
    from ppx_ext.catalog import Catalog
    from ppx_ext.effects import Base
    from ppx_ext.plan import Plan
    from ppx_ext.readers import Source


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """A TRL YAML, parsed by TRL's own parser; ``given`` names the keys that it spells out."""

    script: Any
    args: Any
    model: Any
    mixture: Any
    plan: Plan
    catalog: Catalog
    data: str | None
    given: frozenset[str]

    @property
    def init(self) -> dict[str, Any]:
        """Keyword arguments with which TRL's own script loads the model."""
        own = {
            "revision": self.model.model_revision,
            "trust_remote_code": self.args.trust_remote_code,
            "attn_implementation": self.model.attn_implementation,
            "dtype": self.model.dtype,
        }
        return {**own, **(self.args.model_init_kwargs or {})}


def read(
    recipe: str | Path,
    *,
    data: str | None = None,
    model: str | None = None,
    out: str | Path | None = None,
    anywhere: bool = False,
) -> Recipe:
    """Parse a recipe with all of TRL's arguments.

    Args:
        recipe: a YAML file.
        data: train on this file, folder or hub id instead.
        model: start from this base instead.
        out: write to this folder instead.
        anywhere: the recipe is not trained here, so it need not fit this machine.

    Raises:
        ValueError: an unknown key (it is named), no model, no data, or a wrong `ppx:` block.
    """
    import torch
    import yaml
    from trl import DatasetMixtureConfig, ModelConfig, TrlParser  # type: ignore[attr-defined]

    from ppx_ext.hosts.trl_config import PpxScriptArguments, PpxSFTConfig

    kinds: Any = (PpxScriptArguments, PpxSFTConfig, ModelConfig, DatasetMixtureConfig)
    parser = TrlParser(kinds)
    changes = {"dataset_name": data, "model_name_or_path": model, "output_dir": out}
    flags = [part for k, v in changes.items() if v is not None for part in (f"--{k}", str(v))]
    if anywhere and not torch.accelerator.is_available():
        flags += ["--use_cpu", "true"]
    script, args, model_args, mixture = parser.parse_args_and_config(
        ["--config", str(recipe), *flags]
    )
    if data is not None:
        mixture.datasets = []
    _check(recipe, script, model_args, mixture)
    if args.ppx is None:
        raise plans.PlanError([f"ppx: {recipe} has no `ppx:` block; this would be a plain run"])
    catalog = catalogs.load()
    plan = plans.parse(args.ppx, catalog)
    return Recipe(
        script=script,
        args=args,
        model=model_args,
        mixture=mixture,
        plan=plan,
        catalog=catalog,
        data=data,
        given=frozenset(yaml.safe_load(Path(recipe).read_text(encoding="utf-8"))),
    )


def _check(recipe: Any, script: Any, model_args: Any, mixture: Any) -> None:
    if not model_args.model_name_or_path:
        raise ValueError(f"{recipe}: name the base model under `model_name_or_path`")
    if bool(mixture.datasets) == bool(script.dataset_name):
        raise ValueError(f"{recipe}: name the data under `dataset_name`, or under `datasets`")
    if script.dataset_streaming or mixture.streaming:
        raise ValueError(
            f"{recipe}: a recipe's data are read as a whole, so that they can be scored; remove "
            "`dataset_streaming` and `streaming`"
        )


def tokens_of_recipe(recipe: Recipe) -> pipeline.Tokenized:
    """The training rows of a recipe; no model is loaded, but by a builder."""
    split = recipe.script.dataset_train_split
    return trl_data.tokens_of_training(
        _source(recipe, split),
        load_tokenizer(recipe),
        recipe.args,
        recipe.plan,
        recipe.catalog,
        _base(recipe),
        fields=_fields(recipe),
        split=split,
    )


def built_rows(recipe: Recipe, out: Path | None = None, **given: Any) -> BuiltRows:
    """The training rows of a recipe in the model's own words; ``given`` goes to `building.build`.

    Raises:
        PlanError: the recipe has no `build:`.
    """
    if recipe.plan.build is None:
        raise plans.PlanError(["ppx.build: is not there; for instance `build: {use: s3ft}`"])
    split = recipe.script.dataset_train_split
    return trl_data.built_rows(
        _source(recipe, split),
        load_tokenizer(recipe),
        recipe.plan,
        recipe.catalog,
        _base(recipe),
        fields=_fields(recipe),
        split=split,
        out=out,
        **given,
    )


def quantization_of(recipe: Recipe) -> Any:
    """How TRL quantises the base of a recipe; None where it does not.

    Raises:
        ValueError: bitsandbytes is not installed.
    """
    from trl import get_quantization_config  # type: ignore[attr-defined]

    for key in ("load_in_4bit", "load_in_8bit"):
        if getattr(recipe.model, key) and importlib.util.find_spec("bitsandbytes") is None:
            raise ValueError(
                f"{key}: needs bitsandbytes, which is not installed here: "
                "pip install 'ppx-ext[quantization]'"
            )
    return get_quantization_config(recipe.model)


def _base(recipe: Recipe) -> Base:
    return recipe_base(
        recipe.model.model_name_or_path,
        init=recipe.init,
        quantization=quantization_of(recipe),
        plan=recipe.plan,
    )


def load_tokenizer(recipe: Recipe) -> Any:
    """The tokenizer as TRL sets it up from the recipe: end of sequence, padding, chat template.

    Raises:
        ValueError: ``chat_template_path`` is no file, or a token is not in the vocabulary.
    """
    from transformers import AutoTokenizer

    args = recipe.args
    tokenizer: Any = AutoTokenizer.from_pretrained(
        recipe.model.model_name_or_path,
        revision=recipe.init["revision"],
        trust_remote_code=args.trust_remote_code,
    )
    for name in ("eos_token", "pad_token"):
        token = getattr(args, name)
        if token is not None and token not in tokenizer.get_vocab():
            raise ValueError(f"{name} {token!r} is not in the vocabulary of the tokenizer")
        if token is not None:
            setattr(tokenizer, name, token)
    if args.chat_template_path is not None:
        template = Path(args.chat_template_path)
        if not template.is_file():
            raise ValueError(
                f"chat_template_path {args.chat_template_path!r} is no file. A template that comes "
                "from another model may add tokens to the base, which would then not be the "
                "untouched one: save the template to a .jinja file and name that"
            )
        tokenizer.chat_template = template.read_text(encoding="utf-8")
    return tokenizer


def _fields(recipe: Recipe) -> Fields:
    script = recipe.script
    return Fields(
        prompt=script.dataset_prompt_field,
        response=script.dataset_response_field,
        messages=script.dataset_messages_field,
    )


def _source(recipe: Recipe, split: str) -> Source:
    if recipe.mixture.datasets:
        from trl import get_dataset  # type: ignore[attr-defined]

        found: Source = get_dataset(recipe.mixture)[split]
        return found
    if recipe.script.dataset_config is not None:
        from datasets import load_dataset

        name, config = recipe.script.dataset_name, recipe.script.dataset_config
        return load_dataset(name, name=config, split=split)
    return str(recipe.script.dataset_name)


def eval_rows_of(recipe: Recipe, tokenizer: Any) -> Dataset | None:
    """The rows that the recipe evaluates on, tokenised, or None where it does not evaluate.

    They are never built: their loss stays that of the user's own golds.
    """
    args = recipe.args
    if args.eval_strategy == "no":
        return None
    if recipe.data is not None and Path(recipe.data).is_file():
        print(f"ppx: {recipe.data} is one file without splits, so nothing is evaluated on the way")
        args.eval_strategy, args.load_best_model_at_end = "no", False
        return None
    split = recipe.script.dataset_test_split
    rows = trl_data.tokens_of(
        _source(recipe, split),
        tokenizer,
        args,
        trl_data.of_evaluation(recipe.plan),
        recipe.catalog,
        fields=_fields(recipe),
        split=split,
    )
    return rows.dataset


def loading(settings: Mapping[str, Any]) -> dict[str, Any]:
    """How TRL loads and runs a recipe's model: ``dtype``, ``quantization`` and ``precision`` of
    `evaluating.models.Loading`."""
    from trl import ModelConfig, get_quantization_config  # type: ignore[attr-defined]

    known = {one.name for one in fields(ModelConfig)}
    model = ModelConfig(**{key: value for key, value in settings.items() if key in known})
    init = settings.get("model_init_kwargs") or {}
    quantization = init.get("quantization_config") or get_quantization_config(model)
    dtype = str(init.get("dtype") or model.dtype or "auto")
    half = settings.get("fp16")
    brain = settings.get("bf16", not half)  # TRL's own default
    precision = "bf16" if brain else "fp16" if half else None
    return {"dtype": dtype, "quantization": quantization, "precision": precision}
