"""PyTorch samplers for a loop of one's own: a shuffled order of N rows, or an order that is given.

Both know epochs, part them over processes, and go on in the middle of one. ::

    from ppx_ext.selecting import ShuffledSampler

    sampler = ShuffledSampler(len(dataset), seed=1, rank=rank, world=world)
    loader = DataLoader(dataset, batch_size=8, sampler=sampler, num_workers=2)
    if checkpoint:
        sampler.load_state_dict(checkpoint["sampler"])
    for epoch in range(sampler.epoch, 3):
        sampler.set_epoch(epoch)
        done = sampler.position
        for batch in loader:
            train_on(batch)
            done += 8
            save({"sampler": sampler.state_dict(position=done), ...})

The workers of a loader are ahead of the training, hence ``position``. torchdata's
`StatefulDataLoader` keeps count of that itself: save and load *its* state, and nothing else is
needed.

With accelerate leave ``rank`` and ``world`` alone, as `Accelerator.prepare` parts the batches. A
checkpoint after ``done`` steps of an epoch is gone on with as with any loader; only, the loader
that `skip_first_batches` makes counts its epochs anew, and must be told as well. ::

    loader = accelerator.prepare(DataLoader(dataset, batch_size=8, sampler=sampler))
    for epoch in range(first, 3):
        rest = accelerator.skip_first_batches(loader, done)
        for each in (loader, rest):
            each.set_epoch(epoch)
        for batch in rest:
            train_on(batch)
        done = 0
"""

from __future__ import annotations

import operator
import zlib
from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping
from functools import cached_property
from typing import Any

import numpy as np
from torch.utils.data import Sampler

from ppx_ext.selecting.order import Array, Positions
from ppx_ext.selecting.shuffle import Permutation

BLOCK = 1 << 16
FIRST = 1 << 10
"""Rows of the first block: the first row soon, then whole blocks."""


