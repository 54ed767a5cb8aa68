"""A build that would be nothing but golds is stopped, with the cause."""

from __future__ import annotations

from ppx_ext.building.golds import Gold
from ppx_ext.building.provenance import Counts
from ppx_ext.skips import SHOWN

ENOUGH_VERDICTS = 20
"""So many in one shard tell that a judge can tell nothing, long before the last."""


def check_answered(counts: Counts, part: list[Gold], limit: float) -> None:
    """An engine that falls silent must not turn a data set into its golds.

    Raises:
        ValueError: no request was answered, or more failed than one and than ``limit``, a share.
    """
    failed = counts.failures.total()
    if not failed or failed <= max(1, limit * counts.requests) < counts.requests:
        return
    causes = "; ".join(f"{n} times: {why}" for why, n in counts.failures.most_common(SHOWN))
    raise ValueError(
        f"{failed} of {counts.requests} requests for rows {part[0].row} to {part[-1].row} were not "
        f"answered ({causes}), and their rows would be trained on as they are. Mend the cause and "
        "run the same command again: every answer is kept, and only these are asked. Or raise "
        f"max_skipped_share, which is {limit:g}."
    )


def check_judged(counts: Counts, *, at_least: int) -> None:
    """A judge that can tell nothing leaves nothing but golds.

    Raises:
        ValueError: ``at_least`` so many responses were judged, and of none could be told.
    """
    said = [(sum(each.values()), each["unknown"]) for each in counts.verdicts.values()]
    judged = sum(total for total, _ in said)
    if judged < at_least or judged > sum(unknown for _, unknown in said):
        return
    raise ValueError(
        f"the judge ({', '.join(counts.verdicts)}) can tell of none of {judged} responses whether "
        f"they are correct. Of the first: {counts.first_unknown}. Name a judge that can, or mend "
        "what it reads."
    )
