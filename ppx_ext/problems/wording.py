"""A problem as text: the question, the solution step by step, and the answer last."""

from __future__ import annotations

import re

from ppx_ext.problems.making import Operation, Problem

_WORDS = {"+": "plus", "-": "minus", "*": "times"}
_ANSWER = re.compile(r"The answer is (\d+)\b")


def question(problem: Problem) -> str:
    """All that is told, and what is asked."""
    told = " ".join(map(_told, problem.told))
    return f"Count modulo {problem.modulus}. {told} How many has {problem.asked}?"


def _told(step: Operation) -> str:
    return f"{step.name} has {step.left} {_WORDS[step.sign]} {step.right}."


def solution(problem: Problem) -> str:
    """One sentence for each operation, then ``The answer is N.``"""
    known: dict[str, int] = {}
    sentences = []
    for step, value in zip(problem.steps, problem.values, strict=True):
        written = f"{step.left} {step.sign} {step.right}"
        if step.names:
            left, right = (
                known[operand] if isinstance(operand, str) else operand
                for operand in (step.left, step.right)
            )
            written += f" = {left} {step.sign} {right}"
        sentences.append(f"{step.name} = {written} = {value}.")
        known[step.name] = value
    return " ".join([*sentences, f"The answer is {problem.answer}."])


def final_answer(text: str) -> int | None:
    """The number behind the last ``The answer is``; None where there is none."""
    found = _ANSWER.findall(text)
    return int(found[-1]) if found else None
