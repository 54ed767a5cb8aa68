"""The command `ppx eval`: checkpoints measured, compared with their base, held against a gate."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ppx_ext.commands import options
from ppx_ext.commands.options import example

if TYPE_CHECKING:
    from ppx_ext.eval_plan import Evaluation, Gate

DTYPES = ("auto", "float32", "bfloat16", "float16")
BREACHED = 3
"""The exit code where a gate is breached, or no checkpoint is within it; errors are 1 and 2."""


@click.command(
    "eval",
    epilog=example(
        "ppx eval out/checkpoint-100 --recipe my.trl.yaml",
        "ppx eval adapter --tasks gsm8k.jsonl --tasks law.jsonl --target gsm8k --out measured",
        "ppx eval out/final --against measured --gate --max-drop 2",
        "ppx eval --select out/checkpoint-* --recipe my.trl.yaml --max-drop 2",
    ),
)
@click.argument("models", nargs=-1, required=True, metavar="MODEL...")
@click.option("--recipe", help="Measure with the `eval:` of this recipe.")
@click.option("--suite", type=click.Path(path_type=Path), help="Or with this YAML's `eval:` block.")
@click.option("--tasks", multiple=True, metavar="JSONL", help="Or on prompts and answers; again.")
@click.option("--target", multiple=True, metavar="TASK", help="Of --tasks: what is trained on.")
@click.option("--judge", metavar="NAME", help="Of --tasks: who grades; else answers are compared.")
@click.option("--base", metavar="PATH_OR_ID", help="Compare with this; adapters lie on it.")
@click.option("--no-base", is_flag=True, help="Compare with no base.")
@click.option("--against", type=options.FOLDER, help="Compare with what was measured there.")
@click.option("--which", metavar="NAME", help="Which evaluation of --against.")
@click.option("--out", type=options.NEW, help="Keep scores and items here; what is kept is read.")
@click.option("--gate", is_flag=True, help="Exit with 3 where too much is forgotten.")
@click.option("--max-drop", type=click.FloatRange(min=0), help="Points; else the block's gate.")
@click.option("--select", is_flag=True, help="Name the best MODEL within the gate, or exit with 3.")
@click.option("--tokenizer", metavar="PATH_OR_ID", help="Of all models.")
@click.option(
    "--dtype",
    type=click.Choice(DTYPES),
    help="Else that of the recipe, else as saved (auto).",
)
@click.option("--as-saved", is_flag=True, help="Weights as saved, and not as the recipe's host.")
@click.option("--device", help="For instance cuda:1 or cpu.")
@click.option("--batch-size", type=click.IntRange(min=1), help="Prompts answered at once.")
@click.option("--trust-remote-code", is_flag=True, help="Run code that comes with a checkpoint.")
@options.JSON
def evaluate(as_json: bool, gate: bool, max_drop: float | None, **given: Any) -> None:
    """Measure checkpoints: what they learned, and what they forgot.

    MODEL is a folder with a model or a PEFT adapter, or a hub id. Each is compared with the base
    on the same items. Exits with 0; with 3 where --gate is breached or --select finds none; with 1
    or 2 on an error.
    """
    from ppx_ext import eval_compare, eval_run, eval_show, listing
    from ppx_ext.evaluating.models import Loading

    _check(given, gate, max_drop)
    with options.logs_aside():
        evaluation, recipe = _evaluation(given)
        if given["batch_size"]:
            evaluation = eval_run.with_batch_size(evaluation, given["batch_size"])
        names = ("tokenizer", "device", "trust_remote_code")
        loading = Loading(
            **{name: given[name] for name in names},
            **_read_as(given["dtype"], {} if given["as_saved"] else recipe.loading),
        )
        wanted = eval_run.Wanted(
            evaluation=evaluation,
            loading=loading,
            recipe_base=recipe.base,
            compared=not given["no_base"],
            gate=_gate(evaluation, max_drop, gate=gate, select=given["select"]),
            **{name: given[name] for name in _PASSED},
        )
        results = eval_run.run(wanted, tell=lambda said: click.echo(said, err=True))
        found = eval_compare.dump(results)
    click.echo(listing.as_json(found)) if as_json else eval_show.show(found)
    if (gate or given["select"]) and not results.ok:
        raise click.exceptions.Exit(BREACHED)


_PASSED = ("models", "base", "against", "which", "out", "select")


def _check(given: Mapping[str, Any], gate: bool, max_drop: float | None) -> None:
    """Options that cannot stand together.

    Raises:
        UsageError: some do.
    """
    sources = [name for name in ("recipe", "suite", "tasks") if given[name]]
    if len(sources) > 1:
        raise click.UsageError(f"--{sources[0]} and --{sources[1]} both say what to measure")
    if not sources and given["against"] is None:
        raise click.UsageError("say what to measure: --recipe, --suite or --tasks")
    for name in ("target", "judge"):
        if given[name] and not given["tasks"]:
            raise click.UsageError(f"--{name} is about --tasks")
    if max_drop is not None and not (gate or given["select"]):
        raise click.UsageError("--max-drop is about --gate and --select")
    if given["which"] and given["against"] is None:
        raise click.UsageError("--which is about --against")
    if given["no_base"] and (given["base"] or given["against"]):
        raise click.UsageError("--no-base, and yet something to compare with")


def _gate(
    evaluation: Evaluation, max_drop: float | None, *, gate: bool, select: bool
) -> Gate | None:
    from ppx_ext.eval_plan import Gate

    if max_drop is not None:
        own = evaluation.gate.model_dump() if evaluation.gate else {}
        return Gate.model_validate({**own, "max_drop": max_drop})
    if gate and evaluation.gate is None:
        raise ValueError(
            "--gate: the block has no `gate:` that would say how much may be forgotten; give "
            "--max-drop, in points"
        )
    return evaluation.gate if gate or select else None


@dataclass(frozen=True, kw_only=True)
class _OfRecipe:
    """What a recipe says of the models that are measured."""

    base: str | None = None
    loading: Mapping[str, Any] = field(default_factory=dict)


def _read_as(dtype: str | None, recipe: Mapping[str, Any]) -> Mapping[str, Any]:
    """As the recipe's host reads weights; the command line has the last word on the dtype."""
    return recipe if dtype is None else {**recipe, "dtype": dtype, "precision": None}


