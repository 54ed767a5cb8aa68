"""Whose words a built data set is in: its numbers, and the table that is shown of them."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from ppx_ext.building.golds import Gold
from ppx_ext.building.provenance import DROPPED, RESPONSE, SOURCES, Counts, Shard
from ppx_ext.contracts import Numbers
from ppx_ext.examples import GOLD, SOURCE
from ppx_ext.progress import Advance
from ppx_ext.skips import SHOWN


def numbers_of(
    rows: Sequence[Gold],
    shards: Sequence[Shard],
    *,
    published: Mapping[str, Mapping[str, float]],
    read: Mapping[str, object],
) -> Numbers:
    """What the record of a built data set tells, as plain JSON values.

    ``composition`` counts rows by source, ``shares`` are of all rows that are there (as are those
    of ``published``), ``mean_characters`` compares responses with the golds of the same rows.

    Args:
        rows: all rows that were read.
        shards: what was made of them.
        published: compositions in the builder's paper.
        read: rows and skipped rows, as `Skips.numbers` has them.
    """
    lines = [line for shard in shards for line in shard.lines]
    pairs = [(gold, at) for gold, at in zip(rows, lines, strict=True) if at[DROPPED] is None]
    counts = Counter(str(line[SOURCE]) for _, line in pairs)
    asked = Counts()
    for shard in shards:
        asked.add(shard.counts)
    return {
        "rows": len(pairs),
        "composition": {source: counts[source] for source in SOURCES},
        "shares": {source: counts[source] / max(len(pairs), 1) for source in SOURCES},
        "published": {name: dict(shares) for name, shares in published.items()},
        "not_asked": _reasons((gold.passes, gold.row) for gold in rows if gold.passes),
        "dropped": {"rows": len(lines) - len(pairs), "first": _dropped(lines)},
        "gold_word_for_word": sum(_repeats(gold, line) for gold, line in pairs),
        "attempts": sum(line["ppx_attempts"] for line in lines),
        "mean_characters": _lengths(pairs),
        "read": dict(read),
        **asked.dump(),
    }


def _dropped(lines: Sequence[Mapping[str, Any]]) -> list[str]:
    found = [f"row {line['ppx_row']}: {line[DROPPED]}" for line in lines if line[DROPPED]]
    return found[:SHOWN]


def _reasons(found: Any) -> dict[str, dict[str, Any]]:
    reasons: dict[str, list[int]] = {}
    for reason, row in found:
        reasons.setdefault(reason, []).append(row)
    return {
        reason: {"rows": len(places), "first": places[:SHOWN]}
        for reason, places in sorted(reasons.items())
    }


def _repeats(gold: Gold, line: Mapping[str, Any]) -> bool:
    """Whether the model said the very words of the gold."""
    same = gold.asked is not None and str(line[RESPONSE]).strip() == gold.asked.gold.strip()
    return same and line[SOURCE] != GOLD


def _lengths(pairs: Sequence[tuple[Gold, Mapping[str, Any]]]) -> dict[str, dict[str, float]]:
    sizes: dict[str, list[tuple[int, int]]] = {}
    for gold, line in pairs:
        if gold.asked is not None:
            both = (len(line[RESPONSE]), len(gold.asked.gold))
            sizes.setdefault(str(line[SOURCE]), []).append(both)
    return {
        source: {
            "response": sum(own for own, _ in sizes[source]) / len(sizes[source]),
            "gold": sum(gold for _, gold in sizes[source]) / len(sizes[source]),
        }
        for source in SOURCES
        if source in sizes
    }


WORDS = {
    "own": "own answer",
    "paraphrase": "paraphrase",
    GOLD: "gold",
}


def table(numbers: Mapping[str, Any]) -> list[list[str]]:
    """Lines of cells: a head, then rows and share of each source, the paper's share beside it."""
    published = numbers["published"]
    head = ["target", "rows", "share", *(f"{name} (paper)" for name in published)]
    lines = [
        [
            WORDS[source],
            f"{numbers['composition'][source]:,}",
            f"{numbers['shares'][source]:.1%}",
            *(_percent(shares.get(source)) for shares in published.values()),
        ]
        for source in SOURCES
    ]
    return [head, *lines]


def show(numbers: Mapping[str, Any]) -> None:
    """Print `table`, and what was left out or not asked, for the terminal."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    head, *lines = table(numbers)
    shown = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for at, name in enumerate(head):
        shown.add_column(name, justify="right" if at else "left", overflow="fold")
    for line in lines:
        shown.add_row(*line)
    console = Console(markup=False, highlight=False)
    console.print(shown)
    for note in notes(numbers):
        console.print(note)


def notes(numbers: Mapping[str, Any]) -> list[str]:
    """What the table does not tell, in words."""
    failed = sum(numbers["failures"].values())
    dropped, repeated = numbers["dropped"]["rows"], numbers["gold_word_for_word"]
    found = [
        f"{about['rows']:,} rows were not put to the model and keep their gold: {reason}."
        for reason, about in numbers["not_asked"].items()
    ]
    if dropped:
        first = numbers["dropped"]["first"][0]
        found.append(f"{dropped:,} rows were left out, as the settings say (for instance {first}).")
    if repeated:
        found.append(f"{repeated:,} of the model's responses are the gold word for word.")
    if failed:
        asked = numbers["requests"]
        found.append(f"{failed:,} of {asked:,} requests were not answered; their rows did without.")
    for judge, said in numbers["verdicts"].items():
        counts = ", ".join(f"{verdict} {count:,}" for verdict, count in said.items())
        found.append(f"{judge or 'The judge'} said: {counts}.")
    return found


def _percent(share: float | None) -> str:
    return "" if share is None else f"{share:.1%}"


def running(lines: Sequence[Mapping[str, Any]]) -> str:
    """The composition so far in a few words."""
    counts = Counter("dropped" if line[DROPPED] else str(line[SOURCE]) for line in lines)
    total = max(counts.total(), 1)
    names = [*SOURCES, *(["dropped"] if counts["dropped"] else [])]
    return " ".join(f"{name} {counts[name] / total:.0%}" for name in names)


class Told:
    """What the progress bar tells beside the rows: answers and their rate, and whose words."""

    def __init__(self, shards: list[Shard]) -> None:
        self._lines = [line for shard in shards for line in shard.lines]
        self._composition = running(self._lines)
        self._answers = 0
        self._started = time.monotonic()

    def answered(self, advance: Advance) -> None:
        """One more answer came."""
        self._answers += 1
        advance(0, self.note())

    def made(self, shard: Shard) -> None:
        """One more shard is there."""
        self._lines += shard.lines
        self._composition = running(self._lines)

    def note(self) -> str:
        """All of it in a few words."""
        rate = self._answers / max(time.monotonic() - self._started, 1e-9)
        answers = f"{self._answers:,} answers, {rate:.1f}/s" if self._answers else ""
        return ", ".join(filter(None, [answers, self._composition]))
