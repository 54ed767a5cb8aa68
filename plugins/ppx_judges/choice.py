"""`choice`: the letter that a response claims, of a question with several choices."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import pydantic

from ppx_ext import Judge, Row, Verdict, one_by_one
from ppx_judges.shown import correct, shown, unknown, wrong

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"

_LETTER = r"(?:\\(?:text|textbf|mathrm|mathbf)\s*\{\s*+)?"
_LETTER += r"[\(\[*_\"'\u201c`$ ]*+([A-Z])(?![\w'\u2019])"
# "The answer is A dog", "the answer is I think": an article and a pronoun.
_LETTER += r"(?!(?<=[AI]) (?!because|since|as\b|for\b|which|while|not\b|but\b|with\b)[a-z])"
_CLAIMS = (
    # The word before it may be anything but "wrong": "the correct option here is", "Answer:".
    rf"(?i:(?<!wrong )(?<!incorrect )\b(?:answer|option|choice)\b[^.\n:]{{0,40}}?"
    rf"(?:\bis\b|\bwould be\b|:|=)[ \t]*+:?[*_ \t\n]*+(?:(?:option|choice|letter)[ \t]+)?)"
    rf"{_LETTER}",
    rf"\\(?:boxed|fbox)\s*\{{\s*+{_LETTER}",
    r"(?<![\w'\u2019])([A-Z])[\)\]*_.]*[ \t]+"
    r"(?i:is[ \t]+(?:the[ \t]+)?(?:correct|right|best|true)\b)",
)
_CLAIM = re.compile("|".join(f"(?:{claim})" for claim in _CLAIMS))
_AT_START = re.compile(r"\W*([A-Z])(?:[\)\].:*_]+(?!\w)|\s*$)")
_WRONG_BEFORE = re.compile(r"\b(?:wrong|incorrect|not|false)\b", re.IGNORECASE)


class ChoiceSettings(pydantic.BaseModel):
    """Settings of `choice`.

    Attributes:
        choices: column with the texts of the choices, in order, or with ARC's ``{"label": [...],
            "text": [...]}``. It lets a gold or a response be a choice's text.
        letters: how many letters there are, from A on, where no column says it.
        first_index: number of the first choice, where the gold is a number.
    """

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True)

    choices: str | None = None
    letters: int = pydantic.Field(default=10, ge=2, le=len(LETTERS))
    first_index: int = pydantic.Field(default=0, ge=0, le=1)


def judge(settings: ChoiceSettings, row: Row, response: str) -> Verdict:
    """CORRECT where the one letter that is claimed is the gold's.

    A response that claims nothing is wrong; of one that claims several letters it cannot be told
    which it means; without a gold that is one of the choices nothing can be told.
    """
    column = row.get(settings.choices) if settings.choices else None
    texts = choices_of(column)
    if settings.choices and not texts:
        return unknown(f"the column {settings.choices!r} holds no choices")
    letters = LETTERS[: len(texts) or settings.letters]
    labels = column.get("label") if isinstance(column, Mapping) else None
    if labels and row["gold"] in labels:
        gold: str | None = letters[list(labels).index(row["gold"])]
    else:
        gold = gold_letter(row["gold"], letters, texts, settings.first_index)
    if gold is None:
        return unknown(f"the gold {shown(str(row['gold']))} is none of the choices {letters}")
    claimed = claims(response, letters, texts)
    if not claimed:
        return wrong(f"no choice is claimed; the gold is {gold}")
    if len(claimed) > 1:
        return unknown(f"several choices are claimed: {', '.join(claimed)}; the gold is {gold}")
    words = f"claims {claimed[0]}, the gold is {gold}"
    return correct(words) if claimed[0] == gold else wrong(words)


def choices_of(column: Any) -> tuple[str, ...]:
    """The texts of a row's choices, in order."""
    found = column.get("text") if isinstance(column, Mapping) else column
    if isinstance(found, str) or not isinstance(found, Sequence):
        return ()
    return tuple(str(text) for text in found)[: len(LETTERS)]


def gold_letter(gold: Any, letters: str, texts: Sequence[str], first: int) -> str | None:
    """The gold as a letter: given as one, as a choice's text or number, or as a response."""
    if isinstance(gold, bool) or not isinstance(gold, str | int):
        return None
    written = str(gold).strip()
    of_text = _of_text(written, letters, texts)
    if of_text is not None:
        return of_text
    letter = re.fullmatch(r"\W*([A-Za-z])\W*", written)
    if letter:
        return letter[1].upper() if letter[1].upper() in letters else None
    if re.fullmatch(r"[0-9]{1,2}", written):
        at = int(written) - first
        return letters[at] if 0 <= at < len(letters) else None
    found = claims(written, letters, texts)
    return found[0] if len(found) == 1 else None


def claims(response: str, letters: str, texts: Sequence[str] = ()) -> list[str]:
    """The different letters that are claimed, in order.

    Those behind "the answer is", "Answer:", ``\\boxed`` and the like; else the letter with which
    the response begins; else the choice whose text it is.
    """
    found = []
    for match in _CLAIM.finditer(response):
        letter = next(group for group in match.groups() if group)
        if letter in letters and not _WRONG_BEFORE.search(match[0]):
            found.append(letter)
    if found:
        return list(dict.fromkeys(found))
    start = _AT_START.match(response)
    listed = len(re.findall(r"(?m)^[^\w\n]*[A-Z][).:]", response)) > 1
    if start and start[1] in letters and not listed:
        return [start[1]]
    said = re.split(r"(?i)\banswer\b[^.\n:]{0,40}?(?:\bis\b|:)", response)[-1]
    letter = _of_text(said, letters, texts)
    return [letter] if letter else []


def _of_text(text: str, letters: str, texts: Sequence[str]) -> str | None:
    wanted = _plain(text)
    found = [letter for letter, one in zip(letters, texts, strict=False) if _plain(one) == wanted]
    return found[0] if wanted and len(found) == 1 else None


def _plain(text: str) -> str:
    return " ".join(text.casefold().split()).strip(" .*_\"'`$")


CHOICE = Judge(
    name="choice",
    paper="arXiv 2502.08130",
    settings=ChoiceSettings,
    open=one_by_one(judge),
    version=lambda: "1",
    columns=lambda settings: (settings.choices,) if settings.choices else (),
)
