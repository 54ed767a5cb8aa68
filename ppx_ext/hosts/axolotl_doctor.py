"""What Axolotl would hide of a recipe: dropped keys, dropped plugins, untrained ends of turns."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args, get_origin

from ppx_ext import catalog as catalogs
from ppx_ext import recipes, tokens
from ppx_ext.contracts import IGNORE
from ppx_ext.hosts import axolotl_config, chosen, evaluated

if TYPE_CHECKING:
    import pydantic
    from axolotl.utils.dict import DictDefault


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One thing seen: ``error`` = our part would not be active, or not as asked."""

    level: Literal["ok", "warning", "error"]
    where: str
    message: str


def diagnose(recipe: str | Path) -> list[Finding]:
    """Look at a recipe without training, without weights and without writing anything."""
    settings = recipes.load(recipe).settings
    return [
        *plugin(settings),
        *_block(settings),
        *unknown_keys(settings),
        *end_of_turn(settings),
    ]


def plugin(settings: Mapping[str, Any]) -> Iterator[Finding]:
    """Whether Axolotl would load the plugin at all."""
    if axolotl_config.PLUGIN in (settings.get("plugins") or ()):
        yield Finding(level="ok", where="plugins", message=f"{axolotl_config.PLUGIN} is listed")
        return
    yield Finding(
        level="error",
        where="plugins",
        message=f"{axolotl_config.PLUGIN} is not listed, so Axolotl would drop the "
        f"`{axolotl_config.BLOCK}:` block without a word. Add it to the list.",
    )


def _block(settings: Mapping[str, Any]) -> Iterator[Finding]:
    try:
        plan = axolotl_config.parse(settings, catalogs.load())
    except ValueError as error:
        problems = getattr(error, "problems", [str(error)])
        for problem in problems:
            where, _, message = str(problem).partition(": ")
            yield Finding(level="error", where=where, message=message)
        return
    if plan.choose is not None:
        yield Finding(level="ok", where="ppx.choose", message=chosen.described(plan))
    for level, said in evaluated.seen(plan):
        yield Finding(level=level, where="ppx.eval", message=said)
    if plan.mask is None:
        if not (plan.build or plan.choose):
            message = "no stage changes the data: this is a plain run"
            yield Finding(level="warning", where="ppx", message=message)
        return
    how = {"baked": "in the labels", "collator": "as batches are made", "online": "in each step"}
    yield Finding(
        level="ok",
        where="ppx.mask",
        message=f"{plan.mask.component.name}, {how[plan.apply]}: {plan.mask.dump()}",
    )


def unknown_keys(settings: Mapping[str, Any]) -> Iterator[Finding]:
    """Keys that Axolotl would drop, at every level that its schema knows."""
    from axolotl.utils.schemas.config import AxolotlConfigWCapabilities
    from axolotl.utils.schemas.datasets import SFTDataset

    known = [*_names(AxolotlConfigWCapabilities), axolotl_config.BLOCK, *_plugin_keys(settings)]
    yield from _dropped(settings, known, "")
    lists = () if settings.get("rl") else ("datasets", "test_datasets")
    for key, value in settings.items():
        field = AxolotlConfigWCapabilities.model_fields.get(key)
        models = [SFTDataset] if key in lists else _models(getattr(field, "annotation", None))
        yield from _below(value, models, key)


def _below(value: Any, models: list[type[pydantic.BaseModel]], where: str) -> Iterator[Finding]:
    """Keys that none of the models which may stand here knows, and so on further down."""
    if isinstance(value, list | tuple):
        for at, one in enumerate(value):
            yield from _below(one, models, f"{where}[{at}]")
    if not isinstance(value, Mapping) or not models:
        return
    if not any(model.model_config.get("extra") == "allow" for model in models):
        yield from _dropped(
            value, [name for model in models for name in _names(model)], where + "."
        )
    for key, inner in value.items():
        fields = [model.model_fields.get(key) for model in models]
        found = [one for field in fields for one in _models(getattr(field, "annotation", None))]
        yield from _below(inner, found, f"{where}.{key}")


