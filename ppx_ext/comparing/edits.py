"""Recipes as nested mappings: merged, changed at one key, and held against each other."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from typing import Any

Json = dict[str, Any]


def merged(old: Mapping[str, Any], new: Mapping[str, Any]) -> Json:
    """``old`` with the keys of ``new``, mappings within mappings; null takes a key away."""
    found = copy.deepcopy(dict(old))
    for key, value in new.items():
        if value is None:
            found.pop(key, None)
        elif isinstance(value, Mapping):
            below = found.get(key)
            found[key] = merged(below if isinstance(below, Mapping) else {}, value)
        else:
            found[key] = copy.deepcopy(value)
    return found


def at(key: str, value: Any) -> Json:
    """``a.b.c`` and a value as nested mappings."""
    *outer, last = key.split(".")
    found: Json = {last: value}
    for name in reversed(outer):
        found = {name: found}
    return found


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """One line for each key that differs: ``ppx.mask.use: stm``, ``learning_rate: 0.1 -> 0.2``."""
    before, after = dict(_leaves(old)), dict(_leaves(new))
    lines = []
    for key in [*before, *(key for key in after if key not in before)]:
        if key not in after:
            lines.append(f"{key}: {before[key]!r} -> (none)")
        elif key not in before:
            lines.append(f"{key}: {after[key]!r}")
        elif before[key] != after[key]:
            lines.append(f"{key}: {before[key]!r} -> {after[key]!r}")
    return lines


def _leaves(values: Mapping[str, Any], where: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        if isinstance(value, Mapping) and value:
            yield from _leaves(value, f"{where}{key}.")
        else:
            yield f"{where}{key}", value
