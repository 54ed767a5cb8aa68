"""Verdicts with their reasons in few words."""

from __future__ import annotations

from ppx_ext import Judgement, Verdict

_LONGEST = 80


def shown(text: str, longest: int = _LONGEST) -> str:
    """A text in quotes, on one line, cut in its middle where it is long."""
    line = " ".join(text.split())
    if len(line) > longest:
        half = (longest - 3) // 2
        line = f"{line[:half]} … {line[-half:]}"
    return f'"{line}"'


def correct(reason: str) -> Verdict:
    """The response is correct."""
    return Verdict(judgement=Judgement.CORRECT, reason=reason)


def wrong(reason: str) -> Verdict:
    """The response is wrong."""
    return Verdict(judgement=Judgement.WRONG, reason=reason)


def unknown(reason: str) -> Verdict:
    """It cannot be told."""
    return Verdict(judgement=Judgement.UNKNOWN, reason=reason)
