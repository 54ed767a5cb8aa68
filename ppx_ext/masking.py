"""Scores -> kept targets -> labels, the one contract that both hosts honour in every mode."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np

from ppx_ext.contracts import IGNORE, Example, Mask, Numbers, Scored

if TYPE_CHECKING:
    from ppx_ext.contracts import Bools, Ints
    from ppx_ext.stages import Stage


_OWN = threading.local()


def rng(seed: int, stage: str, row: int) -> np.random.Generator:
    """A generator seeded by recipe seed, stage and row: the result hangs on no order or shard."""
    return _seeded(np.random.PCG64(0), seed, stage, row)


def _seeded(bits: np.random.PCG64, seed: int, stage: str, row: int) -> np.random.Generator:
    # NumPy's own seeding takes longer than deciding a row's mask.
    digest = hashlib.blake2b(f"{seed}/{stage}/{row}".encode(), digest_size=32).digest()
    state, increment = int.from_bytes(digest[:16], "little"), int.from_bytes(digest[16:], "little")
    bits.state = {
        "bit_generator": "PCG64",
        "state": {"state": state, "inc": increment | 1},
        "has_uint32": 0,
        "uinteger": 0,
    }
    return np.random.Generator(bits)


def fit(stage: Stage[Mask], scored: Iterable[Scored]) -> Numbers:
    """The mask's state over the whole data set."""
    return stage.component.fit(stage.settings, scored)


def keep_targets(stage: Stage[Mask], state: Numbers, scored: Scored, *, seed: int) -> Bools:
    """Which targets of one row keep their loss, bool (R,), as the mask decides.

    Raises:
        ValueError: the mask returned another shape or type (a bug of the method; it is named).
    """
    component, row = stage.component, scored.example.row
    if not hasattr(_OWN, "bits"):
        _OWN.bits = np.random.PCG64(0)
    generator = _seeded(_OWN.bits, seed, "mask", row)
    keep_R = component.keep(stage.settings, state, scored, generator)
    targets = int(scored.example.target_T.sum())
    if not isinstance(keep_R, np.ndarray) or keep_R.dtype != np.bool_ or len(keep_R) != targets:
        found = f"{getattr(keep_R, 'dtype', type(keep_R).__name__)} {np.shape(keep_R)}"
        raise ValueError(
            f"mask {component.name!r} returned {found} for row {row}; it must return bool "
            f"({targets},): one entry for each target"
        )
    return keep_R


def expand(example: Example, keep_R: Bools) -> Bools:
    """Bool (R,) over targets -> bool (T,) over tokens; False at tokens that are no target."""
    keep_T = np.zeros(len(example.ids_T), dtype=np.bool_)
    keep_T[example.target_T] = keep_R
    return keep_T


def masked_labels(labels_T: Ints, example: Example, keep_R: Bools) -> Ints:
    """The host's own labels (T,) with -100 at targets that lost their loss, else unchanged."""
    drop_T = example.target_T & ~expand(example, keep_R)
    return np.where(drop_T, IGNORE, labels_T).astype(np.int32)
