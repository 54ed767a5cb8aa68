"""Rephrase: every gold in the model's own words, the gold shown (SDFT)."""

from __future__ import annotations

from collections.abc import Sequence

from ppx_ext import Builder, Built, Dropped, GoldRow, Tools
from ppx_s3ft import rounds
from ppx_s3ft.settings import RephraseSettings

PAPER = "Yang et al., Self-Distillation Bridges Distribution Gap (SDFT), arXiv 2402.13669"


def build(
    settings: RephraseSettings, rows: Sequence[GoldRow], tools: Tools
) -> list[Built | Dropped]:
    """Each row's rewrite, where it passes SDFT's checks, and the judge's where one is configured.

    SDFT judges only tasks that have a check of their own (arXiv 2402.13669, the authors'
    repository), so a judge is optional here.
    """
    template = settings.prompts.paraphrase
    asked = [(row, settings.request(template, row, 0)) for row in rows]
    found = rounds.ask(
        asked, template, tools, keep_cut_off=settings.keep_cut_off, leak=settings.leak
    )
    return [_target(settings, one) for one in found]


def _target(settings: RephraseSettings, rewrite: rounds.Attempt) -> Built | Dropped:
    if not rewrite.refused:
        return rounds.built(rewrite, "paraphrase", attempts=1)
    note = f"rewrite not taken ({rewrite.refused})"
    return rounds.fall_back(rewrite.row, settings.fallback, attempts=1, note=note)


REPHRASE = Builder(
    name="rephrase",
    paper=PAPER,
    settings=RephraseSettings,
    build=build,
    judged=lambda settings: False,
)
