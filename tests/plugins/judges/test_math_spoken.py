"""`math` on answers as models really give them: hedged, corrected, listed, cut off, decorated."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from ppx_ext import JudgeAll, Judgement
from ppx_judges.maths import MATH, MathSettings
from tests.plugins.judges.asking import NOTHING, answer


@pytest.fixture(scope="module")
def math() -> Iterator[JudgeAll]:
    with MATH.open(MathSettings(seconds=2, processes=1), NOTHING) as judge_all:
        yield judge_all


RIGHT = [
    ("18", "Janet sells 9 eggs.\nThe answer is $18.00."),
    ("18", "**The answer is 18 dollars per day.**"),
    ("18", "The answer is **18** dollars."),
    ("18", r"So she makes \boxed{18\text{ dollars}}"),
    ("18", r"The answer is \(\boxed{18}\) dollars per day."),
    ("18", r"Final Answer: $\boxed{\$18}$. I hope it is correct."),
    ("18", "I first thought the answer is 20. But the answer is 18."),
    ("18", "The answer is 18. Wait, let me check: 9 * 2 = 18. Yes, 18."),
    ("18", "The answer is 18. Actually, that was easy."),
    ("18", "The answer is 18.\n\nWhat if she had 20 ducks? The answer is 18."),
    ("18", "Thus the answer is 20.\nBut wait. She gives one away. #### 18"),
    ("18", "The answer is 18, not 20."),
    ("18", "The answer is 18; she sells 9 eggs."),
    ("18", "The answer is $18 — she sells 9 eggs."),
    ("18", "Answer: 9 eggs * $2 per egg = $18"),
    ("18", "Answer: She makes 9 x 2 = $18 every day."),
    ("18", "Step 3: 9*2 = 18\n\n#### Final answer: 18"),
    ("18", "#### Answer\n18"),
    ("18", "#### 18<|endoftext|>"),
    ("18", "The answer is 18.<|im_end|>"),
    ("18", "#### 18</s></s>"),
    ("18", "<answer>18</answer>"),
    ("18", "The answer is <answer>\n18 dollars\n</answer>"),
    ("18", "The answer is ₹18"),
    ("18", "The answer is US$18"),
    ("18", "The answer is ¥18"),
    ("18", "The answer is Rs 18"),
    ("18", "The answer is 18¢"),
    ("18", "The answer is 18 ✅"),
    ("18", r"The answer is 18\\"),
    ("18", "The answer is １８"),
    ("36", "The answer is 18 x 2"),
    ("36", "The answer is 18 times 2"),
    ("18.5", "The answer is 18½"),
    ("0.5", "The answer is .5"),
    ("-5", "The answer is negative 5"),
    ("-5", "The answer is minus $5."),
    ("1000", "The answer is 1k"),
    ("36", "The answer is 3 dozen eggs"),
    ("12", r"The answer is 12 cm^2"),
    ("18.5", r"The answer is $37/2 \approx 18.5$"),
]


@pytest.mark.parametrize(("gold", "response"), RIGHT)
def test_right(math: JudgeAll, gold: str, response: str) -> None:
    (verdict,) = math([answer(gold, response)])
    assert verdict.judgement is Judgement.CORRECT, verdict.reason


NOT_RIGHT = [
    # Read without its point or its sign.
    ("5", "The answer is .5"),
    ("50", "#### $.50"),
    ("5", "The answer is negative 5"),
    ("5", "The answer is that she has minus 5 dollars"),
    ("1", "The answer is 1k"),
    # A heading, and not an answer.
    ("3", "#### Step 3:\nSell them all for $18"),
    ("2", "#### Day 2\nShe makes 18"),
    ("1", "#### 1. Count the eggs\nThere are 16 of them."),
    ("2", "#### **1. Count**\nShe sells 9.\n#### **2. Sell**\nShe makes 18"),
    # A list, and not its first number.
    ("1", "The answer is:\n1. 18 dollars\n2. 20 dollars"),
    ("18", "The answer is:\n1. 18 dollars\n2. 20 dollars"),
    # Another's, a question's, a wrong one.
    ("18", "The wrong answer is 18."),
    ("18", "The incorrect answer is 18. The right one: 20"),
    ("18", "The answer is 20.\nNote: many students think the answer is 18."),
    ("18", "I am wrong if the answer is 18."),
    ("18", "Is the answer: 18?"),
    ("18", "The answer is 18? No, 20."),
    # Taken back.
    ("18", "The answer is 18. No wait, 20."),
    ("18", "The answer is 18... or maybe 20"),
    ("18", "The answer is 18.\nActually, no, it is 20."),
    ("18", r"So \boxed{18}. Wait, that is wrong."),
    ("18", "If it were $2 the answer would be 18, but it is $3, so it's 27."),
    ("18", "The answer would be 18 if she sold all; but she makes 20."),
    # More than one number.
    ("18", "The answer is 18, then 20"),
    ("18", "The answer is 18; 20 for two"),
    ("18", "The answer is 18 (or 20 dollars)"),
    ("18", "The answer is 18 times 2"),
    ("18", "The answer is 18 x 2"),
    ("18", "The answer is 18 dollars - 2"),
    ("18", "The answer is 18 remainder 2"),
    ("18", "The answer is 18 a 2"),
    ("18", "The answer is 18 cm x 2"),
    ("18", "The answer is 18_2"),
    ("18", r"\boxed{18 \equiv 2}"),
    ("18", r"The answer is $18 \approx 18.5$"),
    ("3", "The answer is 1 2"),
    # Not the number, but what is made of it.
    ("18", "The answer is a third of 18"),
    ("18", "The answer is a multiple of 18"),
    ("18", "The answer is the square root of 18"),
    ("18", "The answer is hardly 18"),
    ("18", "The answer is neither 18"),
    ("18", "The answer is anything but 18"),
]


@pytest.mark.parametrize(("gold", "response"), NOT_RIGHT)
def test_not_right(math: JudgeAll, gold: str, response: str) -> None:
    (verdict,) = math([answer(gold, response)])
    assert verdict.judgement is Judgement.WRONG, verdict.reason
