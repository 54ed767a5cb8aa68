"""What a row's gold column may hold, and what stands behind a marker."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any


def golds_of(gold: Any) -> tuple[str, ...]:
    """All accepted golds: of a text or number, a list of them, or SQuAD's ``{"text": [...]}``.

    Empty where there is none, or where it is nothing of this kind.
    """
    if isinstance(gold, Mapping):
        gold = gold.get("text")
    if isinstance(gold, str | int | float) and not isinstance(gold, bool):
        gold = [gold]
    if not isinstance(gold, Sequence) or isinstance(gold, str | bytes):
        return ()
    if not all(isinstance(one, str | int | float) and not isinstance(one, bool) for one in gold):
        return ()
    return tuple(text for one in gold if (text := str(one)).strip())


def check_pattern(pattern: str | None) -> str | None:
    """The same pattern.

    Raises:
        ValueError: it is not a regular expression, or matches nothing at all.
    """
    if pattern is None:
        return None
    try:
        empty = re.search(pattern, "")
    except re.error as error:
        raise ValueError(f"not a regular expression: {error}") from error
    if empty:
        raise ValueError("it matches nothing at all, which stands everywhere")
    return pattern


def behind_last(text: str, pattern: str) -> str | None:
    """The rest of the line behind the last match, without blanks; None where there is no match."""
    matches = list(re.finditer(pattern, text, re.IGNORECASE | re.MULTILINE))
    if not matches:
        return None
    return text[matches[-1].end() :].split("\n", 1)[0].strip()
