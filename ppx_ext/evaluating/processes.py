"""Several processes that measure one model together: shared work, and an error of one for all.

Whatever happens in a process, all of them go through the same number of exchanges: one that fails
says so in the exchange in which the others wait. So none is left waiting.
"""

from __future__ import annotations

import datetime
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, TypeAlias, TypeVar

T = TypeVar("T")
Gather: TypeAlias = Callable[[Any], Sequence[Any]]

_PATIENCE = datetime.timedelta(days=7)
"""No exchange is given up: while the first process measures alone, the others wait for it."""


class ElsewhereError(RuntimeError):
    """Another process failed, and this one stops with it."""


class Team:
    """The processes of a run, as `torch.distributed` knows them; one where there is no group.

    Making one is a joint act: every process does it, at the same place.

    Attributes:
        rank: of this process.
        size: how many there are.
    """

    def __init__(self) -> None:
        from torch import distributed

        self.rank, self.size, self._group = 0, 1, None
        if distributed.is_available() and distributed.is_initialized():
            self.rank, self.size = distributed.get_rank(), distributed.get_world_size()
        if self.size > 1:
            # Objects travel over the CPU, and in a group of its own no timeout of training counts.
            self._group = distributed.new_group(backend="gloo", timeout=_PATIENCE)

    @property
    def first(self) -> bool:
        """Whether this process writes and talks."""
        return self.rank == 0

    def together(self, work: Callable[[Gather], T]) -> T:
        """``work(gather)`` in every process; ``gather`` gives the values of all, by rank.

        Raises:
            ElsewhereError: another process failed; its error is told.
            RuntimeError: the processes did not gather equally often.
            Exception: what ``work`` raised here.
        """
        talk = _Talk(self._exchange)
        try:
            found = work(talk.gather)
        except Exception as error:
            talk.fail(error)
            raise
        talk.finish()
        return found

    def alone(self, work: Callable[[], T]) -> T:
        """What ``work()`` gives in the first process, in every process.

        Raises:
            ElsewhereError: it failed there.
            Exception: what it raised, in the first process.
        """
        found: T = self.together(lambda gather: gather(work() if self.first else None)[0])
        return found

    def close(self) -> None:
        """Let the group go, without waiting for the others; nothing can be exchanged any more.

        gloo's threads may hold an exchange's tensors for a moment after it. One that lets them go
        while the interpreter ends aborts the process, so a group has to end before that.
        """
        from torch import distributed

        group, self._group = self._group, None
        if group is None or not distributed.is_initialized():  # its owner ended all groups at once
            return
        with suppress(ValueError):  # ended so, and others begun, which are not ours
            distributed.destroy_process_group(group)

    def _exchange(self, value: Any) -> list[Any]:
        if self.size == 1:
            return [value]
        from torch import distributed

        assert self._group is not None, "closed"
        values: list[Any] = [None] * self.size
        distributed.all_gather_object(values, value, group=self._group)
        return values


class _Talk:
    """The exchanges of one joint work, each of which says what it is: a value, an end, an error."""

    def __init__(self, exchange: Callable[[Any], list[Any]]) -> None:
        self._exchange = exchange
        self._over: str | None = None

    def gather(self, value: Any) -> list[Any]:
        return self._round("value", value)

    def finish(self) -> None:
        self._round("end", None)

    def fail(self, error: Exception) -> None:
        if self._over is None:
            self._exchange(("error", f"{type(error).__name__}: {error}"))

    def _round(self, kind: str, value: Any) -> list[Any]:
        if self._over is not None:
            raise ElsewhereError(self._over)
        found = self._exchange((kind, value))
        for rank, (other, said) in enumerate(found):
            if other == "error":
                self._over = f"process {rank} failed in an evaluation: {said}"
                raise ElsewhereError(self._over)
        if any(other != kind for other, _ in found):
            self._over = (
                "the processes did not gather equally often: a suite that shares work calls "
                "`subject.gather` in each process alike"
            )
            raise RuntimeError(self._over)
        return [said for _, said in found]
