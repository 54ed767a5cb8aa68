"""The final answer of a response: what follows the last marker, such as ``####`` or ``\\boxed``."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Sequence

from ppx_judges.expressions import LONGEST, is_prose

MARKERS = (
    r"^[ \t>#*_]*+answer\b[*_ \t]*$",
    # No heading, such as "#### 2. Sell the eggs" with text below it.
    r"####(?![ \t*_]*+[0-9]{1,2}[.):][ \t*_]+[a-z][^\n]{0,200}\n\s{0,20}\S)",
    r"<answer>",
    r"\\(?:boxed|fbox)\b",
    r"\b(?:final[ \t]+)?answer\b[*_]*[ \t]*[:=]",
    r"\b(?:final[ \t]+)?answer\b(?:[ \t][^\n.:=]{0,60}?)??[ \t](?:is|equals|would be)\b",
    r"\bfinal[ \t]+answer\b[*_ \t]*$",
    r"^[ \t>]*[*_]*A[*_]*:(?=[ \t*_$£€\\(\[{]*[-+\u2212]?[ $£€]*[.0-9\\])",
)
"""Regular expressions that stand before a final answer; case plays no part, ``^`` and ``$`` are the
ends of a line. After one that ends in front of a brace, the answer is what the braces hold."""

_CALCULATOR = re.compile(r"<<[^<>\n]*>>")
# Also where an end-of-text token or a closing tag begins; within a line, `!` is a factorial.
_SENTENCE_END = re.compile(r"\.+(?=\s|$|<)|\?|!$|<\||</|<(?:eos|end)")
_BRACE = re.compile(r"(?<!\\)[{}]")
_DIGIT = re.compile(r"[0-9]")
_DECORATION = " \t\r\n*_`\"':"
_BLANK = re.compile(r"(?:[ \t\r*_`\"':$\[\]\\]*\n)*+[ \t\r*_`\"':]*")
_DENIAL = re.compile(
    r"\b(?:not?|none|never|cannot|neither|unknown|undefined|impossible|undetermined)\b|n['\u2019]t\b",
    re.IGNORECASE,
)
_HEADING = re.compile(r"[^\W\d_]{3}")
_ITEM = re.compile(r"[0-9]{1,2}[.)][ \t]+\S")
_NOT_CLAIMED = re.compile(
    r"\b(?:incorrect|wrong|whether|if|unless|thought|suppose|assum(?:e|ed|ing)|"
    r"(?:students|people|one|you|they|some|many|others)(?: [a-z]+)? (?:think|say|believe|guess))"
    r"(?: that)?(?: (?:the|my|your|an?|this|final|correct))*[ \t*_]*\Z",
    re.IGNORECASE,
)
_TAKES_BACK = re.compile(
    r"[\s.!$*_\"')\]\\}]{0,20}(?:or\s|but wait|(?:no|nope)(?=[,.!:;]|\s+wait)|wait|"
    r"actually|sorry|oops|hmm|correction)\b",
    re.IGNORECASE,
)
_AS_WRONG = re.compile(r"\b(?:wrong|incorrect|mistake|not (?:right|correct))\b", re.IGNORECASE)
_SHOWN = 80
_MARKERS_READ = 1000
_NUMBER = re.compile(r"[0-9](?:[0-9,.]*[0-9])?")


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

    Passed over are: a marker with no mathematics behind it ("The answer is correct, as we saw."),
    unless it denies that there is an answer; a question ("Is the answer 5?"); what is told as
    another's or as wrong ("many think that the answer is"); a heading in words behind ``####``.
    An answer that the next words take back ("18. No, wait, it is 20.") is given with those words.
    """
    claims = []
    inside = 0
    # Of a text that repeats itself the end is enough, and what one marker costs is bounded.
    for match in deque(markers.finditer(text), maxlen=_MARKERS_READ):
        if match.start() >= inside:
            claim, end, inside = _behind(text, match.end())
            if _is_claimed(text, match.start()) and _says_something(match[0], claim):
                claims.append((claim, end))
    if not claims:
        return None
    claim, end = claims[-1]
    return claim if _stands(text, claim, end) else claim + text[end : end + _SHOWN]


def _is_claimed(text: str, start: int) -> bool:
    return _NOT_CLAIMED.search(text, max(0, start - 60), start) is None


def _says_something(marker: str, claim: str) -> bool:
    if not claim or claim.endswith("?"):
        return False
    if _DENIAL.search(claim):
        return True
    if marker.endswith("#") and _HEADING.match(claim):
        return not is_prose(claim)
    return bool(_DIGIT.search(claim)) or not is_prose(claim)


def _stands(text: str, claim: str, end: int) -> bool:
    """False where the next words take the claim back, and what follows ends with another number."""
    if not _TAKES_BACK.match(text, end):
        return True
    rest = text[end : end + 2 * LONGEST]
    numbers = _NUMBER.findall(rest)
    return numbers[-1:] == _NUMBER.findall(claim)[-1:] if numbers else not _AS_WRONG.search(rest)


def _behind(text: str, start: int) -> tuple[str, int, int]:
    """What follows, where it ends, and from where on another marker counts."""
    while start < len(text) and text[start] in " \t":
        start += 1
    if not text.startswith("{", start):
        return *_line(text, start), start
    end = _closing(text, start)
    # Braces that are never closed stay: an answer that was cut off can then not be read.
    if end is None:
        return text[start : start + 2 * LONGEST], start, start
    return text[start + 1 : end], end, end


def _closing(text: str, start: int) -> int | None:
    depth = 0
    for brace in _BRACE.finditer(text, start, min(len(text), start + LONGEST)):
        depth += 1 if brace[0] == "{" else -1
        if depth == 0:
            return brace.start()
    return None


def _line(text: str, start: int) -> tuple[str, int]:
    """The rest of the line or, where that says nothing, the next that does; and where it ends."""
    blank = _BLANK.match(text, start)
    begin = blank.end() if blank else start
    # Twice as long, so that what is cut off here is too long to be read as an answer.
    line = text[begin : begin + 2 * LONGEST].split("\n", 1)[0]
    # Of a list the first item is not the answer, and its number even less.
    item = "\n" in text[start:begin] and _ITEM.match(line)
    sentence = line if item else first_sentence(line)
    claim = sentence.strip(_DECORATION) if sentence.strip("$[]\\ ") else ""
    return claim, begin + len(sentence)


def first_sentence(text: str) -> str:
    """Up to the first mark that ends a sentence, with that mark if it is a question's."""
    end = _SENTENCE_END.search(text)
    if end is None:
        return text
    return text[: end.end() if end[0] == "?" else end.start()]
