"""`math`: which final answer is read, and what equals it; on real labelled answers too."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pydantic
import pytest

from ppx_ext import JudgeAll, Judgement
from ppx_ext.testing import check_judge
from ppx_judges import final_answers
from ppx_judges.final_answers import MARKERS, compile_markers, final_answer
from ppx_judges.maths import MATH, MathSettings
from ppx_judges.verifying import Verifiers
from tests.plugins.judges.asking import NOTHING, answer, said

COMPILED = compile_markers(MARKERS)


@pytest.fixture(scope="module")
def math() -> Iterator[JudgeAll]:
    with MATH.open(MathSettings(seconds=2, processes=1), NOTHING) as judge_all:
        yield judge_all


@pytest.mark.parametrize(
    ("text", "claim"),
    [
        ("16 - 3 = 13.\n#### 18", "18"),
        ("#### 17\nNo.\n#### 18", "18"),
        (r"so \boxed{\frac{1}{\sqrt{2}}} is it, not 7", r"\frac{1}{\sqrt{2}}"),
        (r"The answer is $\boxed{18}$.", "18"),
        (r"\boxed{17}, no: \boxed{18}", "18"),
        (r"\boxed{\text{The answer is } 18}", r"\text{The answer is } 18"),
        ("She makes 18. The answer is 18 dollars. That is 9 eggs.", "18 dollars"),
        ("The final answer is: 18", "18"),
        ("The answer to the question is 18.", "18"),
        ("**Answer:** 18\n", "18"),
        ("## Final Answer\n\n**18**\n", "18"),
        ("Final answer = 3.5 hours.", "3.5 hours"),
        ("The final answer is:\n\\[\n18\n\\]", "18"),
        ("work\nA: 18", "18"),
        ("work\nA:18", "18"),
        ("A: 17\nA: 18", "18"),
        ("A: 18\nThe answer is correct, as we saw.", "18"),
        ("The answer is 18. Wait, the answer is 20.", "20"),
        ("The answer is 18!", "18"),
    ],
)
def test_the_final_answer_is_behind_the_last_marker(text: str, claim: str) -> None:
    assert final_answer(text, COMPILED) == claim


@pytest.mark.parametrize(
    "text", ["", "She makes 18.", "A: she has 18", "#### \n", "The answer is", "Plan A: 5 eggs"]
)
def test_without_a_marker_there_is_no_final_answer(text: str) -> None:
    assert final_answer(text, COMPILED) is None


EQUAL = [
    ("18", "A: 18"),
    ("18", "A: 18.0"),
    ("18", r"\boxed{\$18}"),
    ("1000", "A: $1,000.00"),
    ("1,000", "#### 1000"),
    ("1000", r"\boxed{1{,}000}"),
    ("1000", "#### 1 000"),
    ("5", "The answer is 5 apples."),
    ("5", "#### x = 5"),
    ("x = 5", "#### 5"),
    ("18", "#### 9 * 2 = 18"),
    ("18", "The answer is that Janet makes $18 per day."),
    ("18", "The answer is 18 because 9 * 2 = 18."),
    ("18", "The answer is 18 (9 * 2 = 18)."),
    ("0.75", "A: 3/4"),
    ("1/2", "#### 0.5"),
    ("50%", "#### 0.5"),
    ("50", "#### 50%"),
    ("0.5", r"\boxed{50\%}"),
    ("-3", "#### −3"),
    ("-5", "#### -$5"),
    ("3.5", "#### 3 1/2"),
    (r"3\frac{1}{2}", "#### 7/2"),
    (r"\frac{1}{2}", r"\boxed{\dfrac12}"),
    ("1500", "#### 1.5e3"),
    ("1500", r"\boxed{1.5 \times 10^3}"),
    ("5000000", "#### 5 million"),
    ("90", r"\boxed{90^\circ}"),
    ("12", r"\boxed{12 \text{ cm}^2}"),
    (r"\frac{\sqrt{3}}{2}", r"The answer is $\frac{\sqrt3}{2}$."),
    (r"2\sqrt{3}", r"\boxed{2\sqrt{3} \text{ cm}}"),
    ("x^2-1", r"\boxed{(x-1)(x+1)}"),
    ("(1,2)", r"\boxed{(1, 2)}"),
    ("[0,1)", r"\boxed{[0, 1)}"),
    (r"\{5, 7\}", "#### 5 and 7"),
    ("10", r"\boxed{3+7}"),
    ("1/3", "#### 0.333333"),
    (r"2^{10}", "#### 1024"),
    (r"\pi", "#### pi"),
    ("She sells 9.\n#### 18", "A: 18"),
    (18, "A: 18"),
    (2.5, "A: 5/2"),
]


@pytest.mark.parametrize(("gold", "response"), EQUAL)
def test_equal(math: JudgeAll, gold: Any, response: str) -> None:
    (verdict,) = math([answer(gold, response)])
    assert verdict.judgement is Judgement.CORRECT, verdict.reason


DIFFERENT = [
    ("18", "A: 20", "not equal"),
    ("18", "A: 18\nA: 20", "not equal"),
    ("18", "She makes 18", "no final answer found"),
    ("18", "", "no final answer found"),
    ("18", "The answer is not 18", "no clear mathematics"),
    ("18", "The answer is 18 or 20", "not the same"),
    ("18", "The answer is more than 18", "no clear mathematics"),
    ("5", "#### 5 feet 3 inches", "no clear mathematics"),
    ("18", r"\boxed{1", "cannot read"),
    ("18", r"\boxed{18", "cannot read"),
    ("18", "#### 2x = 18", "an equation"),
    ("2", r"\boxed{2 (x+1)}", "not the same"),
    ("5", "#### 5x", "not the same"),
    ("5", "#### 5-7", "not the same"),
    ("3", "The answer is 3:30", "not the same"),
    ("1.5", r"\boxed{3\frac{1}{2}}", "not the same"),
    ("50%", "#### 0.5%", "not equal"),
    ("26", "A: 25.999999999999996", "not equal"),
    ("1/3", "#### 0.33", "not the same"),
    ("[0,1)", r"\boxed{[0,1]}", "not the same"),
    ("(1,2)", r"\boxed{(2,1)}", "not the same"),
    ("18", "18", "no final answer found"),
    ("18", "A: 18\n\nQ: Another one?\nA: 7", "not equal"),
    ("-3", "A: 3", "not equal"),
    ("18", "#### 1" + "8" * 3000, ""),
]


@pytest.mark.parametrize(("gold", "response", "reason"), DIFFERENT)
def test_different(math: JudgeAll, gold: str, response: str, reason: str) -> None:
    (verdict,) = math([answer(gold, response)])
    assert verdict.judgement is Judgement.WRONG, verdict.reason
    assert reason in verdict.reason


@pytest.mark.parametrize(
    "gold",
    [
        None,
        "",
        "  ",
        "B",
        "(B)",
        "Tuesday",
        "She sells 9 eggs and makes 18 dollars.",
        "16 - 3\n13",
        r"\frac{",
        True,
        ["18"],
        {"text": "18"},
        "#### none",
    ],
)
@pytest.mark.parametrize("response", ["A: 18", "", "The answer is B"])
def test_an_unreadable_gold_is_never_held_against_the_response(
    math: JudgeAll, gold: Any, response: str
) -> None:
    (verdict,) = math([answer(gold, response)])
    assert verdict.judgement is Judgement.UNKNOWN
    assert "gold" in verdict.reason


def test_a_comparison_that_never_ends_is_stopped_and_the_next_one_made(math: JudgeAll) -> None:
    tower = answer("18", r"\boxed{9^{9^{9}}}")
    found = math([tower, answer(r"\sqrt{2}", r"\boxed{\sqrt2}"), tower])
    assert [one.judgement.value for one in found] == ["unknown", "correct", "unknown"]
    assert "longer than 2 s" in found[0].reason


def test_a_worker_that_is_killed_costs_one_verdict() -> None:
    with Verifiers(1, 5.0) as verifiers:
        worker = verifiers._idle.get_nowait()
        os.kill(worker._process.pid, signal.SIGKILL)
        verifiers._idle.put(worker)
        (died,) = verifiers.verify([("1/2", "0.5")])
        (again,) = verifiers.verify([("1/2", "0.5")])
    assert died.judgement is Judgement.UNKNOWN
    assert "-9" in died.reason
    assert again.judgement is Judgement.CORRECT


def test_no_process_is_left() -> None:
    before = _children()
    with MATH.open(MathSettings(processes=2), NOTHING) as judge_all:
        judge_all([answer(r"\sqrt{2}", r"\boxed{\sqrt2}")] * 8)
        assert len(_children()) > len(before)
    assert _children() == before


def _children() -> list[str]:
    lines = [" ".join(child.cmdline()) for child in psutil.Process().children()]
    return [line for line in lines if "verify_worker" in line]


def test_without_math_verify_it_says_so_before_anything_is_judged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "math_verify.py").write_text("raise ImportError('gone')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with (
        pytest.raises(ValueError, match=r"pip install 'ppx-ext\[judges\]'"),
        MATH.open(MathSettings(), NOTHING),
    ):
        pass


def test_a_script_without_a_main_guard_is_not_run_again(tmp_path: Path) -> None:
    script = tmp_path / "train.py"
    script.write_text(
        "print('began')\n"
        "from ppx_ext import Answer, Tools\n"
        "from ppx_judges.maths import MATH, MathSettings\n"
        "row = {'gold': '\\\\sqrt{2}'}\n"
        "with MATH.open(MathSettings(), Tools(token_scores=None)) as judge_all:\n"
        "    print(judge_all([Answer(row=row, response='#### \\\\sqrt2')])[0].judgement.value)\n"
    )
    done = subprocess.run(
        [sys.executable, script], capture_output=True, text=True, timeout=120, check=True
    )
    assert done.stdout.split() == ["began", "correct"]


LONG = [
    "The answer is " + "9" * 10**6,
    "answer: " * 10**5,
    "answer is " * 10**5,
    "answer:" + "\n" * 10**6 + "x",
    "The answer is " + "{" * 10**6,
]


@pytest.mark.parametrize("response", LONG, ids=["digits", "markers", "claims", "lines", "braces"])
def test_a_response_that_repeats_itself_is_read_at_its_end_only(
    response: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = []
    behind = final_answers._behind

    def counted(text: str, start: int) -> tuple[str, int, int]:
        read.append(behind(text, start))
        return read[-1]

    monkeypatch.setattr(final_answers, "_behind", counted)
    assert said(MATH, "9", response) == "wrong"
    assert len(read) <= 1000
    assert all(len(claim) <= 2000 for claim, _, _ in read)


def test_a_final_answer_that_is_too_long_is_not_cut_to_a_correct_one() -> None:
    assert said(MATH, "9", "The answer is 9" + " " * 1500 + "/ 3") == "wrong"


def test_the_last_number_counts_only_where_it_is_asked_for() -> None:
    assert said(MATH, "18", "She makes $18 per day.") == "wrong"
    assert said(MATH, "18", "She makes $18 per day.", last_number=True) == "correct"
    assert said(MATH, "18", "10-3=7 and 18", last_number=True) == "correct"
    assert said(MATH, "-3", "10-3", last_number=True) == "wrong"
    assert said(MATH, "18", "A: 17. She makes 18", last_number=True) == "wrong"


def test_markers_are_data() -> None:
    assert said(MATH, "18", "Ergo: 18", markers=[r"\bergo:"]) == "correct"
    assert said(MATH, "18", "A: 18", markers=[r"\bergo:"]) == "wrong"
    for marker in ("(", "x*"):
        with pytest.raises(pydantic.ValidationError):
            MathSettings(markers=(marker,))


def test_contract() -> None:
    check_judge(MATH, {"seconds": 5}, right=answer("18", "A: 18"), wrong=answer("18", "A: 19"))
    check_judge(
        MATH,
        {"seconds": 5},
        right=answer(r"\sqrt{2}", r"#### \sqrt2"),
        wrong=answer(r"\sqrt{2}", r"#### \pi"),
    )
