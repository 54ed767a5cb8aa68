"""Selective Self-to-Supervised Fine-Tuning: own answers, else paraphrases, else golds."""

from __future__ import annotations

from collections.abc import Sequence

from ppx_ext import Builder, Built, Dropped, GoldRow, Tools
from ppx_s3ft import rounds
from ppx_s3ft.settings import S3ftSettings

PAPER = "Gupta et al., Selective Self-to-Supervised Fine-Tuning, arXiv 2502.08130"


def build(settings: S3ftSettings, rows: Sequence[GoldRow], tools: Tools) -> list[Built | Dropped]:
    """One target for each row (arXiv 2502.08130, figure 1); no row is left out.

    The model answers, the gold unseen; judged correct, that is the target. Else it paraphrases the
    gold; judged correct, that is. Else the gold is. What a judge cannot tell is not trained on.
    """
    if tools.judge is None:
        raise ValueError("s3ft trains on what a judge finds correct, and no judge is configured")
    first = _round(settings, rows, tools, attempt=0)
    left = [one.row for one in first if one.refused and settings.paraphrase]
    second = {one.row.row: one for one in _round(settings, left, tools, attempt=1)} if left else {}
    return [_target(own, second.get(own.row.row)) for own in first]


def _round(
    settings: S3ftSettings, rows: Sequence[GoldRow], tools: Tools, *, attempt: int
) -> list[rounds.Attempt]:
    template = settings.prompts.paraphrase if attempt else settings.prompts.answer
    asked = [(row, settings.request(template, row, attempt)) for row in rows]
    if not attempt:
        return rounds.ask(asked, template, tools, keep_cut_off=settings.keep_cut_off)
    return rounds.ask(
        asked, template, tools, keep_cut_off=settings.keep_cut_off, leak=settings.leak
    )


def _target(own: rounds.Attempt, paraphrase: rounds.Attempt | None) -> Built | Dropped:
    if not own.refused:
        return rounds.built(own, "own", attempts=1)
    note = f"own answer not taken ({own.refused})"
    if paraphrase is None:
        return rounds.fall_back(own.row, "gold", attempts=1, note=note)
    if paraphrase.refused:
        note = f"{note}; paraphrase not taken ({paraphrase.refused})"
        return rounds.fall_back(own.row, "gold", attempts=2, note=note)
    return rounds.built(paraphrase, "paraphrase", attempts=2, note=note)


S3FT = Builder(
    name="s3ft",
    paper=PAPER,
    settings=S3ftSettings,
    build=build,
    published={  # table 3, Mistral-7B-Instruct-v0.2
        "GSM8K": {"own": 0.495, "paraphrase": 0.421, "gold": 0.084},
        "MBPP": {"own": 0.302, "paraphrase": 0.324, "gold": 0.374},
        "NQ": {"own": 0.660, "paraphrase": 0.256, "gold": 0.081},
    },
)
