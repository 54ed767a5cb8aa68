"""Documents laid end to end as a tree of prefixes: what they begin with together is computed once.

A walk through the tree visits documents so that each begins with as much as possible of the one
before it. It adds the rest of its tokens to the packed row, and finds its beginning where that lies
already. Several answers to one prompt, a system prompt, and the first words that answers have in
common are all the same case; without anything shared this is plain packing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

# A shorter beginning is computed again: to find it costs a mask and a copy of its keys and values.
FEWEST_SHARED = 16

Span = tuple[int, int]
Array = np.ndarray[Any, Any]


@dataclass(frozen=True, slots=True)
class Segment:
    """One document in a packed row, as spans of flat positions.

    Args:
        past: where its first tokens lie already, in order.
        own: the rest of its tokens, which are computed for it; may be empty.
    """

    past: tuple[Span, ...]
    own: Span

    @property
    def path(self) -> tuple[Span, ...]:
        """All of its tokens, in order."""
        return (*self.past, self.own)

    @property
    def seen(self) -> int:
        """How many tokens ``past`` holds."""
        return _size(self.past)


def plan(documents: Sequence[Array], *, budget: int) -> list[list[int]]:
    """Cut int (T,) documents into groups of at most ``budget`` tokens, shared ones counted once.

    A document longer than the budget gets a group of its own. Each group is a walk through its tree
    that starts with its longest document (`varlen` takes the mask from that one). A function of the
    documents alone, ties by index.
    """
    keys = [np.ascontiguousarray(document, dtype=">u4").tobytes() for document in documents]
    order = sorted(range(len(documents)), key=lambda i: (keys[i], i))
    sorted_documents = [documents[i] for i in order]
    groups = _cut(sorted_documents, budget)
    return [[order[i] for i in _longest_first(sorted_documents, group)] for group in groups]


def _cut(documents: Sequence[Array], budget: int) -> list[range]:
    """The cuts of sorted documents with the fewest tokens: what lies across one is computed twice.

    Dynamic programming over the ends of groups. One more forward pass counts as a sixteenth of the
    budget (measured: a little less), so groups are full where nothing speaks against it.
    """
    shared = [0, *(shared_by(*pair) for pair in pairwise(documents))]
    cost, start_of = [0], [0]
    for stop in range(1, len(documents) + 1):
        added = 0
        options: list[tuple[int, int]] = []
        for start in range(stop - 1, -1, -1):
            used = len(documents[start]) + added
            if used > budget and options:
                break
            options.append((cost[start] + used + budget // 16, start))
            added = used - shared[start]
        best, start = min(options)
        cost.append(best)
        start_of.append(start)
    groups = []
    stop = len(documents)
    while stop:
        groups.append(range(start_of[stop], stop))
        stop = start_of[stop]
    return groups[::-1]


def _longest_first(documents: Sequence[Array], group: range) -> list[int]:
    """The same walk from its longest document on: its nearest relatives first."""
    longest = max(group, key=lambda i: len(documents[i]))
    near = {i: common_to(documents[longest], documents[i]) for i in group if i != longest}
    return [longest, *sorted(near, key=lambda i: -near[i])]


def lay(documents: Sequence[Array], *, shared: bool) -> list[Segment]:
    """Lay documents end to end in the given order, without what the one before has already."""
    segments: list[Segment] = []
    end = 0
    for place, document in enumerate(documents):
        known = shared_by(documents[place - 1], document) if shared and place else 0
        past = _first(segments[-1].path, known) if known else ()
        start, end = end, end + len(document) - known
        segments.append(Segment(past, (start, end)))
    return segments


def shared_by(one: Array, other: Array) -> int:
    """How many first tokens two documents share, 0 where too few to make use of."""
    count = common_to(one, other)
    return count if count >= FEWEST_SHARED else 0


def common_to(one: Array, other: Array) -> int:
    """How many first tokens are equal."""
    length = min(len(one), len(other))
    different = np.flatnonzero(one[:length] != other[:length])
    return int(different[0]) if len(different) else length


def _first(path: Sequence[Span], count: int) -> tuple[Span, ...]:
    """The spans of the first ``count`` tokens of a path."""
    found: list[Span] = []
    for start, stop in path:
        found.append((start, min(stop, start + count - _size(found))))
        if _size(found) == count:
            break
    return tuple(span for span in found if span[0] < span[1])


def _size(spans: Sequence[Span]) -> int:
    return sum(stop - start for start, stop in spans)
