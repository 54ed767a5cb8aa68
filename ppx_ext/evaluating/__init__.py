"""Measuring a model with the suites of an `eval:` stage."""

from ppx_ext.evaluating.measure import measure

__all__ = ["measure"]
