"""Distinct problems, split into train and test, as rows of a file."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from random import Random
from typing import Any, Literal

from ppx_ext.files import write_atomic
from ppx_ext.problems.making import MOST_OPS, Operand, Problem, make_problem
from ppx_ext.problems.wording import question, solution

Split = Literal["train", "test"]

TEST_ONE_IN = 5
_TRIES = 200
"""Draws for each problem that is wanted before the supply counts as used up."""


def split_named(name: str) -> Split:
    """The split of this name.

    Raises:
        ValueError: there is none.
    """
    if name == "train":
        return "train"
    if name == "test":
        return "test"
    raise ValueError(f"split: give train or test, not {name!r}")


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Which problems.

    Attributes:
        ops: fewest and most operations; each number between comes up equally often.
        modulus: of all arithmetic; up to 10 every number is one digit.
        distractors: counts in each problem that the answer does not need.
        split: whether a problem is for training or for testing follows from its structure alone.

    Raises:
        ValueError: a value is out of its range.
    """

    ops: tuple[int, int]
    modulus: int = 7
    distractors: int = 0
    split: Split = "train"

    def __post_init__(self) -> None:
        low, high = self.ops
        if not 1 <= low <= high:
            raise ValueError(f"ops: give 1 <= LOW <= HIGH, not {low} {high}")
        if self.distractors < 0 or high + self.distractors > MOST_OPS:
            raise ValueError(
                f"{high} operations and {self.distractors} distractors: there are names for "
                f"{MOST_OPS} counts in one problem"
            )
        if not 3 <= self.modulus <= 100:
            raise ValueError(f"modulus: give 3 to 100, not {self.modulus}")
        split_named(self.split)


def structure(problem: Problem) -> str:
    """Hash (64 bit, hex) of a problem but for its names and the order of its text."""
    place = {step.name: str(step_at) for step_at, step in enumerate(_canonical(problem))}

    def shown(operand: Operand) -> str:
        return f"#{place[operand]}" if isinstance(operand, str) else str(operand)

    steps = [f"{shown(s.left)}{s.sign}{shown(s.right)}" for s in _canonical(problem)]
    text = f"{problem.modulus}|{'|'.join(steps)}"
    return blake2b(text.encode(), digest_size=8).hexdigest()


def _canonical(problem: Problem) -> list[Any]:
    """The needed steps from the asked count down, left operand first: whatever order is told."""
    of = {step.name: step for step in problem.steps}
    found: dict[str, Any] = {}

    def visit(name: str) -> None:
        if name in found:
            return
        for operand in of[name].names:
            visit(operand)
        found[name] = of[name]

    visit(problem.asked)
    return list(found.values())


def split_of(problem: Problem) -> Split:
    """``test`` for one structure in five: no problem of a test is one of training renamed."""
    return "test" if int(structure(problem), 16) % TEST_ONE_IN == 0 else "train"


def distinct(settings: Settings, *, count: int, seed: int) -> list[Problem]:
    """``count`` problems of different structure; the same for the same settings and seed.

    Each number of operations comes up equally often (the smaller ones once more where the count
    does not divide), in random order.

    Raises:
        ValueError: ``count`` is not positive, or there are not so many.
    """
    if count < 1:
        raise ValueError(f"count: give at least 1, not {count}")
    low, high = settings.ops
    rng = Random(f"{seed}|{settings}")
    share, more = divmod(count, high - low + 1)
    found = [
        problem
        for ops in range(low, high + 1)
        for problem in _of_ops(rng, settings, ops, share + (ops - low < more))
    ]
    rng.shuffle(found)
    return found


def _of_ops(rng: Random, settings: Settings, ops: int, count: int) -> list[Problem]:
    found: dict[str, Problem] = {}
    for _ in range(_TRIES * count):
        if len(found) == count:
            break
        problem = make_problem(
            rng, ops=ops, modulus=settings.modulus, distractors=settings.distractors
        )
        if split_of(problem) == settings.split:
            found.setdefault(structure(problem), problem)
    if len(found) < count:
        raise ValueError(
            f"{count} different problems of {ops} operations modulo {settings.modulus} were asked "
            f"for, and {len(found)} found to {settings.split} on: ask for fewer, for more "
            "operations, or for a larger modulus"
        )
    return list(found.values())


def drawn(settings: Settings, *, count: int, seed: int) -> Iterator[Problem]:
    """``count`` problems as they come, each number of operations as likely as any other.

    A structure may come up again under other names: for long training on few operations, where
    there are not enough distinct ones.
    """
    low, high = settings.ops
    rng = Random(f"drawn|{seed}|{settings}")
    while count:
        problem = make_problem(
            rng,
            ops=rng.randint(low, high),
            modulus=settings.modulus,
            distractors=settings.distractors,
        )
        if split_of(problem) == settings.split:
            count -= 1
            yield problem


def rows(settings: Settings, *, count: int, seed: int) -> Iterator[dict[str, Any]]:
    """`row_of` each problem of `distinct`.

    Raises:
        ValueError: see `distinct`.
    """
    return map(row_of, distinct(settings, count=count, seed=seed))


def row_of(problem: Problem) -> dict[str, Any]:
    """A problem as a row: ``prompt``, ``response``, ``ops`` (int) and ``answer`` (text)."""
    return {
        "prompt": question(problem),
        "response": solution(problem),
        "ops": problem.ops,
        "answer": str(problem.answer),
    }


def write(path: Path, settings: Settings, *, count: int, seed: int) -> None:
    """Write `rows` to a JSONL file, whole or not at all.

    Raises:
        ValueError: the file's name does not end in .jsonl; see `distinct`.
        OSError: it cannot be written.
    """
    if path.suffix != ".jsonl":
        raise ValueError(f"{path}: problems are written as JSON lines; name a file .jsonl")
    lines = [json.dumps(row) + "\n" for row in rows(settings, count=count, seed=seed)]
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, lambda file: file.writelines(line.encode() for line in lines))
