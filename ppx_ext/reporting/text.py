"""Numbers and sentences as they stand in a page."""

from __future__ import annotations

import re
from typing import Any

_BRACKETS = r"(\((?:[^()]|\([^()]*\))*\))"
_EXACT = 9
"""Digits that are there beyond doubt: a mean of 1.25 is not to be read once as 1.2, once as 1.3."""


def visible(text: str) -> str:
    """A token's text with blanks shown by a sign and line breaks by their escapes."""
    signs = {" ": "␣", "\r": "\\r", "\n": "\\n", "\t": "\\t"}
    return "".join(signs.get(character, character) for character in text)


def prose(sentence: str) -> str:
    """A sentence as HTML: escaped, its figures kept whole, `code` as code, brackets in grey."""
    from markupsafe import Markup, escape

    text = str(escape(sentence)).replace(" %", "\N{NO-BREAK SPACE}%")
    text = re.sub(r"(?<![\w.])-(?=\d)", "\N{MINUS SIGN}", text)
    text = re.sub(r"`([^`]+)`", r"<code>\1</code>", text)
    return Markup(re.sub(_BRACKETS, r'<span class="soft">\1</span>', text))


def plain(value: Any) -> str:
    """A number with as many digits as it is worth; other values as they are."""
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: "-"}[value]
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def signed(value: float, digits: int = 1) -> str:
    """A change with its sign, a true minus, and none where nothing is left of it."""
    rounded = round(round(value, _EXACT), digits) + 0.0
    return f"{rounded:{'+' if rounded else ''}.{digits}f}".replace("-", "\N{MINUS SIGN}")


def fixed(value: float, digits: int = 1) -> str:
    """A number with so many digits after the point, those of thousands parted."""
    return f"{round(round(value, _EXACT), digits) + 0.0:,.{digits}f}".replace("-", "\N{MINUS SIGN}")


def duration(seconds: float) -> str:
    """For instance ``8.1 s``, ``12 min`` or ``3.4 h``."""
    if seconds < 120:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def as_yaml(value: Any) -> str:
    """Settings as a recipe would write them; a text is left as it is."""
    import yaml

    if isinstance(value, str):
        return value.strip()
    return str(yaml.safe_dump(value, sort_keys=False, allow_unicode=True)).strip()
