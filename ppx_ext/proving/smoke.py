"""`ppx recipes smoke`: a whole recipe run on a CPU in seconds, from its data script to its report.

The recipe's own rows are made by its own data script, of a few made-up rows of the published shape;
a small random model of the same architecture is built, scored and trained in the recipe's host, and
measured. Everything that had to be another is told (`swaps`). Many recipes run in one process.
"""

from __future__ import annotations

import contextlib
import dataclasses
import importlib.util
import json
import os
import re
import runpy
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ppx_ext import recipes, reporting, rows
from ppx_ext.files import fingerprint
from ppx_ext.proving import proofs, published, stand_ins, swaps, teaching
from ppx_ext.records import write_text

EXAMPLES = 8
EMBEDDED = "base"
"""What recipes on the demo's own model call it: it is small enough to be run as it is."""

_SCRIPT = re.compile(r"\bpython (\w+\.py)((?: +(?!&&|#)\S+)*)")
_MODEL_KEY: Mapping[recipes.Host, str] = {"trl": "model_name_or_path", "axolotl": "base_model"}


@dataclass(frozen=True, kw_only=True)
class Smoked:
    """What a smoke run did.

    Attributes:
        recipe: its file.
        folder: where everything of the run lies, its log too.
        swaps: what had to be another than in the recipe, and why.
        proved: what was seen of the result, or nothing where it failed.
        error: why it failed; empty where it did not.
        same_as: the recipe whose run this is too: after the swaps the two are the very same.
        seconds: wall time.
    """

    recipe: str
    folder: str
    swaps: Sequence[str]
    proved: Sequence[str]
    error: str
    seconds: float
    same_as: str = ""

    @property
    def ok(self) -> bool:
        """Whether the recipe ran to its end, and did what its block asks for."""
        return not self.error

    def dump(self) -> dict[str, Any]:
        """As plain JSON values."""
        return {**asdict(self), "ok": self.ok}


def smoke(file: Path, out: Path, known: dict[str, Smoked] | None = None) -> Smoked:
    """Run a recipe with a small model on few rows; what goes wrong is in ``error``.

    Args:
        file: the recipe; its host must be installed.
        out: an empty or new folder.
        known: earlier runs, by what they ran; this one is added, or taken from there.
    """
    known = {} if known is None else known
    started, error, key = time.perf_counter(), "", str(file)
    said: list[str] = []
    proved: list[str] = []
    out.mkdir(parents=True, exist_ok=True)
    recipe = recipes.load(file.absolute())
    with (out / "log.txt").open("w", encoding="utf-8") as log, _aside(out, log):
        try:
            change, about, said = _changed_settings(recipe)
            key = _key(recipe.host, change, about, said)
            if key in known:
                return dataclasses.replace(
                    known[key], recipe=str(file), swaps=said, seconds=0.0, same_as=known[key].recipe
                )
            _make_models(about, change)
            _run(recipe.host)
            reporting.write(Path(swaps.OUT))
            proved = proofs.of(recipe.block, Path(swaps.OUT), Path(_model(recipe)))
        except (Exception, SystemExit) as raised:  # the next recipe shall run all the same
            traceback.print_exc(file=log)
            error = f"{type(raised).__name__}: {raised}"
    seconds = round(time.perf_counter() - started, 2)
    known[key] = Smoked(
        recipe=str(file), folder=str(out), swaps=said, proved=proved, error=error, seconds=seconds
    )
    return known[key]


def smoke_all(files: Sequence[Path], out: Path, said: Callable[[Smoked], None]) -> list[Smoked]:
    """Run many recipes in this process, those for TRL first; ``said`` hears of each.

    Raises:
        ValueError: the host of one is not installed; or ``out`` holds an earlier run.
    """
    hosts = {recipes.load(file).host for file in files}
    for host in sorted(hosts):
        if importlib.util.find_spec(host) is None:
            raise ValueError(
                f"{host} is not installed here: pip install 'ppx-ext[axolotl]', or give --host"
            )
    done: list[Smoked] = []
    known: dict[str, Smoked] = {}
    # Axolotl changes functions of transformers for good.
    for at, file in enumerate(sorted(files, key=lambda file: ".axolotl." in file.name)):
        folder = out / f"{at:03}-{'-'.join(file.parts[-3:]).removesuffix('.yaml')}"
        if folder.exists():
            raise ValueError(f"{folder} is there already; give another --out, or remove it")
        done.append(smoke(file, folder, known))
        said(done[-1])
    return done


def show(smoked: Smoked) -> None:
    """Print what a run did, for a human."""
    from rich.console import Console
    from rich.text import Text

    console = Console(markup=False)
    level = Text("ok", style="green") if smoked.ok else Text("failed", style="bold red")
    line = Text.assemble(level, f" {smoked.recipe} ({smoked.seconds:.1f} s)")
    console.print(line, soft_wrap=True)
    if smoked.same_as:
        console.print(Text(f"  the same, after its swaps, as {smoked.same_as}"), soft_wrap=True)
    for word, lines in (("swapped", smoked.swaps), ("proved", smoked.proved)):
        for one in lines:
            console.print(Text(f"  {word}  {one}", style="dim"), soft_wrap=True)
    if smoked.error:
        console.print(Text(f"  {smoked.error}\n  see {smoked.folder}/log.txt"), soft_wrap=True)


