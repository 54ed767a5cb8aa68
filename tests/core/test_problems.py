"""Problems: the answer and the number of operations, found again from the text alone."""

from __future__ import annotations

import json
import re
from pathlib import Path
from random import Random

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from ppx_ext.cli import main
from ppx_ext.problems import (
    MOST_OPS,
    Operation,
    Problem,
    Settings,
    distinct,
    drawn,
    final_answer,
    make_problem,
    question,
    rows,
    solution,
    split_of,
)
from ppx_ext.problems.supply import structure


def read(text: str) -> tuple[int, dict[str, tuple[str, str, str]], str]:
    """Modulus, name -> (left, word, right), and the name that is asked for."""
    modulus = re.match(r"Count modulo (\d+)\. ", text)
    asked = re.search(r" How many has (\w+)\?$", text)
    assert modulus
    assert asked
    told = text[modulus.end() : asked.start()]
    found = re.findall(r"(\w+) has (\w+) (plus|minus|times) (\w+)\.", told)
    assert " ".join(f"{n} has {a} {w} {b}." for n, a, w, b in found) == told
    return int(modulus[1]), {name: (a, word, b) for name, a, word, b in found}, asked[1]


def solve(text: str) -> tuple[int, int]:
    """(answer, operations) from the question's text alone, by recursion from what is asked."""
    modulus, told, asked = read(text)
    known: dict[str, int] = {}

    def value(operand: str) -> int:
        if operand.isdigit():
            return int(operand)
        if operand not in known:
            left, word, right = told[operand]
            a, b = value(left), value(right)
            known[operand] = {"plus": a + b, "minus": a - b, "times": a * b}[word] % modulus
        return known[operand]

    return value(asked), len(known)


problems = st.builds(
    lambda seed, ops, modulus, distractors: make_problem(
        Random(seed), ops=ops, modulus=modulus, distractors=distractors
    ),
    st.integers(0, 10**6),
    st.integers(1, 25),
    st.integers(3, 30),
    st.integers(0, 3),
)


@given(problems)
@hypothesis_settings(max_examples=150, deadline=None)
def test_the_text_says_answer_and_number_of_operations(problem: Problem) -> None:
    answer, ops = solve(question(problem))
    assert (answer, ops) == (problem.answer, problem.ops)
    assert final_answer(solution(problem)) == answer


@given(problems)
@hypothesis_settings(max_examples=100, deadline=None)
def test_each_step_of_the_solution_is_right_and_in_order(problem: Problem) -> None:
    modulus, told, asked = read(question(problem))
    *steps, last = re.findall(r"[^.]+\.", solution(problem))
    known: dict[str, int] = {}
    signs = {"plus": "+", "minus": "-", "times": "*"}
    for step in steps:
        name, *sides = step.strip(" .").split(" = ")
        left, word, right = told[name]
        assert sides[0] == f"{left} {signs[word]} {right}"
        numbers = sides[-2]  # the operation with its numbers put in
        for operand in (left, right):
            if not operand.isdigit():
                assert re.search(rf"\b{known[operand]}\b", numbers)
        known[name] = int(sides[-1])
        assert eval(numbers) % modulus == known[name]
    assert len(steps) == problem.ops
    assert last == f" The answer is {known[asked]}."


@given(problems)
@hypothesis_settings(max_examples=100, deadline=None)
def test_every_operation_matters(problem: Problem) -> None:
    values = dict(zip((step.name for step in problem.steps), problem.values, strict=True))
    for step in problem.steps:
        assert step.sign != "-" or step.left != step.right
        operands = [values.get(o, o) if isinstance(o, str) else o for o in (step.left, step.right)]
        if step.sign == "*":
            assert 0 not in operands
            assert 1 not in (step.left, step.right)


def test_a_hand_computed_problem() -> None:
    told = (Operation("Bob", "Ann", "-", 6), Operation("Ann", 2, "*", 5))
    problem = Problem(told, "Bob", 7, (told[1], told[0]), (3, 4))
    assert question(problem) == (
        "Count modulo 7. Bob has Ann minus 6. Ann has 2 times 5. How many has Bob?"
    )
    assert solution(problem) == "Ann = 2 * 5 = 3. Bob = Ann - 6 = 3 - 6 = 4. The answer is 4."
    assert solve(question(problem)) == (4, 2)


def renamed(problem: Problem) -> Problem:
    """Other names, and the text told in another order."""
    new = {step.name: f"X{place}" for place, step in enumerate(problem.told)}

    def of(step: Operation) -> Operation:
        left, right = (new[o] if isinstance(o, str) else o for o in (step.left, step.right))
        return Operation(new[step.name], left, step.sign, right)

    steps = tuple(map(of, problem.steps))
    return Problem(
        tuple(map(of, reversed(problem.told))),
        new[problem.asked],
        problem.modulus,
        steps,
        problem.values,
    )


