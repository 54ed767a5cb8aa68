"""The `build:` stage inside `PpxSFTTrainer`: its training set in the model's own words."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ppx_ext.contracts import StageRecord
from ppx_ext.examples import SOURCE
from ppx_ext.hosts import chosen, trl_data
from ppx_ext.rows import CHATS, Fields

if TYPE_CHECKING:
    from datasets import Dataset

    from ppx_ext.catalog import Catalog
    from ppx_ext.effects import Base
    from ppx_ext.plan import Plan

_PAIR = ("prompt", "completion")


def problems(call: Mapping[str, Any]) -> Iterator[str]:
    """Why the trainer's arguments leave a builder nothing that it could build."""
    from datasets import Dataset

    rows = call.get("train_dataset")
    before = "Build before there is a trainer: `ppx train`, `ppx build`, or `sft_arguments`."
    if not isinstance(rows, Dataset):
        yield f"ppx.build: needs a data set that is there as a whole, not a streamed one. {before}"
    elif "input_ids" in rows.column_names:
        yield f"ppx.build: the rows are tokenised already, and a builder reads text. {before}"
    elif _fields(rows.column_names) is None:
        yield (
            "ppx.build: the training set has no column `messages`, nor `prompt` and `completion`; "
            f"it has {', '.join(rows.column_names)}. Rename them. {before}"
        )
    if call.get("formatting_func") is not None:
        yield f"ppx.build: a `formatting_func` gives text in which no part is the gold. {before}"
    if getattr(call["model"], "peft_config", None):
        yield (
            "ppx.build: the model carries an adapter, so its words are not the base's. Give the "
            "base, and the adapter as `peft_config`."
        )
    for name in ("chat_template_path", "eos_token"):
        if getattr(call["args"], name, None) is not None:
            yield (
                f"ppx.build: `{name}` would change the tokenizer after the model has answered with "
                "it. Change the tokenizer yourself, and give it as `processing_class`."
            )


def build(call: dict[str, Any], plan: Plan, catalog: Catalog, base: Base) -> StageRecord:
    """Put built rows in the place of ``call["train_dataset"]``, in the form that it has.

    The loaded model that is given answers, before any adapter is put on it.

    Raises:
        ValueError: as the builder says.
    """
    from datasets import Dataset

    rows = call["train_dataset"]
    tokenizer = call.get("processing_class") or _tokenizer_of(call["model"])
    call["processing_class"] = tokenizer
    made = trl_data.built_rows(
        rows,
        getattr(tokenizer, "tokenizer", tokenizer),
        plan,
        catalog,
        base,
        fields=_fields(rows.column_names) or Fields(),
        split="train",
    )
    found = Dataset.from_parquet(str(made.path))
    own = (SOURCE, *chosen.columns_read(plan, catalog))
    call["train_dataset"] = _as_given(found, rows.column_names, own)
    return made.record


def _fields(columns: Sequence[str]) -> Fields | None:
    for name in CHATS:
        if name in columns:
            return Fields(messages=name)
    if all(name in columns for name in _PAIR):
        return Fields(prompt=_PAIR[0], response=_PAIR[1])
    return None


def _as_given(found: Dataset, given: Sequence[str], own: Sequence[str]) -> Dataset:
    """TRL trains on completions where there are some, and on whole chats else."""
    if "messages" not in found.column_names:
        return found.select_columns([*_PAIR, *own])
    found = found.select_columns(["messages", *own])
    if any(name in given for name in CHATS):
        return found
    return found.map(_split, remove_columns=["messages"])


def _split(row: Mapping[str, Any]) -> dict[str, Any]:
    return {"prompt": row["messages"][:-1], "completion": row["messages"][-1:]}


def _tokenizer_of(model: Any) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(model.config._name_or_path)
