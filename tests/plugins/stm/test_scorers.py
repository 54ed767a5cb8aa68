"""Scores from a model's forward pass, and from the user's own column."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from ppx_ext.contracts import Example, ModelRef, Tools
from ppx_stm.scorers import CAUSAL_LM, COLUMN, column_scores
from ppx_stm.settings import CausalLmSettings, ColumnSettings

PPL = ColumnSettings(column="ppl")
NLL = ColumnSettings(column="ppl", unit="nll")


def example(values: object, *, targets: Sequence[bool] = (False, False, True, True)) -> Example:
    target_T = np.array(targets)
    return Example(
        row=7,
        ids_T=np.arange(len(target_T), dtype=np.int32),
        target_T=target_T,
        end_T=np.zeros(len(target_T), dtype=np.bool_),
        columns={"ppl": values},
    )


@pytest.mark.parametrize("values", [[10.0, 5.0, 2.0, 3.0], [5.0, 2.0, 3.0], [2.0, 3.0]])
def test_a_column_may_start_at_any_of_three_places(values: list[float]) -> None:
    assert column_scores(PPL, example(values)).tolist() == [2.0, 3.0]


def test_all_but_the_first_token_as_targets_is_read_the_same_in_both_ways() -> None:
    row = example([2.0, 3.0], targets=(False, True, True))
    assert column_scores(PPL, row).tolist() == [2.0, 3.0]


def test_prompt_entries_may_be_empty_or_absurd() -> None:
    row = example([None, float("nan"), 2.0, 3.0])
    assert column_scores(PPL, row).tolist() == [2.0, 3.0]


def test_scores_are_kept_in_the_users_unit_bit_for_bit() -> None:
    value = math.nextafter(2.5, 3)
    assert column_scores(PPL, example([0, 0, value, 2.5])).tolist() == [value, 2.5]
    assert COLUMN.exact
    assert COLUMN.model(PPL) is None
    assert list(COLUMN.columns(PPL)) == ["ppl"]


def test_rounding_of_bf16_below_the_least_value_is_forgiven() -> None:
    assert column_scores(PPL, example([1 - 2**-8, 3.0])).tolist() == [1.0, 3.0]
    assert column_scores(NLL, example([-(2**-8), 3.0])).tolist() == [0.0, 3.0]


@pytest.mark.parametrize(
    ("settings", "values", "message"),
    [
        (PPL, [1.0, 2.0, 3.0, 4.0, 5.0], r"row 7, column 'ppl': 5 scores, but the row has 4 tok"),
        (PPL, [2.0], "1 scores"),
        (PPL, [[2.0, 3.0]], "2 scores"),
        (PPL, 3.0, "1 scores"),
        (PPL, "abc", "not a list of numbers"),
        (PPL, [0.5, 3.0], "target 0 has the score .*0.5.*no perplexity"),
        (PPL, [3.0, math.inf], "target 1 has the score"),
        (PPL, [3.0, math.nan], "target 1 has the score"),
        (PPL, [3.0, None], "target 1 has the score"),
        (NLL, [3.0, -0.5], "no nll"),
        (ColumnSettings(column="pll"), [2.0, 3.0], "no such column. Columns of this row: ppl"),
    ],
)
def test_a_column_that_cannot_be_right_is_named(
    settings: ColumnSettings, values: object, message: str
) -> None:
    with pytest.raises(ValueError, match=message) as error:
        column_scores(settings, example(values))
    assert "row 7" in str(error.value)
    assert repr(settings.column) in str(error.value)


def test_the_model_is_asked_once_for_the_one_score() -> None:
    asked: list[tuple[ModelRef, list[str]]] = []

    def token_scores(examples: Sequence[Example], ref: ModelRef, names: Sequence[str]) -> Any:
        asked.append((ref, list(names)))
        return [{names[0]: np.full(2, float(row.row), np.float32)} for row in examples]

    settings = CausalLmSettings(score="rank", model="m", revision="r", adapter="a")
    found = CAUSAL_LM.score(settings, [example([1, 2])], Tools(token_scores=token_scores))
    assert [scores.tolist() for scores in found] == [[7.0, 7.0]]
    ref = ModelRef(path="m", revision="r", adapter="a")
    assert asked == [(ref, ["rank"])]
    assert CAUSAL_LM.model(settings) == ref
    assert not CAUSAL_LM.exact