def _changed_settings(
    recipe: recipes.Recipe,
) -> tuple[swaps.Changes, published.Published | None, list[str]]:
    """Make the rows and write the changed recipe; its model is None where it is run as it is."""
    import yaml

    scripts, key = _make_rows(recipe), _MODEL_KEY[recipe.host]
    name = recipe.settings[key]
    about = None if name == EMBEDDED else _published(name)
    attention = "eager" if about and about.config.get("attn_logit_softcapping") else "sdpa"
    change = getattr(swaps, f"of_{recipe.host}")(recipe.settings, attention)
    if about is None:
        change.settings[key] = EMBEDDED
        change.said = [line for line in change.said if not line.startswith(key)]
    write_text(Path(_changed(recipe.host)), yaml.safe_dump(change.settings, sort_keys=False))
    made = [f"data: {script}, made-up rows of the published shape" for script in scripts]
    ran = ["device: CPU, in one process", f"trained for: {swaps.STEPS} steps"]
    return change, about, [*made, *change.said, *ran]


def _key(
    host: str, change: swaps.Changes, about: published.Published | None, said: Sequence[str]
) -> str:
    """All that a run depends on: two recipes that share it would do the very same."""
    rows_made = [line for line in said if line.startswith("data: ")]
    model = None if about is None else stand_ins.shape(about)
    here = str(Path.cwd())
    text = json.dumps(change.settings, sort_keys=True).replace(here, "")
    return fingerprint([host, text, change.models, model, rows_made])


def _make_rows(recipe: recipes.Recipe) -> list[str]:
    """Run the data scripts that the recipe's head names, without the hub."""
    head = recipe.path.read_text(encoding="utf-8").partition("\n\n")[0]
    data = [line for line in head.splitlines() if "python " in line]
    found = dict.fromkeys(_SCRIPT.findall("\n".join(data)))
    for script, words in found:
        source = recipes.find(f"data/{script}")
        knows = "--examples" in source.read_text(encoding="utf-8")
        given = ["--examples", str(EXAMPLES)] if knows else []
        with _arguments([script, *words.split(), *given]):
            runpy.run_path(str(source), run_name="__main__")
        if not knows:
            _cut(Path(words.split()[0]))
    return [f"{script}{words}" for script, words in found]


def _cut(folder: Path) -> None:
    for file in folder.glob("*.jsonl"):
        lines = file.read_text(encoding="utf-8").splitlines(keepends=True)
        file.write_text("".join(lines[:EXAMPLES]), encoding="utf-8")


def _make_models(about: published.Published | None, change: swaps.Changes) -> None:
    if about is None:
        return
    chats = _chats()
    teaching.write(about, Path(swaps.MODEL), chats)
    if any(line.startswith("ppx.mask.tuned") for line in change.said):
        teaching.write(about, Path(swaps.TUNED), chats, others=True)
    for name, folder in change.models.items():
        teaching.write(_published(name), Path(folder), chats)


def _chats() -> list[Any]:
    """The rows to train on, of all data that the scripts made, as chats."""
    found = []
    for file in sorted(Path().rglob("train.jsonl")):
        canonical = rows.canonical_rows(str(file), chat=True)
        found += [list(row["messages"]) for _, row in canonical if isinstance(row, Mapping)]
    if not found:
        raise ValueError(
            "no rows can be made: the head of the recipe names none of the shipped scripts that "
            "make them (`# Data: ... python NAME.py FOLDER`; see `ppx recipes show data/gsm8k.py`)"
        )
    return found


def _published(name: str) -> published.Published:
    about = published.of(name)
    if about is None:
        raise ValueError(
            f"{name}: its configuration and chat template are not known here, so that no small "
            f"model of its architecture can be made. Known: {', '.join(published.models())}"
        )
    return about


def _run(host: recipes.Host) -> None:
    from ppx_ext.hosts import inside

    if host == "trl":
        inside.trl(Path(_changed(host)), Path(swaps.PREPARED))
    else:
        inside.axolotl(Path(_changed(host)))


def _changed(host: recipes.Host) -> str:
    return f"recipe.{host}.yaml"


def _model(recipe: recipes.Recipe) -> str:
    name = recipe.settings[_MODEL_KEY[recipe.host]]
    return EMBEDDED if name == EMBEDDED else swaps.MODEL


@contextlib.contextmanager
def _aside(folder: Path, log: Any) -> Iterator[None]:
    """In ``folder``, with what is printed in its log, and the environment put back."""
    import torch

    before, threads = dict(os.environ), torch.get_num_threads()
    torch.set_num_threads(1)  # several wait for each other longer than so small a model computes
    try:
        with (
            contextlib.chdir(folder),
            contextlib.redirect_stdout(log),
            contextlib.redirect_stderr(log),
        ):
            yield
    finally:
        torch.set_num_threads(threads)
        os.environ.clear()
        os.environ.update(before)


@contextlib.contextmanager
def _arguments(words: list[str]) -> Iterator[None]:
    before, sys.argv = sys.argv, words
    try:
        yield
    finally:
        sys.argv = before
