"""One random problem: counts, each the result of one operation on others or on numbers."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from random import Random

SIGNS: Mapping[str, Callable[[int, int], int]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
}
# One word each, so that a small tokenizer gives each one token.
_NAMES = """
Abe Ada Amy Ann Ben Bob Cal Cleo Dan Dora Ed Elsa Eva Fay Finn Fred Gus Gwen Hal Hans
Ida Igor Ivy Jack Jan Jill Joe Kai Kim Lee Leo Liz Luc Max May Mia Ned Nina Olaf Oscar
Pam Pia Quinn Ray Rita Rosa Roy Sam Sara Ted Tim Tom Una Uma Val Vic Walt Wes Xena Yan
Zoe Zeb
"""
NAMES = tuple(_NAMES.split())
MOST_OPS = len(NAMES)
"""How many counts a problem can have: each has a name of its own."""

_REFERENCE_SHARE = 0.5
"""How often a free operand is another count where it could be a number."""

Operand = int | str


@dataclass(frozen=True)
class Operation:
    """``name`` has ``left sign right``: an operand is a number, or the name of another count."""

    name: str
    left: Operand
    sign: str
    right: Operand

    @property
    def names(self) -> tuple[str, ...]:
        """Counts that must be known first."""
        return tuple(operand for operand in (self.left, self.right) if isinstance(operand, str))


@dataclass(frozen=True)
class Problem:
    """Counts, and which one is asked for.

    Attributes:
        told: in the order of the text; each name once.
        asked: name of the wanted count.
        steps: the operations that the answer needs, in the order in which they are solved:
            always the first of the text whose operands are known.
        values: of all steps, in their order; 0 to ``modulus - 1``.
    """

    told: tuple[Operation, ...]
    asked: str
    modulus: int
    steps: tuple[Operation, ...]
    values: tuple[int, ...]

    @property
    def ops(self) -> int:
        """How many operations the answer needs."""
        return len(self.steps)

    @property
    def answer(self) -> int:
        """The value of the count that is asked for."""
        return self.values[-1]


def make_problem(rng: Random, *, ops: int, modulus: int, distractors: int = 0) -> Problem:
    """A problem whose answer needs exactly ``ops`` operations.

    Every operation matters: no factor is 0 or the number 1, nothing is taken from itself, and all
    counts but the ``distractors`` lead to the answer.
    """
    names = rng.sample(NAMES, ops + distractors)
    while True:
        made = _needed(rng, names[:ops], modulus)
        made += [_operation(rng, name, _some(rng, names[:ops]), modulus) for name in names[ops:]]
        values = _values(made, modulus)
        if values is not None:
            break
    told = rng.sample(made, len(made))
    steps = _in_order(told, {operation.name for operation in made[:ops]})
    solved = tuple(values[step.name] for step in steps)
    return Problem(tuple(told), names[ops - 1], modulus, steps, solved)


def _needed(rng: Random, names: Sequence[str], modulus: int) -> list[Operation]:
    """Operations on earlier counts only, each but the last used by a later one."""
    users: list[list[str]] = [[] for _ in names]
    for place in reversed(range(len(names) - 1)):
        later = [user for user in range(place + 1, len(names)) if len(users[user]) < 2]
        users[rng.choice(later)].append(names[place])
    for place, used in enumerate(users):
        spare = [name for name in names[:place] if name not in used]
        while len(used) < 2 and spare and rng.random() < _REFERENCE_SHARE:
            used.append(spare.pop(rng.randrange(len(spare))))
    return [_operation(rng, name, used, modulus) for name, used in zip(names, users, strict=True)]


def _some(rng: Random, names: Sequence[str]) -> list[str]:
    return rng.sample(names, rng.randint(0, min(2, len(names))))


def _operation(rng: Random, name: str, used: Sequence[str], modulus: int) -> Operation:
    sign = rng.choice(tuple(SIGNS))
    lowest = 2 if sign == "*" else 1
    numbers = [rng.randrange(lowest, modulus) for _ in range(2 - len(used))]
    operands: list[Operand] = [*used, *numbers]
    left, right = rng.sample(operands, 2)
    return Operation(name, left, sign, right)


def _values(made: Sequence[Operation], modulus: int) -> dict[str, int] | None:
    """Values of operations in an order in which they can be solved; None if one is idle."""
    found: dict[str, int] = {}
    for step in made:
        left, right = (
            found[operand] if isinstance(operand, str) else operand
            for operand in (step.left, step.right)
        )
        idle = (
            0 in (left, right) if step.sign == "*" else step.left == step.right and step.sign == "-"
        )
        if idle:
            return None
        found[step.name] = SIGNS[step.sign](left, right) % modulus
    return found


def _in_order(told: Sequence[Operation], needed: set[str]) -> tuple[Operation, ...]:
    waiting = [operation for operation in told if operation.name in needed]
    known: set[str] = set()
    steps = []
    while waiting:
        step = next(step for step in waiting if known.issuperset(step.names))
        waiting.remove(step)
        known.add(step.name)
        steps.append(step)
    return tuple(steps)
