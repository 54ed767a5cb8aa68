"""`exact`: the response, or what stands behind its marker, is the gold, character by character."""

from __future__ import annotations

import unicodedata

import pydantic

from ppx_ext import Judge, Row, Verdict, one_by_one
from ppx_judges.golds import behind_last, check_pattern, golds_of
from ppx_judges.shown import correct, shown, unknown, wrong


class ExactSettings(pydantic.BaseModel):
    """Settings of `exact`.

    Attributes:
        after: regular expression; what follows its last match, up to the end of the line, is
            compared (case plays no part in it). A gold without it is taken whole; a response
            without it is wrong. For instance ``####``, or ``the answer is``.
        strip: leave out blanks at both ends.
        strip_characters: leave out these characters at both ends too, for instance ``.!``.
        ignore_case: take capitals and small letters for the same.
        collapse_whitespace: take any run of blanks for one space.
    """

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True)

    after: str | None = None
    strip: bool = True
    strip_characters: str = ""
    ignore_case: bool = False
    collapse_whitespace: bool = False

    _check = pydantic.field_validator("after")(check_pattern)


def judge(settings: ExactSettings, row: Row, response: str) -> Verdict:
    """CORRECT where the response equals one of the golds; UNKNOWN where there is no gold."""
    golds = [
        normalised(settings, _answer(settings, gold) or gold) for gold in golds_of(row["gold"])
    ]
    golds = [gold for gold in golds if gold]
    if not golds:
        return unknown(f"no gold that can be compared: {shown(str(row['gold']))}")
    answer = _answer(settings, response)
    if answer is None:
        return wrong(f"no final answer found: {settings.after!r} is not in the response")
    given = normalised(settings, answer)
    words = f"{shown(given)}, gold {' or '.join(map(shown, golds))}"
    return correct(f"{words}: equal") if given in golds else wrong(f"{words}: not equal")


def _answer(settings: ExactSettings, text: str) -> str | None:
    return text if settings.after is None else behind_last(text, settings.after)


def normalised(settings: ExactSettings, text: str) -> str:
    """A text as it is compared. Accents that are written in two ways are the same."""
    text = unicodedata.normalize("NFC", text)
    if settings.collapse_whitespace:
        text = " ".join(text.split()) if settings.strip else _one_space(text)
    if settings.ignore_case:
        text = text.casefold()
    if settings.strip_characters:
        blanks = " \t\r\n" if settings.strip else ""
        text = text.strip(settings.strip_characters + blanks)
    return text.strip() if settings.strip else text


def _one_space(text: str) -> str:
    words = text.split()
    before = " " if text[:1].isspace() else ""
    after = " " if text[-1:].isspace() and words else ""
    return before + " ".join(words) + after


EXACT = Judge(
    name="exact",
    paper="arXiv 2502.08130",
    settings=ExactSettings,
    open=one_by_one(judge),
    version=lambda: "1",
)
