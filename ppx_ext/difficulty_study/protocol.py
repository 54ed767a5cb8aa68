"""What the study does, as values: PROTOCOL.md says why."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from ppx_ext.files import fingerprint

Range = tuple[int, int]

WEAK, STRONG = "weak", "strong"
SFT, DFT, STM = "sft", "dft", "stm"
EASY, MEDIUM, HARD = "easy", "medium", "hard"


@dataclass(frozen=True, kw_only=True, order=True)
class Cell:
    """One fine-tuning run: who is tuned, how, on what, and with which seed."""

    seed: int
    base: str
    arm: str
    range: str
    n: int

    @property
    def name(self) -> str:
        """Of its file."""
        return f"{self.base}-{self.arm}-{self.range}-{self.n}-{self.seed}"


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """One size of the study.

    Attributes:
        bases: name -> fewest and most operations of its training; ``weak`` and ``strong``.
        ranges: name -> operations of the fine-tuning problems: ``easy``, ``medium``, ``hard``.
        budgets: n, from small to large.
        seeds: how many, by default.
        test_items: in each slice; there is one slice for each number of operations.
        base_steps, base_batch, base_rate: of the bases' training, all problems fresh.
        steps, batch, rate: of fine-tuning; the steps are the same for every n.
        ppl_threshold: of the arm STM, the paper's default (arXiv 2501.14315).
        train_items: training rows on which the training loss is measured, at most.
    """

    bases: Mapping[str, Range]
    ranges: Mapping[str, Range]
    budgets: tuple[int, ...]
    seeds: int
    test_items: int
    base_steps: int
    base_batch: int
    base_rate: float
    steps: int
    batch: int
    rate: float
    hidden_size: int
    layers: int
    heads: int
    modulus: int = 7
    max_length: int = 512
    ppl_threshold: float = 2.5
    train_items: int = 128

    @property
    def slices(self) -> tuple[int, ...]:
        """Numbers of operations that are tested: all that some range trains on."""
        found = {ops for low, high in self.ranges.values() for ops in range(low, high + 1)}
        return tuple(sorted(found))

    def slices_of(self, name: str) -> tuple[int, ...]:
        """Slices of one range: the test set of its own distribution."""
        low, high = self.ranges[name]
        return tuple(range(low, high + 1))

    def cells(self, seeds: int) -> Iterator[Cell]:
        """All runs, a seed at a time, so that a study cut short has whole seeds."""
        ends = (self.budgets[0], self.budgets[-1])
        for seed in range(seeds):
            for base, arm in ((WEAK, SFT), (STRONG, SFT), (WEAK, DFT), (WEAK, STM)):
                for name in self.ranges:
                    for n in self.budgets if arm == SFT else ends:
                        yield Cell(seed=seed, base=base, arm=arm, range=name, n=n)


def hash_of(protocol: Protocol) -> str:
    """What tells results of one protocol from those of another."""
    fields = {name: getattr(protocol, name) for name in protocol.__dataclass_fields__}
    del fields["seeds"]
    return fingerprint(fields)


SIZES: Mapping[str, Protocol] = {
    "tiny": Protocol(
        bases={WEAK: (1, 1), STRONG: (1, 2)},
        ranges={EASY: (1, 1), MEDIUM: (2, 2), HARD: (3, 3)},
        budgets=(4, 8),
        seeds=2,
        test_items=4,
        base_steps=12,
        base_batch=8,
        base_rate=2e-3,
        steps=2,
        batch=4,
        rate=5e-4,
        hidden_size=32,
        layers=1,
        heads=2,
    ),
    "small": Protocol(
        bases={WEAK: (2, 4), STRONG: (2, 6)},
        ranges={EASY: (2, 4), MEDIUM: (5, 7), HARD: (8, 10)},
        budgets=(32, 160, 640),
        seeds=5,
        test_items=24,
        base_steps=1200,
        base_batch=32,
        base_rate=2e-3,
        steps=80,
        batch=8,
        rate=5e-4,
        hidden_size=128,
        layers=4,
        heads=4,
    ),
    "large": Protocol(
        bases={WEAK: (2, 7), STRONG: (2, 9)},
        ranges={EASY: (3, 7), MEDIUM: (8, 12), HARD: (13, 17)},
        budgets=(100, 400, 1600, 6400, 25600),
        seeds=8,
        test_items=100,
        base_steps=12000,
        base_batch=64,
        base_rate=1e-3,
        steps=800,
        batch=32,
        rate=2.5e-4,
        hidden_size=384,
        layers=8,
        heads=8,
    ),
}
