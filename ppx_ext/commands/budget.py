"""The command `ppx budget`: how difficult the rows should be for a budget."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ppx_ext.commands import options
from ppx_ext.commands.options import example

if TYPE_CHECKING:
    from ppx_ext.advising.advice import Question
    from ppx_ext.advising.pilots import Results


def _budgets(context: click.Context, option: click.Parameter, value: str | None) -> Any:
    try:
        return None if value is None else tuple(int(part) for part in value.split(","))
    except ValueError:
        raise click.BadParameter("budgets are whole numbers: 250,500,1000") from None


def _yaml(context: click.Context, option: click.Parameter, value: str) -> Any:
    import yaml

    try:
        return yaml.safe_load(value)
    except yaml.YAMLError as error:
        raise click.BadParameter(f"not a name, nor YAML: {error}") from None


@click.command(
    epilog=example(
        "ppx budget my.trl.yaml --examples 4000 --grid 250,500,1000 --out out/pilots",
        "ppx budget --examples 4000 --pilots results.csv --rows 20000 --out out/advice",
        "ppx budget --examples 4000 --rows 20000        # no pilots: a prior",
    )
)
@click.argument("recipe", required=False)
@click.option("--examples", type=click.IntRange(min=1), required=True, help="The budget.")
@click.option("--by", default="response_length", show_default=True, callback=_yaml,
              help="Measure of difficulty, or {use: ..., ...}.")  # fmt: skip
@click.option("--rows", type=click.IntRange(min=1), help="Rows that there are to choose from.")
@click.option("--pilots", type=click.Path(path_type=Path, exists=True, dir_okay=False),
              help="Read results of pilots: .csv, .json, .jsonl, .parquet.")  # fmt: skip
@click.option("--lower-is-better", is_flag=True, help="The results are losses.")
@click.option("--grid", metavar="N,N,...", callback=_budgets, help="Run pilots of these budgets.")
@click.option("--bands", default=3, show_default=True, help="Bands of difficulty.")
@click.option("--seeds", default=3, show_default=True, help="Pilots of each budget and band.")
@click.option("--everything", is_flag=True, help="Train on all rows too.")
@click.option("--metric", type=click.Choice(["accuracy", "eval_loss"]),
              help="By default accuracy on the target, where the recipe evaluates.")  # fmt: skip
@click.option("--max-failures", default=3, show_default=True, help="Give up after so many.")
@options.DATA
@options.MODEL
@click.option("--confidence", type=click.FloatRange(0.5, 0.999), default=0.9, show_default=True)
@click.option("--out", type=options.NEW, help="A folder for pilots, advice.json and advice.html.")
@options.JSON
def budget(
    recipe: str | None,
    examples: int,
    by: Any,
    rows: int | None,
    pilots: Path | None,
    grid: tuple[int, ...] | None,
    lower_is_better: bool,
    confidence: float,
    out: Path | None,
    as_json: bool,
    **wanted: Any,
) -> None:
    """Recommend how difficult the rows should be for a budget of examples.

    From pilots: short trainings on few rows from bands of difficulty, read from a file or run here
    by the recipe's own host; finished ones are never run again. Without pilots it tells what is
    believed beforehand.
    """
    from ppx_ext import catalog, plan
    from ppx_ext.advising import advice
    from ppx_ext.advising import pilots as results

    # A block that no recipe takes is no answer.
    plan.parse({"choose": {"use": "budget", "by": by, "max_examples": examples}}, catalog.load())
    if pilots and (recipe or grid):
        raise click.UsageError("--pilots is instead of a recipe's own: give one of them")
    _refuse_idle(ran=grid is not None, loaded=recipe is not None)
    notes: list[str] = []
    if pilots:
        read = results.read(pilots)
        losses = lower_is_better or any(pilot.lower_is_better for pilot in read)
        found: Results | None = results.Results(pilots=read, lower_is_better=losses)
    elif grid:
        found, rows, notes = _run(recipe, grid, out, by=by, examples=examples, **wanted)
    else:
        found = None
        rows = rows or _rows_of(recipe, wanted)
    question = advice.Question(examples=examples, rows=rows, by=by)
    _tell(found, question, confidence=confidence, out=out, as_json=as_json, notes=notes)


def _refuse_idle(*, ran: bool, loaded: bool) -> None:
    """Refuse options that would play no part."""
    context = click.get_current_context()
    source = click.core.ParameterSource.COMMANDLINE
    given = {name for name in context.params if context.get_parameter_source(name) is source}
    about_pilots = {"bands", "seeds", "everything", "metric", "max_failures"}
    idle = {
        "is about pilots that are run here: give --grid": set() if ran else about_pilots,
        "is about a recipe: give one": set() if loaded else {"data", "model"},
        "is about a file of --pilots; pilots that are run here know it": (
            {"lower_is_better"} if ran else set()
        ),
    }
    for reason, names in idle.items():
        for name in sorted(names & given):
            raise click.UsageError(f"--{name.replace('_', '-')} {reason}")


def _run(
    recipe: str | None, grid: tuple[int, ...], out: Path | None, **wanted: Any
) -> tuple[Results, int, list[str]]:
    if recipe is None or out is None:
        raise click.UsageError("to run pilots, give a recipe and --out")
    from ppx_ext import catalog
    from ppx_ext.advising import pilots
    from ppx_ext.advising.grid import Grid
    from ppx_ext.advising.running import Wanted, run

    shape = {name: wanted.pop(name) for name in ("bands", "seeds", "everything")}
    asked = Grid(budgets=grid, **shape)
    asked.check()
    done = run(Wanted(recipe=options.load(recipe), grid=asked, out=out, **wanted), catalog.load())
    pilots.write(out / "pilots.csv", done.results)
    return done.results, done.rows, done.told()


def _rows_of(recipe: str | None, wanted: dict[str, Any]) -> int | None:
    if recipe is None:
        return None
    loaded = options.load(recipe)
    given = {name: wanted[name] for name in ("data", "model")}
    with options.logs_aside():
        return len(options.host(loaded).tokenized(loaded.path, **given).dataset)


def _tell(
    found: Results | None,
    question: Question,
    *,
    confidence: float,
    out: Path | None,
    as_json: bool,
    notes: list[str],
) -> None:
    from ppx_ext import listing
    from ppx_ext.advising import advice, page, show

    given: Any = (
        advice.prior(question)
        if found is None
        else advice.advise(found, question, confidence=confidence, notes=notes)
    )
    if as_json:
        click.echo(listing.as_json(given.dump()))
    elif found is None:
        show.show_prior(given)
    else:
        show.show(given)
    if out is not None:
        for path in page.write(out, given):
            click.echo(f"Wrote {path}", err=as_json)
