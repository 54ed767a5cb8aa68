"""Text of tokens as pieces that can be shown safely: white space and control characters named."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass

_PIECES = re.compile(r" +|\t|\r|\n|[^ \t\r\n]+")
_KINDS = {" ": "space", "\t": "tab", "\r": "cr", "\n": "newline"}
_HIDDEN = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
_ZERO_WIDTH_JOINER = "\u200d"


@dataclass(frozen=True, kw_only=True, slots=True)
class Piece:
    """A stretch of text of one ``kind``: ``text``, ``space``, ``tab``, ``cr`` or ``newline``."""

    kind: str
    text: str


def pieces(text: str) -> list[Piece]:
    """Split a text into stretches of letters and of white space, and name what cannot be seen."""
    found = []
    for match in _PIECES.finditer(text):
        kind = _KINDS.get(match[0][0], "text")
        found.append(Piece(kind=kind, text=named(match[0]) if kind == "text" else match[0]))
    return found


def named(text: str) -> str:
    """The text with control, format and unassigned characters written out.

    A terminal would obey an escape sequence in the data, and a bidirectional override would show
    other text than the model sees.
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(_named(character) for character in text)


def _named(character: str) -> str:
    code = ord(character)
    if character == _ZERO_WIDTH_JOINER or unicodedata.category(character) not in _HIDDEN:
        return character
    return chr(0x2400 + code) if code < 0x20 else f"\u27e8U+{code:04X}\u27e9"
