"""Commands of the controlled study: problems, and `ppx study difficulty`."""

from __future__ import annotations

from pathlib import Path

import click

from ppx_ext.commands import options
from ppx_ext.commands.options import example


@click.command(
    epilog=example(
        "ppx problems --ops 2 8 --count 1000 --seed 0 train.jsonl",
        "ppx problems --ops 9 12 --count 200 --split test test.jsonl",
    )
)
@click.argument("out", metavar="OUT", type=options.NEW)
@click.option("--ops", type=(int, int), metavar="LOW HIGH", required=True, help="Operations.")
@click.option("--count", type=int, required=True, help="How many problems.")
@click.option("--seed", default=0, show_default=True, help="Draws them.")
@click.option("--split", default="train", show_default=True, help="train or test; no overlap.")
@click.option("--modulus", default=7, show_default=True, help="Of all arithmetic.")
@click.option("--distractors", default=0, show_default=True, help="Counts nobody needs, in each.")
def problems(
    out: Path,
    ops: tuple[int, int],
    count: int,
    seed: int,
    split: str,
    modulus: int,
    distractors: int,
) -> None:
    """Write word problems whose answers need a known number of operations.

    Rows have prompt, response (solved step by step), ops and answer. All differ in structure; each
    number of operations from LOW to HIGH comes up equally often. OUT ends in .jsonl.
    """
    from ppx_ext.problems import Settings, write
    from ppx_ext.problems.supply import split_named

    settings = Settings(ops=ops, modulus=modulus, distractors=distractors, split=split_named(split))
    write(out, settings, count=count, seed=seed)
    click.echo(f"Wrote {out}: {count} problems.")


@click.group()
def study() -> None:
    """Studies of a paper's claims, under a protocol that is written beforehand."""


@study.command(
    epilog=example(
        "ppx study difficulty out",
        "ppx study difficulty out --size large --workers 4",
    )
)
@click.argument("out", type=options.NEW)
@click.option("--size", default="small", show_default=True, help="tiny (a trial), small or large.")
@click.option("--seeds", type=int, help="By default as many as the protocol says.")
@click.option("--workers", type=click.IntRange(min=1), help="Processes; by default all cores.")
def difficulty(out: Path, size: str, seeds: int | None, workers: int | None) -> None:
    """Difficulty against budget on made problems (arXiv 2605.12906): what is reproduced.

    Trains bases, fine-tunes them over operations, n and seeds, and judges the paper's observations
    by a fixed protocol. On 2 cores small takes 20 minutes with --seeds 2 and 35 with its 5; large
    wants a GPU. Killed at any moment, the next run goes on where the last one was.
    """
    from ppx_ext.difficulty_study.run import run
    from ppx_ext.difficulty_study.show import show

    show(run(out, size=size, seeds=seeds, workers=workers))
    click.echo(f"Wrote {out / 'report.html'}.")
