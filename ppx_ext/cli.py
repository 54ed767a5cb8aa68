"""The command `ppx`; the same commands stand under `axolotl ppx`.

Everything heavy is imported inside the command that needs it, so that ``--help`` is quick.
"""

from __future__ import annotations

import os
from typing import Any

import click

import ppx_ext
from ppx_ext.commands import (
    budget,
    comparing,
    difficulty,
    evaluating,
    files,
    init,
    looking,
    recipes,
    study,
    training,
)
from ppx_ext.commands.options import example


class _Commands(click.Group):
    """Shows what a user can mend as one message; PPX_DEBUG=1 shows the traceback."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except (ValueError, OSError) as error:
            if os.environ.get("PPX_DEBUG"):
                raise
            raise click.ClickException(_message(error)) from error


def _message(error: Exception) -> str:
    import traceback

    text = str(error) or type(error).__name__
    *_, (frame, _) = traceback.walk_tb(error.__traceback__)
    ours = str(frame.f_globals.get("__name__")).startswith("ppx_")
    return text if ours else f"{text}\n(PPX_DEBUG=1 shows where this came from.)"


@click.group(cls=_Commands, epilog=example("ppx doctor my.trl.yaml && ppx train my.trl.yaml"))
@click.version_option(ppx_ext.__version__, prog_name="ppx")
def main() -> None:
    """Fine-tune without making the model forget, in TRL and in Axolotl."""


for _command in (
    init.init,
    looking.methods,
    training.prepare,
    training.build,
    files.judge,
    files.select,
    difficulty.measure,
    budget.budget,
    training.train,
    evaluating.evaluate,
    comparing.compare,
    looking.view,
    looking.report,
    training.doctor,
    training.demo,
    recipes.recipes,
    study.problems,
    study.study,
):
    main.add_command(_command)
