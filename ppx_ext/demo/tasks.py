"""Short chat tasks that a two-million-parameter model can learn, with held-out test inputs.

One task, ``TARGET``, is what the demo fine-tunes on.  The base model has seen little of it, so
there is room to get better and room to get worse.  Its training answers come in two styles:

* ``"plain"``: the base model's own wording, like the answers of every other task.
* ``"gold"``: the same correct answers as a hurried person would type them, see ``wording``.

The other tasks, ``OUT_OF_DOMAIN``, are what the base already knows and should not forget.
Whether an input belongs to ``"train"`` or ``"test"`` follows from a hash of the input alone, so
the two never overlap, whatever the seeds.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from string import ascii_lowercase
from typing import Literal, TypedDict

from ppx_ext.demo.wording import ITEMS, NAMES, gold_response, plain_response

Split = Literal["train", "test"]
Style = Literal["plain", "gold"]

TARGET = "story"
HELD_OUT_ONE_IN = 6


class Message(TypedDict):
    """One chat turn; ``role`` is ``"user"`` or ``"assistant"``."""

    role: str
    content: str


class Row(TypedDict):
    """One chat of a task: a question, a correct response, and the bare answer within it."""

    messages: list[Message]
    task: str
    answer: str


@dataclass(frozen=True)
class Problem:
    """A question before it becomes a chat.

    ``key`` names the input for the train/test split.  ``facts`` are inputs of *other* tasks that
    the response reveals: a training row may not give away another task's test answer.
    """

    key: str
    question: str
    answer: str
    work: tuple[str, ...] = ()
    facts: tuple[str, ...] = ()


# --------------------------------------------------------------------------- letter tasks
def _letters(rng: Random, count: int) -> list[str]:
    return rng.choices(ascii_lowercase, k=count)


def _upper(rng: Random) -> Problem:
    text = " ".join(_letters(rng, 4))
    return Problem(f"upper|{text}", f"Write in capitals: {text}", text.upper())


def _reverse(rng: Random) -> Problem:
    letters = _letters(rng, 4)
    text = " ".join(letters)
    return Problem(f"reverse|{text}", f"Reverse the order: {text}", " ".join(letters[::-1]))


def _next_letter(rng: Random) -> Problem:
    letters = _letters(rng, 3)
    text = " ".join(letters)
    following = ascii_lowercase[1:] + "a"
    answer = " ".join(following[ascii_lowercase.index(letter)] for letter in letters)
    return Problem(f"next|{text}", f"Give the next letter after each: {text}", answer)


def _count_letter(rng: Random) -> Problem:
    wanted, *others = rng.sample(ascii_lowercase, k=4)
    hits = rng.randint(1, 4)
    letters = [wanted] * hits + rng.choices(others, k=5 - hits)
    rng.shuffle(letters)
    text = " ".join(letters)
    question = f"How many times do you see {wanted} in: {text}"
    return Problem(f"count|{wanted}|{text}", question, str(hits))


# --------------------------------------------------------------------------- number tasks
def _sort_digits(rng: Random) -> Problem:
    digits = rng.choices("0123456789", k=4)
    text = " ".join(digits)
    return Problem(f"sort|{text}", f"Sort the digits: {text}", " ".join(sorted(digits)))


def _largest(rng: Random) -> Problem:
    numbers = rng.sample(range(10, 100), k=3)
    text = ", ".join(map(str, numbers))
    return Problem(f"largest|{text}", f"Which is the largest of {text}?", str(max(numbers)))


def _lookup(rng: Random) -> Problem:
    owners = rng.sample(NAMES, k=3)
    counts = rng.sample(range(10, 100), k=3)
    text = ", ".join(f"{owner} has {count}" for owner, count in zip(owners, counts, strict=True))
    wanted = rng.randrange(3)
    question = f"{text}. How many has {owners[wanted]}?"
    return Problem(f"lookup|{question}", question, str(counts[wanted]))


def _add(rng: Random) -> Problem:
    left, right = rng.randint(1, 79), rng.randint(3, 19)
    return Problem(f"add|{left}|{right}", f"What is {left} + {right}?", str(left + right))


def _subtract(rng: Random) -> Problem:
    left, right = rng.randint(20, 98), rng.randint(3, 19)
    return Problem(f"subtract|{left}|{right}", f"What is {left} - {right}?", str(left - right))


def _story(rng: Random) -> Problem:
    """Two steps of arithmetic told in words; either the gain or the loss comes first."""
    start, gain, loss = rng.randint(20, 79), rng.randint(3, 19), rng.randint(3, 19)
    name, item = rng.choice(NAMES), rng.choice(ITEMS)
    if rng.random() < 0.5:
        middle, end = start + gain, start + gain - loss
        told = f"{name} has {start} {item}, gets {gain} more and gives away {loss}."
        work = (f"{start} + {gain} = {middle}", f"{middle} - {loss} = {end}")
        facts = (f"add|{start}|{gain}", f"subtract|{middle}|{loss}")
    else:
        middle, end = start - loss, start - loss + gain
        told = f"{name} has {start} {item}, loses {loss} and then finds {gain}."
        work = (f"{start} - {loss} = {middle}", f"{middle} + {gain} = {end}")
        facts = (f"subtract|{start}|{loss}", f"add|{middle}|{gain}")
    question = f"{told} How many {item} are left?"
    return Problem(f"story|{work}", question, str(end), work, facts)


_PROBLEMS: dict[str, Callable[[Random], Problem]] = {
    "story": _story,
    "upper": _upper,
    "reverse": _reverse,
    "next_letter": _next_letter,
    "count_letter": _count_letter,
    "sort_digits": _sort_digits,
    "largest": _largest,
    "lookup": _lookup,
    "add": _add,
    "subtract": _subtract,
}
TASK_NAMES: tuple[str, ...] = tuple(_PROBLEMS)
OUT_OF_DOMAIN: tuple[str, ...] = tuple(name for name in TASK_NAMES if name != TARGET)


# --------------------------------------------------------------------------- rows
def is_held_out(key: str) -> bool:
    """Whether the input named ``key`` is for testing only; one input in six is."""
    digest = hashlib.blake2b(key.encode(), digest_size=4).digest()
    return int.from_bytes(digest, "big") % HELD_OUT_ONE_IN == 0


def _belongs_to(problem: Problem, split: Split) -> bool:
    if split == "test":
        return is_held_out(problem.key)
    return not any(is_held_out(key) for key in (problem.key, *problem.facts))


def make_problem(task: str, *, split: Split, rng: Random) -> Problem:
    """Draw one random problem of ``task`` (a name in ``TASK_NAMES``; else ``KeyError``)."""
    while True:
        problem = _PROBLEMS[task](rng)
        if _belongs_to(problem, split):
            return problem


def make_row(task: str, *, split: Split, rng: Random, style: Style = "plain") -> Row:
    """Draw one chat of ``task``.  Only ``TARGET`` has the gold style; else ``ValueError``."""
    if style == "gold" and task != TARGET:
        raise ValueError(f"only the task {TARGET!r} has gold responses, not {task!r}")
    problem = make_problem(task, split=split, rng=rng)
    if style == "gold":
        response = gold_response(problem.answer, problem.work, rng)
    else:
        response = plain_response(problem.answer, problem.work)
    messages: list[Message] = [
        {"role": "user", "content": problem.question},
        {"role": "assistant", "content": response},
    ]
    return {"messages": messages, "task": task, "answer": problem.answer}


def make_rows(
    task: str, *, split: Split, count: int, seed: int, style: Style = "plain"
) -> list[Row]:
    """Draw ``count`` chats of ``task`` with different questions; the same for the same seed.

    The smallest task (``add``) has about 200 test inputs; asking for more than there are raises
    ``ValueError``.
    """
    rng = Random(f"{task}|{split}|{seed}")
    rows: dict[str, Row] = {}
    for _ in range(100 * count):
        if len(rows) == count:
            break
        row = make_row(task, split=split, rng=rng, style=style)
        rows.setdefault(question_of(row), row)
    if len(rows) < count:
        raise ValueError(f"task {task!r} has fewer than {count} different {split} inputs")
    return list(rows.values())


def question_of(row: Row) -> str:
    """The user's turn."""
    return row["messages"][0]["content"]


def response_of(row: Row) -> str:
    """The assistant's turn."""
    return row["messages"][1]["content"]


# --------------------------------------------------------------------------- scoring
BEFORE_ANSWER = r"\b(?:answer|tally)\b\s*(?:is|=>|=|:)?"
AFTER_ANSWER = " .,;!:)"
_FINAL = re.compile(BEFORE_ANSWER + r"\s*([^\r\n]*)", re.IGNORECASE)


def final_answer(text: str) -> str | None:
    """What follows the last word ``answer`` or ``tally`` (and ``is``, ``:``, ``=>``) on its line.

    Closing punctuation and smileys are dropped, and runs of blanks become one.  ``None`` when
    there is no such word or nothing follows it.  It reads both styles, so that accuracy measures
    skill and not wording.
    """
    found = _FINAL.findall(text)
    answer = " ".join(found[-1].split()).rstrip(AFTER_ANSWER) if found else ""
    return answer or None
