"""A shuffled order of N rows in constant memory: a keyed permutation, computed where asked."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from ppx_ext.selecting.order import Array, Positions, mix

ROUNDS = 6
SMALL = 1 << 16
"""Up to so many rows, hashes are sorted: halves of few bits would not scramble well."""


@dataclass(frozen=True)
class Permutation:
    """A pseudo-random bijection of 0 .. rows - 1: a Feistel network with cycle walking.

    The network permutes the 2^b numbers of b bits, 2^b < 2 max(rows, 2); a number that is no row
    is sent through again until one is. Any stretch of the order can be had at once. Rows up to
    2^16 are sorted by a keyed hash instead.

    Attributes:
        rows: how many there are, below 2^62.
        seed: of the order.
        epoch: another order for each.
    """

    rows: int
    seed: int = 0
    epoch: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.rows < 1 << 62:
            raise ValueError(f"a permutation is of 0 rows or more, below 2^62, not {self.rows}")

    def __len__(self) -> int:
        return self.rows

    def at(self, places: Positions) -> Positions:
        """The rows (int64) that stand at these places of the order.

        Raises:
            ValueError: a place is not one of 0 .. rows - 1.
        """
        places = np.asarray(places)
        if len(places) and not (places.min() >= 0 and places.max() < self.rows):
            raise ValueError(f"places run from 0 to {self.rows - 1}")
        if self.rows <= SMALL:
            return self._sorted[places]
        found = self._network(places.astype(self._type))
        outside = np.flatnonzero(found >= self.rows)
        while len(outside):
            again = self._network(found[outside])
            found[outside] = again
            outside = outside[again >= self.rows]
        return found.astype(np.int64)

    @cached_property
    def _sorted(self) -> Positions:
        return np.argsort(mix(np.arange(self.rows, dtype=np.uint64) + self._keys[0]))

    @property
    def _type(self) -> type[np.unsignedinteger]:
        return np.uint32 if self.rows <= 1 << 31 else np.uint64

    @cached_property
    def _keys(self) -> NDArray[np.uint64]:
        parts = np.array([part & (2**64 - 1) for part in (self.seed, self.epoch)], dtype=np.uint64)
        start = mix(mix(parts[:1] + np.uint64(0x9E3779B97F4A7C15)) ^ ~mix(~parts[1:]))
        return mix(
            start + np.arange(1, ROUNDS + 1, dtype=np.uint64) * np.uint64(0xD1B54A32D192ED03)
        )

    def _network(self, numbers: Array) -> Array:
        kind = self._type
        bits = max((self.rows - 1).bit_length(), 2)
        low_bits, high_bits = bits // 2, bits - bits // 2
        high: Array = numbers >> kind(low_bits)
        low: Array = numbers & kind((1 << low_bits) - 1)
        for key in self._keys:
            # Halves may differ by one bit: each keeps its own width as they change places.
            scrambled = _scramble(low, key, kind)
            high ^= scrambled & kind((1 << high_bits) - 1)
            high, low, high_bits, low_bits = low, high, low_bits, high_bits
        high <<= kind(low_bits)
        high |= low
        return high


def _scramble(values: Array, key: np.uint64, kind: type[np.unsignedinteger]) -> Array:
    """A keyed mix of one half; it need not be invertible."""
    bits = np.iinfo(kind).bits
    odd = 0x7FEB352D if bits == 32 else 0xBF58476D1CE4E5B9
    mixed: Array = values + kind(int(key) & ((1 << bits) - 1))
    mixed *= kind(odd)
    mixed ^= mixed >> kind(bits // 2 - 1)
    mixed *= kind((int(key) >> 20) & 0xFFFFFFFF | 1)
    mixed >>= kind(bits // 2 - 4)
    return mixed