def _models(annotation: Any) -> list[type[pydantic.BaseModel]]:
    """The models that a type names, in unions and lists too; none where any mapping may stand."""
    import pydantic

    if isinstance(annotation, type) and issubclass(annotation, pydantic.BaseModel):
        return [annotation]
    if get_origin(annotation) is dict or annotation is dict:
        return []
    return [model for part in get_args(annotation) for model in _models(part)]


def _dropped(found: Mapping[str, Any], known: Iterable[str], where: str) -> Iterator[Finding]:
    names = list(known)
    for key in sorted(set(found) - set(names)):
        near = difflib.get_close_matches(key, names, n=1)
        hint = f" Did you mean `{near[0]}`?" if near else ""
        message = f"Axolotl does not know this key and drops it without a word.{hint}"
        yield Finding(level="warning", where=f"{where}{key}", message=message)


def _names(model: type[pydantic.BaseModel]) -> list[str]:
    names = list(model.model_fields)
    for field in model.model_fields.values():
        choices = getattr(field.validation_alias, "choices", [field.validation_alias, field.alias])
        names += [choice for choice in choices if isinstance(choice, str)]
    return names


def _plugin_keys(settings: Mapping[str, Any]) -> list[str]:
    """Keys that other listed plugins bring."""
    from axolotl.integrations.base import load_plugin

    found: list[str] = []
    for name in settings.get("plugins") or ():
        if name == axolotl_config.PLUGIN:
            continue
        path = load_plugin(name).get_input_args()
        if path:
            module, _, model = path.rpartition(".")
            found += _names(getattr(__import__(module, fromlist=[model]), model))
    return found


def end_of_turn(settings: Mapping[str, Any]) -> Iterator[Finding]:
    """Whether training teaches the model to stop, seen on a chat of two turns."""
    chats = [e for e in settings.get("datasets") or () if e.get("type") == "chat_template"]
    if not chats:
        return
    try:
        cfg = _validated(settings)
        trained = [_trains_end(cfg, entry) for entry in cfg.datasets if entry.type in _CHAT]
    except Exception as error:
        yield Finding(
            level="warning",
            where="datasets",
            message="whether the end of a turn is trained was not checked: "
            f"{type(error).__name__}: {error}",
        )
        return
    for at, is_trained in enumerate(trained):
        yield _stop_finding(is_trained, f"datasets[{at}]")


_CHAT = ("chat_template",)


def _stop_finding(is_trained: bool, where: str) -> Finding:
    if is_trained:
        return Finding(level="ok", where=where, message="the end of each turn is trained")
    return Finding(
        level="warning",
        where=where,
        message="the token that ends a turn is not trained, so that the model may not learn to "
        "stop. Name it under `eot_tokens`, for instance `eot_tokens: [<end_of_turn>]` for Gemma.",
    )


def _validated(settings: Mapping[str, Any]) -> DictDefault:
    from axolotl.cli.config import prepare_plugins
    from axolotl.utils.config import normalize_cfg_datasets, validate_config
    from axolotl.utils.dict import DictDefault

    raw = DictDefault(dict(settings))
    prepare_plugins(raw)
    cfg = validate_config(raw)
    cfg.base_model_config = cfg.base_model_config or cfg.base_model
    cfg.tokenizer_config = cfg.tokenizer_config or cfg.base_model_config
    normalize_cfg_datasets(cfg)
    return cfg


def _trains_end(cfg: DictDefault, entry: DictDefault) -> bool:
    from axolotl.loaders import load_tokenizer
    from axolotl.prompt_strategies import load

    tokenizer = load_tokenizer(cfg)
    names = entry.message_property_mappings or {}
    role, content = names.get("role", "role"), names.get("content", "content")
    turns = [{role: "user", content: "Say hello."}, {role: "assistant", content: "Hello."}]
    strategy = load(entry.type, tokenizer, cfg, entry)
    found = strategy.tokenize_prompt({entry.field_messages or "messages": turns * 2})
    ends = tokens.end_of_turn_ids(tokenizer)
    last = [
        token
        for token, label in zip(found["input_ids"], found["labels"], strict=True)
        if label != IGNORE
    ]
    return any(token in ends for token in last)