def _evaluation(given: Mapping[str, Any]) -> tuple[Evaluation, _OfRecipe]:
    """What to measure, and what a recipe says beside it.

    Raises:
        ValueError: it cannot be read, or asks for nothing.
    """
    if given["recipe"]:
        return _of_recipe(given["recipe"])
    if given["suite"]:
        block = _block_of(given["suite"])
    elif given["tasks"]:
        block = _block_of_tasks(given["tasks"], given["target"], given["judge"])
    else:
        from ppx_ext.evaluating.store import read_evaluations

        block = read_evaluations(given["against"])["evaluation"]
    return _parsed(block), _OfRecipe()


def _of_recipe(name: str) -> tuple[Evaluation, _OfRecipe]:
    from ppx_ext import catalog, plan

    recipe = options.load(name)
    found = plan.parse(recipe.block, catalog.load()).eval if recipe.block is not None else None
    if found is None:
        raise ValueError(f"{recipe.path} has no `eval:` in its `ppx:` block, so nothing to measure")
    module, key = _HOSTS[recipe.host]
    loading = importlib.import_module(module).loading(recipe.settings)
    return found, _OfRecipe(base=recipe.settings.get(key), loading=loading)


_HOSTS = {
    "trl": ("ppx_ext.hosts.trl_recipe", "model_name_or_path"),
    "axolotl": ("ppx_ext.hosts.axolotl_base", "base_model"),
}


def _parsed(block: Mapping[str, Any]) -> Evaluation:
    from ppx_ext import catalog
    from ppx_ext.eval_plan import evaluation_of
    from ppx_ext.plan import PlanError

    problems: list[str] = []
    # A dumped block spells out what is not there.
    given = {key: value for key, value in block.items() if value is not None}
    found = evaluation_of(given, catalog.load(), problems)
    if found is None:
        raise PlanError(problems)
    return found


def _block_of(path: Path) -> Mapping[str, Any]:
    """The `eval:` block in a YAML file: bare, below `eval:`, or as a recipe holds it."""
    import yaml

    try:
        found = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} cannot be read as YAML: {error}") from error
    for key in ("ppx", "eval"):
        if isinstance(found, dict) and key in found:
            found = found[key]
    if not isinstance(found, dict):
        raise ValueError(f"{path} holds no `eval:` block: `use:` with settings, or `suites:`")
    return found


def _block_of_tasks(
    paths: tuple[str, ...], targets: tuple[str, ...], judge: str | None
) -> Mapping[str, Any]:
    names = {Path(path).stem: path for path in paths}
    if len(names) < len(paths):
        raise ValueError("--tasks: two files have the same name, by which tasks are called")
    if odd := [name for name in targets if name not in names]:
        raise ValueError(f"--target {odd[0]}: there is no such task; there are {', '.join(names)}")
    more = {"judge": judge} if judge else {}
    tasks = [
        {"name": name, "path": path, "target": name in targets, **more}
        for name, path in names.items()
    ]
    return {"use": "tasks", "tasks": tasks}
