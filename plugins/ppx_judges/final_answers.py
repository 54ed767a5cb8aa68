"""The final answer of a response: what follows the last marker, such as ``####`` or ``\\boxed``."""

from __future__ import annotations

import re
from collections.abc import Sequence

from ppx_judges.expressions import LONGEST, is_prose

MARKERS = (
    r"####",
    r"\\(?:boxed|fbox)\b",
    r"\b(?:final[ \t]+)?answer\b[*_]*[ \t]*[:=]",
    r"\b(?:final[ \t]+)?answer\b(?:[ \t][^\n.:=]{0,60}?)??[ \t](?:is|equals|would be)\b",
    r"\bfinal[ \t]+answer\b[*_ \t]*$",
    r"^[ \t>]*[*_]*A[*_]*:(?=[ \t*_$£€\\(\[{]*[-+\u2212]?[ $£€]*[.0-9\\])",
)
"""Regular expressions that stand before a final answer; case plays no part, ``^`` and ``$`` are the
ends of a line. After one that ends in front of a brace, the answer is what the braces hold."""

_CALCULATOR = re.compile(r"<<[^<>\n]*>>")
_SENTENCE_END = re.compile(r"[.?](?=\s|$)|!$")
_BRACE = re.compile(r"(?<!\\)[{}]")
_DIGIT = re.compile(r"[0-9]")
_DECORATION = " \t\r\n*_`\"':"
_BLANK = re.compile(r"(?:[ \t\r*_`\"':$\[\]\\]*\n)*+[ \t\r*_`\"':]*")
_DENIAL = re.compile(
    r"\b(?:not?|none|never|cannot|neither|unknown|undefined|impossible|undetermined)\b|n['\u2019]t\b",
    re.IGNORECASE,
)


def compile_markers(markers: Sequence[str]) -> re.Pattern[str]:
    """One expression of all markers.

    Raises:
        ValueError: one is not a regular expression.
    """
    for marker in markers:
        try:
            re.compile(marker)
        except re.error as error:
            raise ValueError(f"{marker!r} is not a regular expression: {error}") from error
        if re.fullmatch(marker, ""):
            raise ValueError(f"{marker!r} matches nothing at all, which stands everywhere")
    return re.compile("|".join(f"(?:{marker})" for marker in markers), re.I | re.M)


def without_calculator(text: str) -> str:
    """GSM8K's calculator marks ``<<16-3=13>>`` left out."""
    return _CALCULATOR.sub("", text)


def final_answer(text: str, markers: re.Pattern[str]) -> str | None:
    """What stands behind the last marker, as written; None where there is none.

    A marker with no mathematics behind it ("The answer is correct, as we saw.") is passed over,
    unless it denies that there is an answer.
    """
    claims = []
    inside = 0
    for match in markers.finditer(text):
        if match.start() >= inside:
            claim, end = _behind(text, match.end())
            inside = end or 0
            claims.append(claim)
    return next((claim for claim in reversed(claims) if _says_something(claim)), None)


def _says_something(claim: str) -> bool:
    if not claim:
        return False
    return bool(_DIGIT.search(claim) or _DENIAL.search(claim)) or not is_prose(claim)


def _behind(text: str, start: int) -> tuple[str, int | None]:
    """What follows, and where the braces that hold it end."""
    while start < len(text) and text[start] in " \t":
        start += 1
    if text.startswith("{", start):
        end = _closing(text, start)
        # Braces that are never closed stay: an answer that was cut off can then not be read.
        return (
            (text[start : start + LONGEST], None) if end is None else (text[start + 1 : end], end)
        )
    return _line(text, start), None


def _closing(text: str, start: int) -> int | None:
    depth = 0
    for brace in _BRACE.finditer(text, start, min(len(text), start + LONGEST)):
        depth += 1 if brace[0] == "{" else -1
        if depth == 0:
            return brace.start()
    return None


def _line(text: str, start: int) -> str:
    """The rest of the line or, where that says nothing, the next line that says something."""
    blank = _BLANK.match(text, start)
    start = blank.end() if blank else start
    # Twice as long, so that what is cut off here is too long to be read as an answer.
    line = text[start : start + 2 * LONGEST].split("\n", 1)[0].strip(_DECORATION)
    return first_sentence(line) if line.strip("$[]\\ ") else ""


def first_sentence(text: str) -> str:
    """Up to the first mark that ends a sentence; within a line, `!` is a factorial."""
    return _SENTENCE_END.split(text, maxsplit=1)[0].strip()
