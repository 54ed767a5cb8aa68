"""All suites of an `eval:` stage on one model."""

from __future__ import annotations

from ppx_ext.eval_plan import Evaluation
from ppx_ext.suites import Score, Subject


def measure(evaluation: Evaluation, subject: Subject) -> list[Score]:
    """The scores of all suites, in order.

    Raises:
        ValueError: two suites give a task the same name.
    """
    found: list[Score] = []
    for suite in evaluation.suites:
        found += suite.stage.component.evaluate(suite.stage.settings, subject)
    names = [score.task for score in found]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ValueError(
            f"two suites of `eval:` measure a task called {', '.join(map(repr, twice))}; rename one"
        )
    return found
