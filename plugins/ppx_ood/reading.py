"""A response read in two ways: strictly, in the format that was asked for, and flexibly.

A model that has lost only the format still answers right, and strict reading alone would take that
for a lost skill: the GSM8K collapse of arXiv 2501.14315 (table 12) is read from ``####`` alone.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Literal, TypeAlias

from ppx_ext import Answer, Grade, Graded, Item, JudgeAll, Judgement, TaskScore
from ppx_ood.items import GOLDS

Reading: TypeAlias = Literal["strict", "flexible"]

_NUMBER = re.compile(r"[-+]?(?:\d[\d,]*(?:\.\d+)?|\.\d+)")
_FRAME = " \t\n.,;:!?\"'`*$()[]{}"


def by_pattern(pattern: str | None, reading: Reading) -> Grade:
    """Final answers compared as text.

    Without a pattern the whole response must be the gold, blanks at both ends aside. With one there
    are two readings. Strict: what the pattern finds is the same in both. Flexible: that, or the
    last number of the response is the gold's, or, where that is no number, the response ends in it.
    """

    def one(item: Item, text: str) -> Graded:
        gold = final_answer(item.gold, pattern)
        gold = item.gold.strip() if gold is None else gold
        strict = final_answer(text, pattern) == gold
        if pattern is None:
            return Graded(correct=float(strict))
        return _graded(strict, strict or _ends_in(text, gold), reading)

    return lambda items, texts: [one(*pair) for pair in zip(items, texts, strict=True)]


def by_judge(judge: JudgeAll, pattern: str | None, reading: Reading) -> Grade:
    """What a judge finds correct. With a pattern, strictly so only where the response has it.

    What the judge cannot tell counts as wrong, and says so.
    """

    def grade(items: Sequence[Item], texts: Sequence[str]) -> list[Graded]:
        verdicts = judge([answer_of(*pair) for pair in zip(items, texts, strict=True)])
        graded = []
        for text, verdict in zip(texts, verdicts, strict=True):
            why = f"{verdict.judgement.value}: {verdict.reason}"
            if pattern is None:
                graded.append(Graded(correct=float(verdict.correct), why=why))
                continue
            strict = verdict.correct and final_answer(text, pattern) is not None
            graded.append(_graded(strict, verdict.correct, reading, why))
        return graded

    return grade


def refuse_untold(score: TaskScore) -> TaskScore:
    """The score of a judge, if it could tell of any response.

    Raises:
        ValueError: it could not: a score of zero would be the judge's, not the model's.
    """
    why = score.items["why"]
    if all(each.startswith(Judgement.UNKNOWN.value) for each in why):
        raise ValueError(
            f"task {score.task!r}: the judge cannot tell of any response whether it is correct, so "
            f"there is no score. Of the first one it says: {why[0]}"
        )
    return score


def answer_of(item: Item, text: str) -> Answer:
    """A response with the user's columns, its question and its golds, to be judged."""
    question = item.prompt if isinstance(item.prompt, str) else item.prompt[-1]["content"]
    return Answer(
        row={**item.row, "prompt": question, "gold": item.row.get(GOLDS, item.gold)}, response=text
    )


def final_answer(text: str, pattern: str | None) -> str | None:
    """The last match of ``pattern`` in ``text`` (its first group), or None; all without one."""
    if pattern is None:
        return text.strip()
    found = list(re.finditer(pattern, text))
    if not found:
        return None
    return (found[-1].group(1 if found[-1].re.groups else 0) or "").strip()


def _graded(strict: bool, flexible: bool, reading: Reading, why: str = "") -> Graded:
    readings = {"strict": float(strict), "flexible": float(flexible)}
    return Graded(correct=readings[reading], readings=readings, why=why)


def _ends_in(text: str, gold: str) -> bool:
    wanted = _number(gold)
    if wanted is not None:
        numbers = _NUMBER.findall(text)
        return bool(numbers) and _number(numbers[-1]) == wanted
    tail, wanted_words = text.casefold().rstrip(_FRAME), gold.casefold().strip(_FRAME)
    before = tail.removesuffix(wanted_words)
    return bool(wanted_words) and before != tail and not before[-1:].isalnum()


def _number(text: str) -> float | None:
    """The number that a text is, dollar signs and thousands' commas aside."""
    bare = text.strip(_FRAME + "%").replace(",", "")
    return float(bare) if re.fullmatch(_NUMBER, bare) else None
