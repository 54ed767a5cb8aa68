"""Gold text rewritten (`Mask.edit_text`) before Axolotl tokenises it.

The rewritten rows are saved, and the config points at them for as long as they are loaded. Where
the gold text of a data set type is not known, a row that an edit would change is an error.
"""

from __future__ import annotations

import functools
import shutil
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ppx_ext.examples import GOLD, SOURCE
from ppx_ext.files import fingerprint
from ppx_ext.hosts import axolotl_strategy

if TYPE_CHECKING:
    from axolotl.utils.dict import DictDefault

    from ppx_ext.plan import Plan

Edit = Callable[[str], str]
_PROBE = "a\r\nb\r c \t\n\u00a0d\u2028e  "


def edited_datasets(
    cfg: DictDefault, plan: Plan, root: Path, content: str, tokenizer: Any
) -> tuple[dict[str, Any], int]:
    """Changes of the config that point at edited rows, and how many rows were edited.

    Args:
        root: where edited rows are kept.
        content: hash of the data as it is.

    Raises:
        ValueError: text would have to change where it cannot be changed; the row is named.
    """
    edit = _edit_of(plan)
    if edit is None:
        return {}, 0
    changes: dict[str, Any] = {}
    total = 0
    for key, split in (("datasets", "train"), ("test_datasets", "test")):
        if cfg.get(key):
            found = [
                _edited(entry, split, edit, root, content, cfg, tokenizer)
                for entry in _entries(cfg[key])
            ]
            changes[key] = [entry for entry, _ in found]
            total += sum(rows for _, rows in found)
    return changes, total


def _edit_of(plan: Plan) -> Edit | None:
    mask = plan.mask
    if mask is None or mask.component.edit_text is None:
        return None
    edit = functools.partial(mask.component.edit_text, mask.settings)
    # Most settings edit nothing: then no row need be read.
    return None if edit(_PROBE) == _PROBE else edit


def _entries(configs: Iterable[Any]) -> list[Any]:
    from axolotl.utils.data.shared import datasets_with_name_generator

    return list(datasets_with_name_generator(list(configs)))


def _edited(
    entry: DictDefault,
    split: str,
    edit: Edit,
    root: Path,
    content: str,
    cfg: DictDefault,
    tokenizer: Any,
) -> tuple[Any, int]:
    from axolotl.utils.data.shared import load_dataset_with_config
    from axolotl.utils.dict import DictDefault as Dict

    rows = load_dataset_with_config(entry, cfg.hf_use_auth_token)
    if hasattr(rows, "values"):
        rows = rows[entry.split if entry.split in rows else split]
    rewrite = _rewriter(entry, rows, tokenizer)
    changed = {at: new for at, row in enumerate(rows) if (new := rewrite(row, edit, at)) != row}
    if not changed:
        return entry, 0
    name = fingerprint([content, dict(entry), sorted(changed.items())])
    _save(rows, changed, root / name)
    kept = {k: v for k, v in entry.items() if k not in ("data_files", "name", "revision", "split")}
    return Dict({**kept, "path": str(root / name)}), len(changed)


def _save(rows: Any, changed: Mapping[int, Any], folder: Path) -> None:
    from filelock import FileLock

    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{folder}.lock"):
        if folder.is_dir():
            return
        part = folder.with_suffix(".part")
        shutil.rmtree(part, ignore_errors=True)
        edited = rows.map(
            lambda row, at: changed.get(at, row), with_indices=True, load_from_cache_file=False
        )
        edited.save_to_disk(str(part))
        part.rename(folder)


Rewrite = Callable[[Mapping[str, Any], Edit, int], Mapping[str, Any]]


def _rewriter(entry: DictDefault, rows: Any, tokenizer: Any) -> Rewrite:
    if {"input_ids", "labels"} <= set(rows.features):
        return functools.partial(_refuse_tokens, entry.path, tokenizer)
    kind = entry.type if isinstance(entry.type, str) else ""
    base = kind.split(":")[0].split(".")[0]
    if kind == axolotl_strategy.TYPE or base == "chat_template":
        return functools.partial(_rewrite_chat, entry)
    if base == "input_output":
        return _rewrite_segments
    if base == "completion":
        return functools.partial(_rewrite_field, entry.field or "text")
    if base.startswith("alpaca"):
        return functools.partial(_rewrite_field, "output")
    if isinstance(entry.type, Mapping):
        return functools.partial(_rewrite_field, entry.type.get("field_output") or "output")
    return functools.partial(_refuse_unknown, entry.path, kind)


def _rewrite_field(field: str, row: Mapping[str, Any], edit: Edit, at: int) -> Mapping[str, Any]:
    text = row.get(field)
    return {**row, field: edit(text)} if isinstance(text, str) else row


def _rewrite_segments(row: Mapping[str, Any], edit: Edit, at: int) -> Mapping[str, Any]:
    segments = [
        {**segment, "text": edit(segment["text"])} if segment["label"] else segment
        for segment in row["segments"]
    ]
    return {**row, "segments": segments}


def _rewrite_chat(entry: Any, row: Mapping[str, Any], edit: Edit, at: int) -> Mapping[str, Any]:
    if row.get(SOURCE, GOLD) != GOLD:  # a builder has it from a model
        return row
    names = entry.message_property_mappings or {}
    role, content = names.get("role", "role"), names.get("content", "content")
    field = entry.field_messages or "messages"
    known = entry.roles or {"assistant": ["assistant", "gpt"]}
    role_of = {alias: name for name, aliases in known.items() for alias in aliases}
    trained = {role_of.get(name, name) for name in entry.roles_to_train or ["assistant"]}

    def turn_of(turn: Mapping[str, Any]) -> Mapping[str, Any]:
        gold = role_of.get(turn[role], turn[role]) in trained
        text = turn.get(content)
        return {**turn, content: edit(text)} if gold and isinstance(text, str) else turn

    return {**row, field: [turn_of(turn) for turn in row[field]]}


def _refuse_tokens(
    path: str, tokenizer: Any, row: Mapping[str, Any], edit: Edit, at: int
) -> Mapping[str, Any]:
    pairs = zip(row["input_ids"], row["labels"], strict=True)
    text = tokenizer.decode([token for token, label in pairs if label != -100])
    if edit(text) != text:
        raise ValueError(
            f"row {at} of {path}: the mask's settings would edit its text, but the data set is "
            "tokenised already. Edit the text before it is tokenised, or take the setting back "
            "(`normalize_newlines: false`)."
        )
    return row


def _refuse_unknown(
    path: str, kind: str, row: Mapping[str, Any], edit: Edit, at: int
) -> Mapping[str, Any]:
    for field, text in row.items():
        if isinstance(text, str) and edit(text) != text:
            raise ValueError(
                f"row {at}, field {field!r} of {path}: the mask's settings would edit gold text, "
                f"but which field of the type {kind!r} is gold is not known here. Edit the file "
                "itself, or take the setting back (`normalize_newlines: false`)."
            )
    return row
