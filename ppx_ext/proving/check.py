"""`ppx recipes check`: what can be known of recipes without a card, the hub or weights."""

from __future__ import annotations

import importlib.util
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from ppx_ext import catalog as catalogs
from ppx_ext import demo, recipes
from ppx_ext import plan as plans
from ppx_ext.hosts.axolotl_doctor import Finding
from ppx_ext.proving import agree, published, stand_ins

EMBEDDED = "base"
"""What recipes on the demo's own model call it."""

_TITLES = {"trl": "TRL", "axolotl": "Axolotl"}
_ABOVE_ZERO = (
    "learning_rate",
    "num_train_epochs",
    "num_epochs",
    "per_device_train_batch_size",
    "micro_batch_size",
    "gradient_accumulation_steps",
    "max_length",
    "sequence_len",
    "lora_r",
)
_MODEL_KEY = {"trl": "model_name_or_path", "axolotl": "base_model"}


@dataclass(frozen=True, kw_only=True)
class Found:
    """One thing seen in a recipe.

    Attributes:
        file: the recipe.
        key: where it lies.
        level: ``error`` = it would not run, or not as asked; ``unchecked`` = could not be looked
            at here, with the reason.
        message: what it is, with its mend.
    """

    file: str
    key: str
    level: Literal["ok", "unchecked", "warning", "error"]
    message: str