@given(problems)
@hypothesis_settings(max_examples=100, deadline=None)
def test_structure_sees_neither_names_nor_order(problem: Problem) -> None:
    assert structure(renamed(problem)) == structure(problem)
    assert split_of(renamed(problem)) == split_of(problem)


def test_structure_sees_every_number_and_sign() -> None:
    def hashed(sign: str, number: int) -> str:
        told = (Operation("Ann", 2, "+", 3), Operation("Bob", "Ann", sign, number))
        return structure(Problem(told, "Bob", 7, told, (5, 0)))

    assert len({hashed(sign, number) for sign in "+-*" for number in range(2, 7)}) == 15


@pytest.mark.parametrize("ops", [(2, 2), (2, 5), (9, 12)])
def test_distinct_balanced_and_never_in_both_splits(ops: tuple[int, int]) -> None:
    train = distinct(Settings(ops=ops), count=301, seed=0)
    test = distinct(Settings(ops=ops, split="test"), count=103, seed=0)
    other = distinct(Settings(ops=ops), count=301, seed=1)
    assert len({structure(p) for p in train}) == 301
    assert not {structure(p) for p in (*train, *other)} & {structure(p) for p in test}
    counts = [sum(p.ops == wanted for p in train) for wanted in range(ops[0], ops[1] + 1)]
    assert sum(counts) == 301
    assert max(counts) - min(counts) <= 1
    assert train == distinct(Settings(ops=ops), count=301, seed=0)
    assert train != other


def test_drawn_keeps_to_its_split_and_range() -> None:
    found = list(drawn(Settings(ops=(1, 3), split="test"), count=200, seed=3))
    assert len(found) == 200
    assert {p.ops for p in found} == {1, 2, 3}
    assert {split_of(p) for p in found} == {"test"}


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"ops": (3, 2)}, "LOW <= HIGH"),
        ({"ops": (0, 2)}, "LOW <= HIGH"),
        ({"ops": (1, MOST_OPS + 1)}, "names for"),
        ({"ops": (1, MOST_OPS), "distractors": 1}, "names for"),
        ({"ops": (1, 2), "distractors": -1}, "names for"),
        ({"ops": (1, 2), "modulus": 2}, "modulus"),
        ({"ops": (1, 2), "split": "dev"}, "train or test"),
    ],
)
def test_settings_out_of_range_are_refused(wrong: dict[str, object], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        Settings(**wrong)  # type: ignore[arg-type]


def test_a_supply_that_is_used_up_is_told() -> None:
    with pytest.raises(ValueError, match="500 different problems of 1 operations modulo 7"):
        distinct(Settings(ops=(1, 1)), count=500, seed=0)
    with pytest.raises(ValueError, match="at least 1"):
        distinct(Settings(ops=(1, 1)), count=0, seed=0)


def ppx(*arguments: object) -> tuple[int, str]:
    result = CliRunner().invoke(main, list(map(str, arguments)))
    return result.exit_code, result.output


def test_the_command_writes_rows(tmp_path: Path) -> None:
    out = tmp_path / "new" / "some.jsonl"
    assert ppx("problems", "--ops", 2, 4, "--count", 30, "--seed", 5, out)[0] == 0
    found = [json.loads(line) for line in out.read_text().splitlines()]
    assert found == list(rows(Settings(ops=(2, 4)), count=30, seed=5))
    for row in found:
        assert solve(row["prompt"]) == (int(row["answer"]), row["ops"])
        assert set(row) == {"prompt", "response", "ops", "answer"}


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--ops", 4, 2, "--count", 3, "a.jsonl"), "LOW <= HIGH, not 4 2"),
        (("--ops", 1, 1, "--count", 900, "a.jsonl"), "larger modulus"),
        (("--ops", 1, 2, "--count", 3, "a.csv"), "name a file .jsonl"),
        (("--ops", 1, 2, "--count", 3, "--split", "dev", "a.jsonl"), "train or test, not 'dev'"),
    ],
)
def test_the_command_says_what_is_wrong(
    tmp_path: Path, arguments: tuple[object, ...], told: str
) -> None:
    *options, name = arguments
    code, output = ppx("problems", *options, tmp_path / str(name))
    assert code != 0
    assert told in output
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "judge",
    [
        ("--judge", "math"),
        ("--judge", "exact", "--set", "after=The answer is", "--set", "strip_characters=."),
    ],
    ids=["math", "exact"],
)
def test_the_judges_read_the_answer(tmp_path: Path, judge: tuple[str, ...]) -> None:
    right = list(rows(Settings(ops=(1, 6)), count=12, seed=0))
    wrong = [{**row, "answer": str((int(row["answer"]) + 1) % 7)} for row in right]
    source, out = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    source.write_text("".join(json.dumps(row) + "\n" for row in right + wrong))
    code, output = ppx("judge", *judge, "--gold", "answer", source, out)
    assert code == 0, output
    verdicts = [json.loads(line)["verdict"] for line in out.read_text().splitlines()]
    assert verdicts == ["correct"] * 12 + ["wrong"] * 12
