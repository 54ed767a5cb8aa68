"""Self-Output: several samples a row, of which a correct one is trained on."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from ppx_ext import Builder, Built, Dropped, GoldRow, Tools
from ppx_s3ft import rounds
from ppx_s3ft.settings import SelfOutputSettings

PAPER = "Wu et al., Selective Token Masking, arXiv 2501.14315, section 2.3 (Self-Output)"


def build(
    settings: SelfOutputSettings, rows: Sequence[GoldRow], tools: Tools
) -> list[Built | Dropped]:
    """The chosen correct sample of each row, or what ``fallback`` says (arXiv 2501.14315, 2.3)."""
    if tools.judge is None:
        raise ValueError(
            "self_output trains on what a judge finds correct, and no judge is configured"
        )
    template, samples = settings.prompts.answer, settings.samples
    asked = [(row, settings.request(template, row, n)) for row in rows for n in range(samples)]
    attempts = rounds.ask(asked, template, tools, keep_cut_off=settings.keep_cut_off)
    groups = [attempts[at : at + samples] for at in range(0, len(attempts), samples)]
    correct = [_distinct(group) for group in groups]
    perplexities = _perplexities(settings, correct, tools)
    return [
        _target(settings, group, ones, values)
        for group, ones, values in zip(groups, correct, perplexities, strict=True)
    ]


def _distinct(group: Sequence[rounds.Attempt]) -> list[rounds.Attempt]:
    """What may be trained on, each text once, as it was drawn first."""
    first: dict[str, rounds.Attempt] = {}
    for one in group:
        if not one.refused:
            first.setdefault(one.text, one)
    return list(first.values())


def _perplexities(
    settings: SelfOutputSettings, correct: Sequence[Sequence[rounds.Attempt]], tools: Tools
) -> list[list[float | None]]:
    if settings.pick != "lowest_perplexity":
        return [[None] * len(ones) for ones in correct]
    if tools.perplexity is None:
        raise ValueError("pick: lowest_perplexity needs the base model, and none is lent")
    pairs = [(one.row.prompt, one.text) for ones in correct for one in ones]
    values = iter(tools.perplexity(pairs, settings.conditional) if pairs else ())
    return [[next(values) for _ in ones] for ones in correct]


def _target(
    settings: SelfOutputSettings,
    group: Sequence[rounds.Attempt],
    correct: Sequence[rounds.Attempt],
    perplexities: Sequence[float | None],
) -> Built | Dropped:
    rate = rounds.pass_rate(group)
    if not correct:
        note = f"none of {len(group)} samples taken, the first: {group[0].refused}"
        left = rounds.fall_back(group[0].row, settings.fallback, attempts=len(group), note=note)
        return replace(left, pass_rate=rate) if isinstance(left, Built) else left
    at = _picked(settings, correct, perplexities)
    usable = sum(not one.refused for one in group)
    note = f"{usable} of {len(group)} samples correct" if len(group) > 1 else ""
    built = rounds.built(correct[at], "own", attempts=len(group), note=note)
    return replace(built, perplexity=perplexities[at], pass_rate=rate)


def _picked(
    settings: SelfOutputSettings,
    correct: Sequence[rounds.Attempt],
    perplexities: Sequence[float | None],
) -> int:
    """Place of the sample that is trained on; of equals, the one that was drawn first."""
    if settings.pick == "first":
        return 0
    if settings.pick == "shortest":
        return min(range(len(correct)), key=lambda at: len(correct[at].text))
    known = [math.inf if value is None else value for value in perplexities]
    return min(range(len(correct)), key=known.__getitem__)


SELF_OUTPUT = Builder(
    name="self_output",
    paper=PAPER,
    settings=SelfOutputSettings,
    build=build,
    scored=lambda settings: settings.pick == "lowest_perplexity",
)
