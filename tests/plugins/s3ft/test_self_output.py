"""Self-Output: one of several correct samples (arXiv 2501.14315, section 2.3)."""

from __future__ import annotations

from typing import Any

import pydantic
import pytest

from ppx_ext import Dropped, Failure, Response, testing
from ppx_s3ft.self_output import SELF_OUTPUT
from ppx_s3ft.settings import SelfOutputSettings
from tests.plugins.s3ft.lent import Lent, row

SAMPLES = [
    "wrong one",
    "right and rather long",
    Failure(reason="timed out"),
    "right, short",
    "right and rather long",
    Response(text="right", finished=False),
]
PERPLEXITY = {"right and rather long": 1.5, "right, short": 2.5}


def lent(samples: list[Any] = SAMPLES, perplexity: Any = PERPLEXITY) -> Lent:
    return Lent(lambda request: samples[request.seed % 1000], perplexity=perplexity)


def build(given: Lent, rows: list[Any], **settings: Any) -> list[Any]:
    checked = SelfOutputSettings(**{"samples": len(SAMPLES), **settings})
    return list(SELF_OUTPUT.build(checked, rows, given.tools))


@pytest.mark.parametrize(
    ("pick", "response", "seed", "perplexity"),
    [
        ("first", "right and rather long", 2001, None),
        ("shortest", "right, short", 2003, None),
        ("lowest_perplexity", "right and rather long", 2001, 1.5),
    ],
)
def test_which_correct_sample_is_trained_on(
    pick: str, response: str, seed: int, perplexity: float | None
) -> None:
    (found,) = build(lent(), [row(2)], pick=pick)
    assert (found.source, found.response, found.seed) == ("own", response, seed)
    assert (found.perplexity, found.attempts) == (perplexity, 6)
    assert found.note == "3 of 6 samples correct"


def test_equal_samples_are_judged_and_scored_once() -> None:
    given = lent()
    build(given, [row(0), row(1)])
    ((judged),) = given.judged
    texts = [answer.response for answer in judged]
    assert texts == ["wrong one", "right and rather long", "right, short"] * 2
    (scored,) = given.scored
    assert [text for _, text in scored[0]] == ["right and rather long", "right, short"] * 2


def test_everything_is_asked_at_once_with_a_seed_for_each_sample() -> None:
    given = lent()
    build(given, [row(0), row(1)])
    (requests,) = given.generated
    assert [request.seed for request in requests] == [*range(6), *range(1000, 1006)]
    assert {request.decoding.temperature for request in requests} == {0.7}
    assert {request.decoding.top_p for request in requests} == {0.95}


@pytest.mark.parametrize("conditional", [True, False])
def test_whose_perplexity_is_read(conditional: bool) -> None:
    given = lent()
    build(given, [row(0)], conditional=conditional)
    assert [asked for _, asked in given.scored] == [conditional]
    assert given.scored[0][0][0][0] == row(0).prompt


def test_a_row_without_a_correct_sample_is_dropped_as_in_the_paper_or_keeps_its_gold() -> None:
    samples = ["wrong one"] * 6
    (dropped,) = build(lent(samples), [row(4)])
    assert isinstance(dropped, Dropped)
    assert (dropped.row, dropped.attempts) == (4, 6)
    assert dropped.reason == "none of 6 samples taken, the first: wrong: it says wrong"
    (kept,) = build(lent(samples), [row(4)], fallback="gold")
    assert (kept.source, kept.response, kept.note) == ("gold", "right gold", dropped.reason)


def test_the_papers_settings_are_the_defaults() -> None:
    settings = SelfOutputSettings()
    assert (settings.samples, settings.temperature, settings.fallback) == (32, 0.7, "drop")
    assert (settings.pick, settings.conditional) == ("lowest_perplexity", False)


def test_samples_that_must_be_equal_are_refused() -> None:
    with pytest.raises(pydantic.ValidationError, match="all 32 samples of a prompt are the same"):
        SelfOutputSettings(temperature=0.0)
    assert SelfOutputSettings(temperature=0.0, samples=1).samples == 1


def test_perplexity_is_asked_for_only_where_it_is_read() -> None:
    assert SELF_OUTPUT.scored(SelfOutputSettings())
    assert not SELF_OUTPUT.scored(SelfOutputSettings(pick="first"))
    with pytest.raises(ValueError, match="needs the base model, and none is lent"):
        build(lent(perplexity=None), [row(0)])
    assert build(lent(perplexity=None), [row(0)], pick="first")[0].source == "own"


@pytest.mark.parametrize("pick", ["first", "shortest", "lowest_perplexity"])
@pytest.mark.parametrize("fallback", ["gold", "drop"])
def test_it_keeps_the_contract(pick: str, fallback: str) -> None:
    testing.check_builder(SELF_OUTPUT, {"samples": 4, "pick": pick, "fallback": fallback})
