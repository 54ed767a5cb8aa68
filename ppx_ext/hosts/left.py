"""What a run leaves in its output folder for those who ask later: its recipe and its log."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from transformers import TrainerCallback

from ppx_ext.files import write_atomic

RECIPE_FILE = "ppx_recipe.yaml"
LOG_FILE = "trainer_state.json"
_SECRET = re.compile(r"^(\s*[\w-]*(?:hub_token|api_key|password|secret)\s*:).*$", re.MULTILINE)


def recipe(folder: Path, path: str | Path, **given: object) -> None:
    """Copy a recipe beside what it made, its secrets left out.

    Args:
        folder: of the run; made where it lacks.
        path: of the recipe; where it is no file, nothing is written.
        **given: what the command line set instead of the recipe; None is nothing. It stands in the
            first lines.
    """
    if not Path(path).is_file():
        return
    changed = [f"# Given instead: {key} {value}\n" for key, value in given.items() if value]
    text = "".join(changed) + _SECRET.sub(r"\1 null  # left out", Path(path).read_text("utf-8"))
    folder.mkdir(parents=True, exist_ok=True)
    write_atomic(folder / RECIPE_FILE, lambda file: file.write(text.encode()))


class LogCallback(TrainerCallback):
    """Writes the trainer's log at the end, as `Trainer.save_state` does, which no host calls."""

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Write ``trainer_state.json``; a checkpoint has one of its own, a run without none."""
        if state.is_world_process_zero:
            folder = Path(args.output_dir)
            folder.mkdir(parents=True, exist_ok=True)
            state.save_to_json(str(folder / LOG_FILE))
