"""`Permutation` as a PyTorch sampler: no memory for any number of rows, and exact to resume."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from torch.utils.data import Sampler

from ppx_ext.selecting.shuffle import Permutation

BLOCK = 1 << 16


class ShuffledSampler(Sampler[int]):
    """A shuffled order of ``rows`` rows, another in each epoch, parted over processes.

    Process ``rank`` of ``world`` has the places rank, rank + world, ... of one common order. Where
    the rows do not part evenly, the order starts again from its first row until each process has
    as many; with ``drop_last``, the last rows are left out instead.
    """

    def __init__(
        self,
        rows: int,
        *,
        seed: int = 0,
        rank: int = 0,
        world: int = 1,
        drop_last: bool = False,
    ) -> None:
        if rows < 1 or not 0 <= rank < world:
            raise ValueError(f"rank {rank} of {world} processes cannot sample {rows} rows")
        self.rows, self.seed, self.rank, self.world = rows, seed, rank, world
        self.epoch = self.position = 0
        self._length = rows // world if drop_last else -(-rows // world)

    def __len__(self) -> int:
        """Rows of a whole epoch, for this process."""
        return self._length

    def __iter__(self) -> Iterator[int]:
        """From the place that was set on; the next iteration starts at the epoch's first."""
        order = Permutation(self.rows, self.seed, self.epoch)
        start, self.position = self.position, 0
        block = 1 << 10  # the first row soon, then whole blocks
        while start < self._length:
            stop = min(start + block, self._length)
            places = np.arange(start, stop, dtype=np.int64) * self.world + self.rank
            yield from order.at(places % self.rows).tolist()
            start, block = stop, BLOCK

    def set_epoch(self, epoch: int) -> None:
        """Take this epoch's order, from its first row, unless it is the one already set."""
        if epoch != self.epoch:
            self.epoch, self.position = epoch, 0

    def resume(self, *, epoch: int, position: int) -> None:
        """Go on in ``epoch`` after the first ``position`` rows that this process has consumed.

        Count what was trained on (steps times the batch size of a process), not what was asked of
        the sampler: the workers of a loader are ahead.

        Raises:
            ValueError: the epoch has no such place.
        """
        if not 0 <= position <= self._length:
            raise ValueError(f"position {position} is not within an epoch of {self._length} rows")
        self.epoch, self.position = epoch, position
