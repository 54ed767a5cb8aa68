"""When a model is measured while it trains."""

from __future__ import annotations

import math

from ppx_ext.eval_plan import Every


class Due:
    """When an evaluation is due between the first step and the last.

    Args:
        every: as the recipe says; None is never.
        epoch: at which the run begins, or goes on.
    """

    def __init__(self, every: Every | None, epoch: float) -> None:
        self._every = every
        self._passed = self._count(epoch)

    def now(self, *, step: int, epoch: float) -> bool:
        """Whether one is due after this step; asked once after each."""
        if self._every is None:
            return False
        if self._every.steps is not None:
            return step % self._every.steps == 0
        before, self._passed = self._passed, self._count(epoch)
        return self._passed > before

    def _count(self, epoch: float) -> int:
        if self._every is None or self._every.epochs is None:
            return 0
        return math.floor(epoch / self._every.epochs + 1e-9)