class OrderSampler(Sampler[int]):
    """The places of one order per epoch, parted over processes; the base of both samplers.

    Process ``rank`` of ``world`` has the places rank, rank + world, ... of the common order. Where
    the rows do not part evenly, the order starts again from its first row until each process has
    as many; with ``drop_last``, the last rows are left out instead.
    """

    def __init__(self, *, rank: int = 0, world: int = 1, drop_last: bool = False) -> None:
        if not 0 <= rank < world:
            raise ValueError(f"rank {rank} is none of {world} processes")
        self.rank, self.world, self.drop_last = rank, world, drop_last
        self.epoch = 0
        self._start = 0
        self._go_to(0)

    @property
    @abstractmethod
    def total(self) -> int:
        """Rows of this epoch's order, for all processes."""

    @abstractmethod
    def order(self) -> Callable[[Positions], Array]:
        """Tells the rows that stand at places of this epoch's order."""

    @abstractmethod
    def identity(self) -> dict[str, int]:
        """What tells this order from others, kept with the state."""

    @property
    def position(self) -> int:
        """Rows of this epoch that this process was handed; the workers of a loader are ahead."""
        return self._handed - operator.length_hint(self._block)

    def __len__(self) -> int:
        """Rows of a whole epoch, for this process."""
        return self.total // self.world if self.drop_last else -(-self.total // self.world)

    def __iter__(self) -> Iterator[int]:
        """From the place that was loaded on; the next iteration starts at the epoch's first."""
        self._go_to(self._start)
        return self._walk()

    def _walk(self) -> Iterator[int]:
        length, total, order = len(self), self.total, self.order()
        # Only now, as loaders make iterators that they never ask.
        start, self._start = self._start, 0
        size = FIRST
        while start < length:
            stop = min(start + size, length)
            places = np.arange(start, stop, dtype=np.int64) * self.world + self.rank
            self._block, self._handed = iter(order(places % total).tolist()), stop
            yield from self._block
            start, size = stop, BLOCK

    def set_epoch(self, epoch: int) -> None:
        """Take this epoch's order, from its first row, unless it is the one already set.

        Raises:
            ValueError: another epoch is to be gone on with. accelerate's loaders set the epoch by
                their own count, from 0: tell them first, ``loader.set_epoch(sampler.epoch)``.
        """
        if epoch == self.epoch:
            return
        if self._start:
            raise ValueError(
                f"the sampler is to go on in epoch {self.epoch}, after {self._start} rows, and was "
                f"set to epoch {epoch}: set_epoch({self.epoch}) first, on the loader too if it "
                "has one; or load a state at the start of another epoch"
            )
        self.epoch = epoch
        self._go_to(0)

    def state_dict(self, *, position: int | None = None) -> dict[str, int]:
        """Where to go on: plain numbers, the same for each process.

        Args:
            position: rows of this epoch that this process has *trained on* (steps times the batch
                size of a process). Without it, those that were asked of the sampler: right without
                workers and in a `StatefulDataLoader`, too many in a plain loader with workers.
        """
        done = self.position if position is None else position
        return {"epoch": self.epoch, "consumed": done * self.world, **self.identity()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where this state was taken, with as many processes or another number.

        After a whole epoch, that is the start of the next.

        Raises:
            ValueError: the state is of another order, or these processes cannot part what is left.
        """
        for name, value in self.identity().items():
            if state.get(name) != value:
                raise ValueError(
                    f"the state is of another order of rows: its {name} is {state.get(name)}, and "
                    f"here it is {value}"
                )
        position, rest = divmod(int(state["consumed"]), self.world)
        if rest or position < 0:
            raise ValueError(
                f"{state['consumed']} rows were consumed, which {self.world} processes cannot have "
                "done together: go on with a number of processes that divides them"
            )
        self.epoch, self._start = int(state["epoch"]), 0
        if position >= len(self):
            self.epoch, position = self.epoch + 1, 0
        self._start = position
        self._go_to(position)

    def _go_to(self, position: int) -> None:
        self._handed, self._block = position, iter([])


class ShuffledSampler(OrderSampler):
    """A shuffled order of ``rows`` rows, another in each epoch, in constant memory.

    ``ShuffledSampler(len(dataset), seed=1)`` in the place of torch's `RandomSampler`, which holds
    all rows, or `DistributedSampler`.

    Args:
        rows: of the data set.
        seed: of the order; the same for all processes.
        rank: of this process, of ``world``. Under accelerate, leave both.
        world: processes that part an epoch.
        drop_last: leave out the last rows of what does not part evenly, instead of repeating the
            first.

    Raises:
        ValueError: there is no row, or ``rank`` is not below ``world``.
    """

    def __init__(
        self, rows: int, *, seed: int = 0, rank: int = 0, world: int = 1, drop_last: bool = False
    ) -> None:
        super().__init__(rank=rank, world=world, drop_last=drop_last)
        if rows < 1:
            raise ValueError(f"there are {rows} rows to sample")
        self.rows, self.seed = rows, seed

    @property
    def total(self) -> int:
        """Rows of the data set."""
        return self.rows

    def identity(self) -> dict[str, int]:
        """Rows and seed."""
        return {"rows": self.rows, "seed": self.seed}

    def order(self) -> Callable[[Positions], Array]:
        """A keyed permutation, computed where it is asked for."""
        return Permutation(self.rows, self.seed, self.epoch).at


class OrderedSampler(OrderSampler):
    """Chosen rows in the order that is given: of a curriculum, or of `ppx select --indexes`.

    One order is walked in each epoch; of several, epoch e walks the one at place e. ::

        order = pq.read_table("chosen.parquet")["row"].to_numpy()
        sampler = OrderedSampler(order)
        by_stage = OrderedSampler(easy, middle, np.load("hard.npy", mmap_mode="r"))

    Args:
        orders: positions of rows, from 0, each an array of whole numbers or a memory map, which is
            never read whole into memory. A row may be there again.
        rank: of this process, of ``world``. Under accelerate, leave both.
        world: processes that part an epoch.
        drop_last: leave out the last rows of what does not part evenly, instead of repeating the
            first.

    Raises:
        ValueError: an order has no row, or is not of whole numbers; when they are asked for, a
            position below 0, or an epoch that has no order.
    """

    def __init__(
        self, *orders: Array, rank: int = 0, world: int = 1, drop_last: bool = False
    ) -> None:
        super().__init__(rank=rank, world=world, drop_last=drop_last)
        if not orders:
            raise ValueError("give an order, or one for each epoch")
        for order in orders:
            if order.ndim != 1 or order.dtype.kind not in "iu" or not len(order):
                raise ValueError(
                    "an order is one whole number or more, the positions of rows: not "
                    f"{order.dtype} of shape {order.shape}"
                )
        self.orders = orders

    @property
    def total(self) -> int:
        """Rows of this epoch's order."""
        return len(self._given)

    def identity(self) -> dict[str, int]:
        """Rows of all orders, and their CRC-32; both read once."""
        return {"rows": sum(map(len, self.orders)), "crc32": self._crc32}

    def order(self) -> Callable[[Positions], Array]:
        """The order that was given for this epoch."""
        given = self._given

        def at(places: Positions) -> Array:
            rows = given[places]
            if rows.min() < 0:
                place = int(places[np.argmax(rows < 0)])
                raise ValueError(f"the order has {rows.min()} at place {place}: rows count from 0")
            return rows

        return at

    @property
    def _given(self) -> Array:
        if len(self.orders) == 1:
            return self.orders[0]
        if not 0 <= self.epoch < len(self.orders):
            raise ValueError(
                f"epoch {self.epoch} has no order: they are of epochs 0 to {len(self.orders) - 1}"
            )
        return self.orders[self.epoch]

    @cached_property
    def _crc32(self) -> int:
        found = 0
        for order in self.orders:
            for start in range(0, len(order), BLOCK):
                found = zlib.crc32(order[start : start + BLOCK].astype("<i8").tobytes(), found)
        return found
