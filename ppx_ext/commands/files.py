"""Commands that work on a file of rows, without a recipe: judge, select."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from ppx_ext.commands import options
from ppx_ext.commands.options import example


@click.command(
    epilog=example(
        "ppx judge --judge math answers.jsonl judged.jsonl",
        "ppx judge --judge math --judge llm --generator openai \\",
        "    --set generator.base_url=http://localhost:8000/v1 --model my-model \\",
        "    answers.jsonl judged.jsonl",
    )
)
@click.argument("source", metavar="IN")
@click.argument("out", metavar="OUT", type=options.NEW)
@click.option("--judge", "judges", multiple=True, required=True, help="Again: first that can tell.")
@click.option("--set", "settings", multiple=True, metavar="KEY=VALUE", help="[JUDGE.]KEY=VALUE.")
@click.option("--response", default="response", show_default=True, help="Column that is judged.")
@click.option("--gold", help="Column with the gold; else gold or answer.")
@click.option("--prompt", help="Column with the question, for judges that read it.")
@click.option("--generator", help="Engine that a judge asks; --set generator.KEY=VALUE sets it.")
@click.option("--model", metavar="PATH_OR_ID", help="That the engine runs, or its server knows.")
def judge(
    source: str,
    out: Path,
    response: str,
    gold: str | None,
    prompt: str | None,
    **wanted: Any,
) -> None:
    """Judge the responses in a file: correct, wrong or unknown, and why.

    Reads response, gold and tests; keeps every column; adds verdict, reason and judge. OUT ends in
    .jsonl or .parquet. Killed at any moment, the next run goes on where the last one was.
    """
    from ppx_ext import catalog, judge_run
    from ppx_ext.judging import Columns

    columns = Columns(response=response, gold=gold, prompt=prompt)
    given = judge_run.Wanted(**wanted)
    judge_run.show(judge_run.run(source, out, given, columns=columns, catalog=catalog.load()))
    click.echo(f"Wrote {out}.")


@click.command(
    "select",
    epilog=example(
        "ppx select scored.parquet easy.parquet --by nll --count 4000",
        "ppx select scored.jsonl middle.parquet --by nll --window 0.33 0.67",
        "ppx select scored.parquet some.parquet --strata topic --count 1000 --proportional",
    ),
)
@click.argument("source", metavar="IN", type=click.Path(path_type=Path, exists=True))
@click.argument("out", metavar="OUT", type=options.NEW)
@click.option("--by", metavar="COLUMN", help="Scores; larger is harder.")
@click.option("--count", type=click.IntRange(min=1), help="At most so many rows.")
@click.option("--tokens", type=click.IntRange(min=1), help="At most so many tokens instead.")
@click.option("--length", metavar="COLUMN", help="Lengths in tokens.")
@click.option("--window", type=(float, float), metavar="LO HI", help="Only within these quantiles.")
@click.option("--hardest", is_flag=True, help="From the hardest on, not from the easiest.")
@click.option("--strata", metavar="COLUMN", help="Draw --count at random, equally from each value.")
@click.option("--proportional", is_flag=True, help="Draw as many of each value as it is common.")
@click.option("--unique", metavar="COLUMN", help="Leave out rows with an earlier row's value.")
@click.option("--seed", default=0, show_default=True, help="Orders equal scores; draws.")
@click.option("--indexes", is_flag=True, help="Write the rows' places (from 0), not the rows.")
@click.option("--overwrite", is_flag=True, help="Replace OUT where it is there already.")
def select(source: Path, out: Path, indexes: bool, overwrite: bool, **wanted: Any) -> None:
    """Choose rows of a file by a column of scores; they keep their order.

    IN is Parquet, Arrow, JSONL, or a folder of save_to_disk; OUT is Parquet. The budget is met
    exactly, or what it falls short by is told; rows with equal scores are ordered by the seed.
    """
    from ppx_ext.selecting import run

    chosen = run.run(source, out, run.Wanted(**wanted), indexes=indexes, overwrite=overwrite)
    tokens = "" if chosen.tokens is None else f", {chosen.tokens} tokens"
    for note in chosen.notes:
        click.echo(note)
    click.echo(f"Wrote {out}: {len(chosen.rows)} of {chosen.total} rows{tokens}.")
