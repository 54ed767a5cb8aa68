"""S3FT: own answer, else paraphrase, else gold (arXiv 2502.08130, figure 1)."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ppx_ext import Built, Failure, Request, Response, Tools, testing
from ppx_s3ft.s3ft import S3FT
from ppx_s3ft.settings import S3ftSettings
from tests.plugins.s3ft.lent import Lent, row, shows_gold

CUT = Response(text="right but cut", finished=False)
FAILED = Failure(reason="timed out")

# What the model says to the bare question, and to the one that shows the gold; and what becomes of
# the row by the paper's rule.
CASES: list[tuple[Any, Any, str, str]] = [
    ("right own", "right again", "own", "right own"),
    ("wrong own", "right again", "paraphrase", "right again"),
    ("wrong own", "wrong again", "gold", "right gold"),
    ("odd own", "right again", "paraphrase", "right again"),
    ("odd own", "odd again", "gold", "right gold"),
    (FAILED, "right again", "paraphrase", "right again"),
    (FAILED, FAILED, "gold", "right gold"),
    (CUT, "right again", "paraphrase", "right again"),
    ("  \n", "right again", "paraphrase", "right again"),
    ("wrong own", CUT, "gold", "right gold"),
    ("wrong own", "", "gold", "right gold"),
    ("wrong own", "right as the Reference Answer says", "gold", "right gold"),
    ("wrong own", "right: in MY response", "gold", "right gold"),
    ("wrong own", "right. Now it's your turn", "gold", "right gold"),
    ("right by the reference answer", "wrong", "own", "right by the reference answer"),
]


def build(lent: Lent, rows: list[Any], **settings: Any) -> list[Built]:
    found = S3FT.build(S3ftSettings(**settings), rows, lent.tools)
    assert all(isinstance(one, Built) for one in found)
    return list(found)  # type: ignore[arg-type]


@pytest.mark.parametrize(("own", "paraphrase", "source", "target"), CASES)
def test_the_rule(own: Any, paraphrase: Any, source: str, target: str) -> None:
    lent = Lent(lambda request: paraphrase if shows_gold(request) else own)
    (found,) = build(lent, [row(3)])
    assert (found.row, found.source, found.response) == (3, source, target)
    assert found.attempts == (1 if source == "own" else 2)
    assert found.seed == {"own": 3000, "paraphrase": 3001, "gold": None}[source]
    assert (found.verdict is not None and found.verdict.correct) == (source != "gold")


@pytest.mark.parametrize(
    ("own", "paraphrase", "words"),
    [
        ("wrong own", "right x", ["own answer not taken (wrong: it says wrong)"]),
        ("odd own", "odd x", ["own answer not taken (unknown: it says odd)", "paraphrase not"]),
        (FAILED, CUT, ["no response: timed out", "cut off at 512 tokens"]),
        ("", "right, your own response", ["the response is empty", "it speaks of 'your response'"]),
        ("wrong", "Your turn: right", ["it begins with 'Your turn'"]),
    ],
)
def test_the_note_names_every_cause(own: Any, paraphrase: Any, words: list[str]) -> None:
    lent = Lent(lambda request: paraphrase if shows_gold(request) else own)
    (found,) = build(lent, [row(0)], leaks=("reference answer", "your response", "own response"))
    if "own response" in str(paraphrase):
        words = [words[0], "it speaks of 'own response'"]
    for word in words:
        assert word in found.note


@given(st.lists(st.sampled_from(CASES), max_size=12))
def test_no_row_is_lost_and_each_round_is_one_call(cases: list[Any]) -> None:
    said = {f"question {at}": case for at, case in enumerate(cases)}

    def say(request: Request) -> Any:
        text = str(request.prompt[-1]["content"])  # type: ignore[index]
        (at,) = [at for at in range(len(cases)) if f"question {at}\n" in f"{text}\n"]
        return said[f"question {at}"][1 if shows_gold(request) else 0]

    lent = Lent(say)
    found = build(lent, [row(at) for at in range(len(cases))])
    assert [one.row for one in found] == list(range(len(cases)))
    assert [(one.source, one.response) for one in found] == [case[2:] for case in cases]
    assert len(lent.generated) <= 2
    assert len(lent.judged) <= 2
    assert sum(map(len, lent.generated)) == sum(one.attempts for one in found)


def test_cut_off_answers_are_taken_where_the_recipe_says_so() -> None:
    (found,) = build(Lent(lambda request: CUT), [row(0)], keep_cut_off=True)
    assert (found.source, found.response) == ("own", "right but cut")


def test_without_the_paraphrase_it_is_selective_self_rehearsal() -> None:
    lent = Lent(lambda request: "wrong")
    (found,) = build(lent, [row(0)], paraphrase=False)
    assert (found.source, found.attempts, len(lent.generated)) == ("gold", 1, 1)


def test_the_models_words_put_into_its_mouth_are_not_trained_on() -> None:
    prefix = "Great! Let's think step by step. "
    lent = Lent(
        lambda request: f"{request.prefix} \nright at last" if request.prefix else "wrong answer"
    )
    (found,) = build(lent, [row(0)], prompts="gsm8k")
    assert lent.generated[1][0].prefix == prefix
    assert (found.source, found.response) == ("paraphrase", "right at last")
    assert lent.judged[1][0].response == "right at last"


def test_greedy_by_default_and_the_settings_reach_every_request() -> None:
    lent = Lent(lambda request: "wrong")
    build(lent, [row(0)])
    assert {request.decoding.temperature for call in lent.generated for request in call} == {0.0}
    lent = Lent(lambda request: "wrong")
    build(lent, [row(0)], temperature=0.5, top_p=0.9, max_new_tokens=7, stop=("END",))
    for (request,) in lent.generated:
        decoding = request.decoding
        assert (decoding.temperature, decoding.top_p) == (0.5, 0.9)
        assert (decoding.max_new_tokens, decoding.stop) == (7, ("END",))


def test_the_judge_reads_the_rows_columns_and_gold() -> None:
    lent = Lent(lambda request: "right")
    build(lent, [row(0, "what?", tests=["assert 1"])])
    (answer,) = lent.judged[0]
    assert answer.row == {"tests": ["assert 1"], "prompt": "what?", "gold": "right gold"}


def test_a_judge_and_an_engine_are_needed() -> None:
    with pytest.raises(ValueError, match="no judge is configured"):
        build(Lent(lambda request: "x", judged=False), [row(0)])
    nothing = Tools(token_scores=lambda *given: [], judge=lambda answers: [])
    with pytest.raises(ValueError, match="no generator is configured"):
        S3FT.build(S3ftSettings(), [row(0)], nothing)


def test_published_compositions_are_those_of_table_3() -> None:
    assert S3FT.published == {
        "GSM8K": {"own": 0.495, "paraphrase": 0.421, "gold": 0.084},
        "MBPP": {"own": 0.302, "paraphrase": 0.324, "gold": 0.374},
        "NQ": {"own": 0.660, "paraphrase": 0.256, "gold": 0.081},
    }


@pytest.mark.parametrize("settings", [{}, {"prompts": "gsm8k"}, {"paraphrase": False}])
def test_it_keeps_the_contract(settings: dict[str, Any]) -> None:
    testing.check_builder(S3FT, settings)
