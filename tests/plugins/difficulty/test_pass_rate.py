"""The builder `pass_rate`: golds stay, and the share of correct answers is told."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pydantic
import pytest

from ppx_difficulty.sampling import PASS_RATE_BUILDER, PassRateSettings
from ppx_ext import Failure, Response, Tools, testing
from tests.plugins.s3ft.lent import Lent, row

ANSWERS: list[Any] = [
    "right one",
    "wrong one",
    "odd one",
    Failure(reason="timed out"),
    Response(text="right but long", finished=False),
    "  ",
    "right one",
]


def build(answers: list[Any], rows: int = 1, **settings: Any) -> list[Any]:
    lent = Lent(lambda request: answers[request.seed % 1000])
    checked = PassRateSettings(samples=len(answers), **settings)
    return list(PASS_RATE_BUILDER.build(checked, [row(at) for at in range(rows)], lent.tools))


def test_what_counts_and_what_does_not() -> None:
    (one, two) = build(ANSWERS, rows=2)
    # Correct: two. Wrong: one, the one cut off, the empty one. Neither: the odd one, the failure.
    assert one.pass_rate == two.pass_rate == 2 / 5
    assert (one.response, one.source, one.attempts) == ("right gold", "gold", 7)
    assert one.note == "2 of 5 samples correct, of 2 nothing is known"


def test_a_row_of_which_nothing_is_known_has_no_rate() -> None:
    (found,) = build(["odd one", "odd two", Failure(reason="no")])
    assert found.pass_rate is None
    assert found.response == "right gold"


def test_equal_answers_are_judged_once_and_broken_ones_never() -> None:
    lent = Lent(lambda request: ANSWERS[request.seed % 1000])
    settings = PassRateSettings(samples=len(ANSWERS))
    PASS_RATE_BUILDER.build(settings, [row(0), row(1)], lent.tools)
    ((judged),) = lent.judged
    assert [answer.response for answer in judged] == ["right one", "wrong one", "odd one"] * 2


def test_samples_of_a_row_differ_in_their_seeds() -> None:
    lent = Lent(lambda request: "right")
    PASS_RATE_BUILDER.build(PassRateSettings(samples=3), [row(5)], lent.tools)
    ((asked),) = lent.generated
    assert [request.seed for request in asked] == [5000, 5001, 5002]
    assert {request.decoding.temperature for request in asked} == {0.7}


def test_the_builder_keeps_its_contract_and_needs_a_judge() -> None:
    testing.check_builder(PASS_RATE_BUILDER, {"samples": 3})
    with pytest.raises(ValueError, match="needs a generator and a judge"):
        PASS_RATE_BUILDER.build(
            PassRateSettings(), [row(0)], Tools(token_scores=lambda e, m, n: [])
        )
    with pytest.raises(pydantic.ValidationError, match="at temperature 0 all 8 samples"):
        PassRateSettings(temperature=0)


def test_self_output_tells_the_same_rate() -> None:
    from ppx_s3ft.self_output import SELF_OUTPUT
    from ppx_s3ft.settings import SelfOutputSettings

    lent = Lent(lambda request: ANSWERS[request.seed % 1000])
    settings = SelfOutputSettings(samples=len(ANSWERS), pick="first")
    (found,) = SELF_OUTPUT.build(settings, [row(0)], lent.tools)
    assert found.pass_rate == 2 / 5  # type: ignore[union-attr]
    none = Lent(lambda request: "wrong")
    fallen = SelfOutputSettings(samples=2, pick="first", fallback="gold")
    (gold,) = SELF_OUTPUT.build(fallen, [row(0)], none.tools)
    assert (gold.pass_rate, gold.source) == (0.0, "gold")  # type: ignore[union-attr]


def test_a_built_file_holds_the_rate_and_null_where_there_is_none(tmp_path: Path) -> None:
    import pyarrow.parquet as pq

    from ppx_ext.building.golds import Gold
    from ppx_ext.building.provenance import Counts, make_shard, read_shard, write_shard

    rows = [row(0), row(1)]
    lent = Lent(lambda request: ["right", "odd"][request.seed // 1000])
    made = PASS_RATE_BUILDER.build(PassRateSettings(samples=2), rows, lent.tools)
    golds = [Gold(row=one.row, columns={}, canonical={}, asked=one) for one in rows]
    shard = make_shard(golds, made, Counts(), "pass_rate")
    path = tmp_path / "00000.parquet"
    write_shard(path, shard, "f")
    assert pq.read_table(path).column("ppx_pass_rate").to_pylist() == [1.0, None]
    assert read_shard(path, golds, "f") == shard
