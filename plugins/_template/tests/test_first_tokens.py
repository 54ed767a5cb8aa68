import numpy as np
import pydantic
import pytest

from ppx_ext import Example, Scored, testing
from ppx_ext.catalog import load
from ppx_first_tokens import FIRST_TOKENS, Settings


def row(targets: list[int]) -> Scored:
    target_T = np.array(targets, dtype=bool)
    ids_T = np.arange(len(targets), dtype=np.int32)
    example = Example(row=0, ids_T=ids_T, target_T=target_T, end_T=np.zeros_like(target_T))
    return Scored(example=example, scores={})


def test_it_is_found_by_its_entry_point():
    assert load().get("mask", "first_tokens", type(FIRST_TOKENS)) is FIRST_TOKENS


@pytest.mark.parametrize(("tokens", "kept"), [(1, [True, False, False]), (9, [True, True, True])])
def test_it_keeps_the_first_targets_and_not_the_prompt(tokens, kept):
    keep_R = FIRST_TOKENS.keep(
        Settings(tokens=tokens), {}, row([0, 0, 1, 1, 1]), np.random.default_rng(0)
    )
    assert keep_R.tolist() == kept


def test_it_keeps_the_promises_of_every_mask():
    testing.check_mask(FIRST_TOKENS, {"tokens": 4})


def test_a_misspelt_setting_is_refused():
    with pytest.raises(pydantic.ValidationError):
        Settings(token=3)
