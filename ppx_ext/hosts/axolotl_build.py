"""The `build:` stage in Axolotl: its data sets in the model's own words, before it reads them."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ppx_ext.examples import SOURCE
from ppx_ext.hosts import axolotl_strategy
from ppx_ext.rows import Fields

if TYPE_CHECKING:
    from axolotl.utils.dict import DictDefault
    from datasets import Dataset

    from ppx_ext.building import BuiltRows
    from ppx_ext.catalog import Catalog
    from ppx_ext.contracts import StageRecord
    from ppx_ext.effects import Base
    from ppx_ext.plan import Plan

# What still holds of a data set once it is role and content under `messages`.
_KEPT = (
    "chat_template",
    "chat_template_jinja",
    "split_thinking",
    "template_thinking_key",
    "train_on_eos",
    "train_on_eot",
    "weight",
)
_THINKING = "reasoning_content"


def built_datasets(
    cfg: DictDefault, plan: Plan, catalog: Catalog, base: Base, tokenizer: Any, root: Path
) -> tuple[dict[str, Any], tuple[StageRecord, ...]]:
    """Changes of the config that point at built rows, and a record for each data set.

    What is evaluated on (``test_datasets``) is never built. Every process calls this at once; one
    of them builds.

    Args:
        root: where built rows are kept.

    Raises:
        ValueError: rows that cannot be built; the data set is named.
    """
    if plan.build is None:
        return {}, ()
    from axolotl.utils.dict import DictDefault as Dict

    entries, records = [], []
    for entry in entries_of(cfg):
        made = build(entry, cfg, plan, catalog, base, tokenizer, root)
        entries.append(Dict(_pointed_at(made.path, entry, cfg, tokenizer)))
        records.append(made.record)
    return {"datasets": entries}, tuple(records)


def build(
    entry: DictDefault,
    cfg: DictDefault,
    plan: Plan,
    catalog: Catalog,
    base: Base,
    tokenizer: Any,
    root: Path,
    **given: Any,
) -> BuiltRows:
    """The rows of one data set in the model's own words, under the template of that data set.

    A file that was built before, by the same settings, is taken as it is.
    """
    from axolotl.utils.chat_templates import get_chat_template_from_config

    from ppx_ext import building

    before = building.built_before(entry.path, plan, base)
    if before is not None:
        return before
    asked = copy.deepcopy(tokenizer)
    asked.chat_template = get_chat_template_from_config(cfg=cfg, ds_cfg=entry, tokenizer=tokenizer)
    path = Path(entry.path)
    built = path.is_file() and (path.parent / building.RECORD).is_file()
    return building.build(
        path if built else _chats(entry, cfg, tokenizer),
        plan=plan,
        catalog=catalog,
        base=base,
        tokenizer=asked,
        root=root,
        fields=Fields(messages="messages"),
        **given,
    )


def entries_of(cfg: DictDefault) -> list[Any]:
    """The data sets that are trained on, one by one."""
    from axolotl.utils.data.shared import datasets_with_name_generator
    from axolotl.utils.dict import DictDefault as Dict

    # Pieces of one data set, cut to spare memory, would be built as several.
    whole = [Dict({k: v for k, v in e.items() if k != "preprocess_shards"}) for e in cfg.datasets]
    return list(datasets_with_name_generator(whole))


def _pointed_at(path: Path, entry: Any, cfg: DictDefault, tokenizer: Any) -> dict[str, Any]:
    kept = {name: entry[name] for name in _KEPT if entry.get(name) is not None}
    return {
        **kept,
        "path": str(path),
        "ds_type": "parquet",
        "split": "train",
        "type": axolotl_strategy.TYPE,
        "field_messages": "messages",
        "field_thinking": entry.get("template_thinking_key") or _THINKING,
        "roles_to_train": _reader(entry, cfg, tokenizer).roles_to_train,
        axolotl_strategy.KEEP: [SOURCE],
    }


def _reader(entry: Any, cfg: DictDefault, tokenizer: Any) -> Any:
    """Axolotl's own reader of this data set's chats, which leaves each text whole."""
    from axolotl.prompt_strategies.chat_template import StrategyLoader

    return StrategyLoader()(tokenizer, cfg, ds_cfg={**entry, "split_thinking": False})


def _chats(entry: Any, cfg: DictDefault, tokenizer: Any) -> Dataset:
    """The user's rows with one more column, ``messages``, as Axolotl itself reads them."""
    from axolotl.utils.dict import remove_none_values

    reader = _reader(entry, cfg, tokenizer)
    rows = _load(entry, cfg)
    if "input_ids" in rows.column_names:
        raise ValueError(
            f"{entry.path}: the rows are tokenised already, and a builder reads text. Name the "
            "data set that they were made from, or take `build:` out."
        )

    def read(row: Mapping[str, Any]) -> dict[str, Any]:
        return {"messages": reader.get_conversation_thread(remove_none_values(dict(row)))}

    field = entry.get("field_messages") or "messages"
    return rows.map(read, remove_columns=[field], load_from_cache_file=False)


def _load(entry: Any, cfg: DictDefault) -> Dataset:
    from axolotl.utils.data.shared import load_dataset_with_config

    rows: Any = load_dataset_with_config(entry, cfg.hf_use_auth_token)
    if hasattr(rows, "values"):
        rows = rows[entry.split if entry.split in rows else "train"]
    if entry.shards:
        shuffled = rows.shuffle(seed=cfg.seed)
        rows = shuffled.shard(num_shards=entry.shards, index=entry.shards_idx or 0)
    found: Dataset = rows
    return found
