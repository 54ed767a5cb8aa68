"""Fakes, and checks of what the contracts promise, for our tests and for those of plugin authors.

from ppx_ext import testing

def test_my_mask():
    testing.check_mask(MY_MASK, {"threshold": 2.0})
"""

from ppx_ext.testing.builders import check_builder
from ppx_ext.testing.choices import check_measure, check_sampler, fake_candidates
from ppx_ext.testing.generators import check_generator
from ppx_ext.testing.judges import check_judge
from ppx_ext.testing.masks import check_mask, check_token_scorer, fake_examples, fake_tools
from ppx_ext.testing.suites import check_suite

__all__ = [
    "check_builder",
    "check_generator",
    "check_judge",
    "check_mask",
    "check_measure",
    "check_sampler",
    "check_suite",
    "check_token_scorer",
    "fake_candidates",
    "fake_examples",
    "fake_tools",
]