@dataclass(frozen=True, kw_only=True)
class Checked:
    """All that was seen of all recipes."""

    files: Sequence[Path]
    findings: Sequence[Found]

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong."""
        return all(found.level != "error" for found in self.findings)

    def dump(self) -> dict[str, Any]:
        """As plain JSON values."""
        findings = [asdict(found) for found in self.findings]
        return {"files": [str(file) for file in self.files], "ok": self.ok, "findings": findings}


@dataclass(frozen=True)
class _Models:
    """Folders with the configurations and tokenizers of models, each made once."""

    root: Path
    made: dict[str, Path | None] = field(default_factory=dict)

    def of(self, name: str, near: Path) -> Path | None:
        """The folder of a model; None where nothing is known about it here."""
        for folder in (near.parent / name, Path(name)):
            if (folder / "config.json").is_file():
                return folder
        if name not in self.made:
            self.made[name] = self._make(name)
        return self.made[name]

    def _make(self, name: str) -> Path | None:
        if name == EMBEDDED:
            return Path(demo.__file__).parent / "base"
        about = published.of(name)
        folder = self.root / name.replace("/", "--")
        return stand_ins.write_described(about, folder) if about else _cached(name)


def check(files: Sequence[Path]) -> Checked:
    """Check recipes: each by itself, and with its twin in the other host where one lies beside it.

    Nothing is downloaded, loaded or trained.
    """
    files = sorted(set(files))
    with tempfile.TemporaryDirectory(prefix="ppx-check-") as folder:
        models = _Models(Path(folder))
        found = [one for file in files for one in _of_file(file, models)]
    twins = sorted({twin for file in files if (twin := _pair(file))})
    found += [one for pair in twins for one in _of_pair(*pair)]
    return Checked(files=files, findings=found)


def files_of(name: str, folders: Sequence[Path] = ()) -> list[Path]:
    """The recipes that a name stands for: a file, a folder, or a shipped one of one or both hosts.

    Raises:
        RecipeError: there are none.
    """
    path = Path(name)
    if path.is_dir():
        inside = sorted(file for host in recipes.HOSTS for file in path.rglob(f"*.{host}.yaml"))
        if inside:
            return inside
    wanted = name.removesuffix(".yaml")
    both = [
        file
        for folder, file in recipes.shipped(folders)
        if recipes.recipe_name(folder, file).rpartition(".")[0] == wanted
    ]
    return both or [recipes.find(name, folders=folders)]


def show(checked: Checked) -> None:
    """Print what was found for a human: only what is not in order, and the sums."""
    from rich.console import Console
    from rich.text import Text

    console = Console(markup=False)
    styles = {"unchecked": "cyan", "warning": "yellow", "error": "bold red"}
    shown = [found for found in checked.findings if found.level != "ok"]
    for found in shown:
        line = Text.assemble(
            (found.level, styles[found.level]), f" {found.file}: {found.key}: {found.message}"
        )
        console.print(line, soft_wrap=True)
    sums = {level: sum(f.level == level for f in checked.findings) for level in styles}
    told = ", ".join(f"{count} {level}" for level, count in sums.items())
    verdict = "in order" if checked.ok else "not in order"
    count = "1 recipe" if len(checked.files) == 1 else f"{len(checked.files)} recipes"
    console.print(Text(f"{count}, {verdict}: {told}", style="bold"))


def _of_file(file: Path, models: _Models) -> Iterator[Found]:
    try:
        recipe = recipes.load(file)
    except recipes.RecipeError as error:
        yield Found(file=str(file), key="recipe", level="error", message=str(error))
        return
    block = list(_block(recipe))
    for finding in (
        *_numbers(recipe.settings),
        *block,
        *_by_host(recipe, models, block_is_wrong=_wrong(block)),
    ):
        yield _found(file, finding)


def _block(recipe: recipes.Recipe) -> Iterator[Finding]:
    try:
        plan = plans.parse(recipe.block, catalogs.load())
    except plans.PlanError as error:
        for problem in error.problems:
            where, _, message = problem.partition(": ")
            yield Finding(level="error", where=where, message=message)
        return
    if any((plan.build, plan.choose, plan.mask, plan.eval)):
        yield Finding(level="ok", where="ppx", message="the block is right")
    else:
        message = "names no stage; for instance `mask: {use: stm}`"
        yield Finding(level="error", where="ppx", message=message)


def _numbers(settings: Mapping[str, Any]) -> Iterator[Finding]:
    """Numbers that make no sense, which a host would take."""
    for key in _ABOVE_ZERO:
        value = settings.get(key)
        try:
            wrong = value is not None and not 0 < float(value) < float("inf")
        except (TypeError, ValueError):
            continue  # the host tells of it
        if wrong:
            yield Finding(level="error", where=key, message=f"must be above 0, and is {value!r}")


def _by_host(
    recipe: recipes.Recipe, models: _Models, *, block_is_wrong: bool
) -> Iterator[Finding | tuple[str, str]]:
    if importlib.util.find_spec(recipe.host) is None:
        yield (
            recipe.host,
            f"{_TITLES[recipe.host]} is not installed here, so that only the `ppx:` block and the "
            f"pair were looked at: pip install 'ppx-ext[axolotl]'",
        )
        return
    key = _MODEL_KEY[recipe.host]
    name = recipe.settings.get(key)
    if not isinstance(name, str):
        yield Finding(level="error", where=key, message="no base model is named")
        return
    model = models.of(name, recipe.path)
    if model is None:
        yield (
            key,
            f"{name}: neither a folder, nor in the local hub cache, nor known here, so that its "
            "chat template and its end of turn were not looked at",
        )
    if not block_is_wrong:  # the hosts would say the same again
        yield from _examined(recipe, model)


def _examined(recipe: recipes.Recipe, model: Path | None) -> list[Finding]:
    if recipe.host == "trl":
        from ppx_ext.hosts import trl_offline

        return trl_offline.examine(recipe.path, recipe.settings, model)
    from ppx_ext.hosts import axolotl_offline

    return axolotl_offline.examine(recipe.settings, model)


def _wrong(findings: Sequence[Finding]) -> bool:
    return any(finding.level == "error" for finding in findings)


def _found(file: Path, finding: Finding | tuple[str, str]) -> Found:
    if isinstance(finding, tuple):
        key, message = finding
        return Found(file=str(file), key=key, level="unchecked", message=message)
    return Found(file=str(file), key=finding.where, level=finding.level, message=finding.message)


def _pair(file: Path) -> tuple[Path, Path] | None:
    for host in recipes.HOSTS:
        if file.name.endswith(f".{host}.yaml"):
            stem = file.name.removesuffix(f".{host}.yaml")
            trl, axolotl = (file.with_name(f"{stem}.{other}.yaml") for other in recipes.HOSTS)
            return (trl, axolotl) if trl.is_file() and axolotl.is_file() else None
    return None


def _of_pair(trl: Path, axolotl: Path) -> Iterator[Found]:
    try:
        ours, theirs = (recipes.load(file).settings for file in (trl, axolotl))
    except recipes.RecipeError:  # told already, of the file itself
        return
    differences = list(agree.disagreements(ours, theirs))
    for difference in differences:
        yield _found(trl, difference)
    if not differences:
        yield Found(file=str(trl), key="pair", level="ok", message=f"trains as {axolotl.name}")


def _cached(name: str) -> Path | None:
    """Where the hub's cache has a model's configuration and tokenizer."""
    import huggingface_hub
    from huggingface_hub.errors import HFValidationError

    try:
        wanted = ("config.json", "tokenizer_config.json")
        found = [huggingface_hub.try_to_load_from_cache(name, file) for file in wanted]
    except HFValidationError:
        return None
    there = [Path(one) for one in found if isinstance(one, str)]
    return there[0].parent if len(there) == len(wanted) else None
