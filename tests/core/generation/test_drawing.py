"""Tokens are drawn with the model's probabilities, by a number that is the request's own."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.stats
import torch
from hypothesis import given
from hypothesis import strategies as st

from ppx_ext.answering import Decoding
from ppx_ext.generation.drawing import Draw, cut, drawing, draws


def drawn(scores: list[float], u: float) -> int:
    processed = Draw(torch.tensor([[u]], dtype=torch.float64))(
        torch.zeros(1, 1, dtype=torch.long), torch.tensor([scores])
    )
    assert int(torch.isfinite(processed).sum()) == 1
    return int(processed.argmax())


def test_a_case_by_hand() -> None:
    # Probabilities 1/2, 0, 1/4, 1/4: cumulative 0.5, 0.5, 0.75, 1.
    scores = [np.log(2.0), -np.inf, 0.0, 0.0]
    cases = {0.0: 0, 0.49: 0, 0.51: 2, 0.74: 2, 0.76: 3, 1 - 2**-53: 3}
    assert {u: drawn(scores, u) for u in cases} == cases


@given(
    st.lists(st.floats(-20, 20, width=32), min_size=2, max_size=40),
    st.floats(0, 1, exclude_max=True),
    st.data(),
)
def test_what_has_no_probability_is_never_drawn(
    scores: list[float], u: float, data: st.DataObject
) -> None:
    removed = data.draw(st.sets(st.integers(0, len(scores) - 1), max_size=len(scores) - 1))
    masked = [-np.inf if place in removed else score for place, score in enumerate(scores)]
    assert drawn(masked, u) not in removed


def test_frequencies_are_those_of_the_warped_distribution() -> None:
    torch.manual_seed(0)
    scores = torch.randn(1, 12) * 2
    decoding = Decoding(temperature=0.7, top_p=0.9)
    rows = 20_000
    numbers = np.concatenate([draws([1, 2], seed, 1) for seed in range(rows)])
    steer = drawing(decoding, torch.from_numpy(numbers)[:, None])
    found = steer(torch.zeros(rows, 1, dtype=torch.long), scores.expand(rows, -1)).argmax(-1)
    # Top-p by its definition: the fewest likeliest tokens that hold 0.9, scaled to one.
    probability = (scores[0] / 0.7).softmax(-1).double().numpy()
    order = np.argsort(-probability)
    before = np.cumsum(probability[order]) - probability[order]
    kept = order[before < 0.9]
    assert set(found.tolist()) == set(kept.tolist())
    expected = rows * probability[kept] / probability[kept].sum()
    counted = np.bincount(found.numpy(), minlength=12)[kept]
    assert scipy.stats.chisquare(counted, expected).pvalue > 1e-3


def test_numbers_hang_on_prompt_and_seed_and_nothing_else() -> None:
    assert np.array_equal(draws([5, 6], 3, 8), draws((5, 6), 3, 8))
    # A longer response begins as a shorter one does.
    assert np.array_equal(draws([5, 6], 3, 8), draws([5, 6], 3, 20)[:8])
    others = [draws([5, 6], 4, 8), draws([6, 5], 3, 8), draws([5], 63, 8)]
    assert all(not np.array_equal(draws([5, 6], 3, 8), other) for other in others)


@pytest.mark.parametrize(
    ("text", "stop", "expected"),
    [
        ("one\ntwo", ("\n",), ("one", True)),
        ("one two", ("two", "ne"), ("o", True)),
        ("one", ("\n",), ("one", False)),
        ("one", (), ("one", False)),
        ("\none", ("\n",), ("", True)),
    ],
)
def test_a_response_ends_before_its_first_stop_text(
    text: str, stop: tuple[str, ...], expected: tuple[str, bool]
) -> None:
    assert cut(text, stop) == expected
