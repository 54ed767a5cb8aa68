"""Rows that cannot be trained on: counted by reason, and an error beyond a limit."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from ppx_ext.chats import Skip

SHOWN = 3


@dataclass(kw_only=True)
class Skips:
    """What was skipped so far.

    Args:
        max_share: share of rows, in [0, 1], that may be skipped.
    """

    max_share: float
    rows: int = 0
    reasons: Counter[str] = field(default_factory=Counter)
    first: dict[str, list[str]] = field(default_factory=dict)

    def add(self, skip: Skip, where: str) -> None:
        """Count one row that is left out."""
        self.reasons[skip.reason] += 1
        shown = self.first.setdefault(skip.reason, [])
        if len(shown) < SHOWN:
            shown.append(f"{where} ({skip.detail})")

    def check(self) -> None:
        """Raise where too many rows were left out, or all of them.

        Raises:
            ValueError: with each reason, its count, and the first rows that it struck.
        """
        skipped = self.reasons.total()
        if not self.rows:
            raise ValueError("the data holds no row")
        if skipped < self.rows and skipped <= self.max_share * self.rows:
            return
        lines = [
            f"  {reason}: {count} rows, first {'; '.join(self.first[reason])}"
            for reason, count in self.reasons.most_common()
        ]
        raise ValueError(
            f"{skipped} of {self.rows} rows cannot be trained on; the limit (max_skipped_share) is "
            f"{self.max_share:g} of all rows. Mend the rows, or raise the limit to leave them "
            "out:\n" + "\n".join(lines)
        )

    def numbers(self) -> dict[str, object]:
        """Rows, skipped rows and each reason with the first rows that it struck, as plain JSON."""
        reasons = {
            reason: {"rows": count, "first": self.first[reason]}
            for reason, count in sorted(self.reasons.items())
        }
        return {"rows": self.rows, "skipped": self.reasons.total(), "skipped_by_reason": reasons}
