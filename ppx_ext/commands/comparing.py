"""The command `ppx compare`: one recipe, many arms, everything else equal."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ppx_ext.commands import options
from ppx_ext.commands.options import example

if TYPE_CHECKING:
    from ppx_ext.comparing.run import Wanted


@click.command(
    epilog=example(
        "ppx compare my.trl.yaml --arms sft,stm,random,lowest --seeds 8 --dry-run",
        "ppx compare my.trl.yaml --arms sft,stm,s3ft+stm,sft@lr=1e-5 --out out/compared",
        "ppx compare my.axolotl.yaml --arms arms.yaml --seeds 1,2,3 --workers 2",
        "",
        "# arms.yaml: name -> what it changes; or another arm's name",
        "sft: sft",
        "mild: {from: stm, says: a mild mask, ppx: {mask: {ppl_threshold: 10}}}",
        "",
        "# On many machines: start the same command on each, with one --out on a shared disk,",
        "# for instance srun --ntasks 8 --gpus-per-task 1 ppx compare ... (no torchrun).",
    )
)
@options.RECIPE
@click.option("--arms", "named", multiple=True, required=True, metavar="NAME,NAME,...",
              help="Arms, or a .yaml file of them; the first is the reference.")  # fmt: skip
@click.option("--seeds", default="8", show_default=True, metavar="N | N,N,...",
              help="How many (0, 1, ...), or which; end with a comma for just one.")  # fmt: skip
@click.option("--out", type=options.NEW, default=Path("out/compared"), show_default=True,
              help="Folder of all runs; what is done there is not done again.")  # fmt: skip
@click.option("--workers", type=click.IntRange(min=1), default=1, show_default=True,
              help="Processes side by side, one thread (and one GPU) each.")  # fmt: skip
@options.DATA
@options.MODEL
@click.option("--without-rate-sweep", is_flag=True,
              help="Leave out plain SFT at smaller rates; the report will warn.")  # fmt: skip
@click.option("--keep-weights", is_flag=True, help="Leave each run's weights in its folder.")
@click.option("--dry-run", is_flag=True, help="Only show the runs, and how arms differ.")
def compare(
    recipe: str,
    named: tuple[str, ...],
    seeds: str,
    out: Path,
    workers: int,
    data: str | None,
    model: str | None,
    without_rate_sweep: bool,
    keep_weights: bool,
    dry_run: bool,
) -> None:
    """Train one recipe in many ways, everything else equal, and tell what differs by more than
    chance.

    \b
    Arms: sft  sft@lr=x0.3  sft_normalised  sft_matched  stm  stm_quantile  random  lowest
          s3ft  self_output  rephrase  easy  medium  hard  kl  dft (TRL)  eaft (Axolotl)
          recipe (as it stands)  a+b (both)  arm@KEY=VALUE (a key of the recipe)

    Plain SFT, also at 0.3 and 0.1 times the recipe's learning rate, is always among them, and
    the reference where it was not named. The recipe's `eval:` stage says what is measured. Killed
    at any moment, the same command goes on; a run that fails costs that run alone.
    """
    from ppx_ext.comparing import run

    arms, given = _arms(named)
    wanted = run.Wanted(
        recipe=_recipe(recipe, data=data, model=model),
        arms=arms,
        given=given,
        seeds=_seeds(seeds),
        out=out,
        sweep=not without_rate_sweep,
        workers=workers,
        keep_weights=keep_weights,
        command=shlex.join(["ppx", *sys.argv[1:]]),
    )
    if dry_run:
        _tell(wanted)
        return
    _run(wanted)


def _run(wanted: Wanted) -> None:
    import time

    from ppx_ext.comparing import run
    from ppx_ext.comparing.show import show

    began = time.perf_counter()
    try:
        found = run.compare(wanted)
    except KeyboardInterrupt:
        raise click.ClickException(
            f"stopped. Runs that are done are kept in {wanted.out}; the same command goes on"
        ) from None
    show(found, out=wanted.out, seconds=time.perf_counter() - began)
    if lacking := found["comparison"]["lacking"]:
        raise click.ClickException(
            f"{len(lacking)} runs are missing (see above); the same command runs only these"
        )


def _tell(wanted: Wanted) -> None:
    from ppx_ext.comparing import run

    jobs = run.check(wanted)
    arms = run.described(wanted)
    click.echo(f"{wanted.recipe.path} ({wanted.recipe.host}), the same for all but for:\n")
    for name, arm in arms.items():
        click.echo(f"{name}: {arm['says']}")
        for line in arm["edit"]:
            click.echo(f"    {line}")
    seeds = ", ".join(map(str, wanted.seeds))
    click.echo(f"\n{len(jobs)} runs: the base once, {len(arms)} arms with seeds {seeds}.")


def _recipe(recipe: str, *, data: str | None, model: str | None) -> Any:
    import dataclasses

    loaded = options.load(recipe)
    if data is None and model is None:
        return loaded
    settings = dict(loaded.settings)
    if loaded.host == "trl":
        if model is not None:
            settings["model_name_or_path"] = model
        if data is not None:
            settings.pop("datasets", None)
            settings["dataset_name"] = data
    else:
        from ppx_ext.hosts.axolotl_recipe import changed

        settings = changed(settings, data=data, model=model)
    return dataclasses.replace(loaded, settings=settings)


def _arms(named: tuple[str, ...]) -> tuple[tuple[str, ...], dict[str, Any]]:
    names: list[str] = []
    given: dict[str, Any] = {}
    for part in (one.strip() for text in named for one in text.split(",")):
        if part.endswith((".yaml", ".yml")):
            found = _file(Path(part))
            given |= found
            names += found
        elif part:
            names.append(part)
    return tuple(names), given


def _file(path: Path) -> dict[str, Any]:
    import yaml

    try:
        found = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError, UnicodeDecodeError) as error:
        raise click.BadParameter(f"{path} cannot be read: {error}") from error
    if not isinstance(found, dict) or not found:
        raise click.BadParameter(f"{path} must map names of arms to what they change")
    return {str(name): value for name, value in found.items()}


def _seeds(text: str) -> tuple[int, ...]:
    try:
        parts = [int(part) for part in text.split(",") if part.strip()]
    except ValueError:
        raise click.BadParameter(f"--seeds {text}: whole numbers, as 8 or 0,1,2") from None
    if parts and min(parts) < 0:
        raise click.BadParameter("--seeds: seeds are 0 or more")
    return tuple(range(parts[0])) if len(parts) == 1 and "," not in text else tuple(parts)
