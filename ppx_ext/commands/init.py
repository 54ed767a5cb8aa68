"""The command `ppx init`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from ppx_ext.commands import options
from ppx_ext.commands.options import example

METHODS = ("sft", "stm", "s3ft", "self_output", "rephrase", "difficulty", "combined")
JUDGES = ("math", "code", "qa", "choice", "exact", "llm")


@click.command(
    epilog=example(
        "ppx init my.trl.yaml --model google/gemma-2-2b-it --data train.jsonl \\",
        "    --method stm --host trl --memory 24",
    )
)
@click.argument("file", type=options.NEW, required=False)
@click.option("--model", metavar="PATH_OR_ID", help="What to fine-tune.")
@click.option("--data", metavar="PATH_OR_ID", help="Rows to learn: chats, or prompt and response.")
@click.option("--method", type=click.Choice(METHODS), help="How to keep the model from forgetting.")
@click.option("--host", type=click.Choice(["trl", "axolotl"]), help="The trainer.")
@click.option("--memory", type=click.FloatRange(min=0), help="Of the card, in GB; 0 is a CPU.")
@click.option("--judge", type=click.Choice(JUDGES), help="Of responses, for s3ft and its like.")
@click.option("--adapter", type=click.Choice(["lora", "qlora", "full"]), help="Else what fits.")
@click.option("--length", type=click.IntRange(min=8), default=2048, show_default=True)
@click.option("--examples", type=click.IntRange(min=1), help="Rows of a budget; else half of them.")
def init(file: Path | None, **given: Any) -> None:
    """Write a commented recipe; what is not given is asked for.

    LoRA is taken where the card has room for it, else QLoRA, and as many rows at once as fit, by a
    rule of thumb that is written into the recipe. Nothing is downloaded.
    """
    from ppx_ext.drafting import draft

    answers = _answered(given)
    file = file or Path(f"{answers['method']}.{answers['host']}.yaml")
    made = draft.make(file, **answers)
    click.echo(f"Wrote {made.file}")
    for line in draft.notes(made):
        click.echo(line)


def _answered(given: dict[str, Any]) -> dict[str, Any]:
    """The flags, and answers to questions about those that lack.

    Raises:
        UsageError: some lack, and nobody can be asked.
    """
    needed = ["model", "data", "method", "host", "memory"]
    needed += ["judge"] if given["method"] in ("s3ft", "self_output", "combined") else []
    missing = [name for name in needed if given[name] is None]
    if missing and not sys.stdin.isatty():
        flags = ", ".join(f"--{name}" for name in missing)
        raise click.UsageError(f"give {flags} (there is no terminal to ask at)")
    for name in needed:
        given[name] = _asked(name) if given[name] is None else given[name]
    if given["method"] in ("s3ft", "self_output", "combined") and given["judge"] is None:
        given["judge"] = _asked("judge")
    return given


def _asked(name: str) -> Any:
    if name == "memory":
        return click.prompt("Memory of the card in GB (0 is a CPU)", type=click.FloatRange(min=0))
    choices = {"method": METHODS, "host": ("trl", "axolotl"), "judge": JUDGES}
    words = {
        "model": "Model to fine-tune (a folder, or an id at the hub)",
        "data": "Data to learn (a file, a folder, or an id at the hub)",
        "method": "Method",
        "host": "Trainer",
        "judge": "Who judges responses",
    }
    if name == "data":
        return click.prompt(words[name], value_proc=_readable)
    kind = click.Choice(choices[name]) if name in choices else str
    return click.prompt(words[name], type=kind)


def _readable(data: str) -> str:
    """Rows that cannot be used are asked for again, before all other questions are answered."""
    from ppx_ext.drafting import facts

    try:
        facts.data_of(data)
    except ValueError as error:
        raise click.BadParameter(str(error)) from error
    return data
