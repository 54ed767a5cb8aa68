"""Recipes: one YAML file that holds a host's own settings and, beside them, the `ppx:` block.

A recipe is found by its path, or by its name among the shipped ones
(``<method>/<model>/<task>.<host>``, see `ppx recipes list`).
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias, get_args

Host: TypeAlias = Literal["trl", "axolotl"]
HOSTS: tuple[Host, ...] = get_args(Host)

_KEY_OF_HOST: Mapping[str, Host] = {"base_model": "axolotl", "model_name_or_path": "trl"}


class RecipeError(ValueError):
    """A recipe cannot be found, read or told apart; the message names the file."""


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """A recipe as it stands in its file.

    Attributes:
        path: the file.
        host: whose settings it holds.
        settings: all of the file, the `ppx:` block included.
        block: what stands under `ppx:`, unchecked; None where nothing does.
    """

    path: Path
    host: Host
    settings: Mapping[str, Any]
    block: Any


def load(name_or_path: str | Path, *, folders: Sequence[Path] = ()) -> Recipe:
    """Read a recipe, by path or by name.

    Raises:
        RecipeError: there is none, it is no YAML mapping, or its host cannot be told.
    """
    path = find(name_or_path, folders=folders)
    settings = _read(path)
    return Recipe(
        path=path, host=_host(path, settings), settings=settings, block=settings.get("ppx")
    )


def find(name_or_path: str | Path, *, folders: Sequence[Path] = ()) -> Path:
    """The recipe's file: an existing path, a shipped recipe's name, or a file that lies by them.

    Raises:
        RecipeError: neither; the nearest names are given.
    """
    path = Path(name_or_path)
    if path.is_file():
        return path
    known = {recipe_name(folder, file): file for folder, file in shipped(folders)}
    wanted = str(name_or_path).removesuffix(".yaml")
    if wanted in known:
        return known[wanted]
    for folder in (own_folder(), *folders):
        if (folder / name_or_path).is_file():
            return folder / name_or_path
    near = difflib.get_close_matches(wanted, known, n=1)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    raise RecipeError(
        f"{name_or_path}: there is no such file, nor a shipped recipe of this name.{hint} "
        "`ppx recipes list` shows them."
    )


def shipped(folders: Iterable[Path] = ()) -> list[tuple[Path, Path]]:
    """(folder, file) of every shipped recipe: ours, then those of ``folders``, in order."""
    return [
        (folder, file) for folder in (own_folder(), *folders) for file in sorted(_files(folder))
    ]


def own_folder() -> Path:
    """Where our own recipes lie: in the package where it was installed, else in the checkout."""
    here = Path(__file__).parent
    installed = here / "_recipes"
    return installed if installed.is_dir() else here.parent / "recipes"


def recipe_name(folder: Path, file: Path) -> str:
    """``<method>/<model>/<task>.<host>`` of a recipe's file."""
    return file.relative_to(folder).as_posix().removesuffix(".yaml")


def summary(file: Path) -> str:
    """First line of the comment at the head of a recipe."""
    first = file.read_text(encoding="utf-8").partition("\n")[0]
    return first.lstrip("# ").strip()


def head(file: Path) -> dict[str, str]:
    """What the comment at the head of a recipe says of its paper and its memory; empty if nothing.

    The paper is its arXiv number, with the table; the memory is the size of the card or cards.
    """
    text = file.read_text(encoding="utf-8").partition("\n\n")[0]
    paper = re.search(r"^# Paper: +(.*?)(?:[:;]|$)", text, re.MULTILINE)
    hardware = re.search(r"^# Hardware: +([^;:(\n]*)", text, re.MULTILINE)
    return {
        "paper": paper[1].strip() if paper else "",
        "memory": hardware[1].strip() if hardware else "",
    }


def copy(name: str, destination: Path, *, folders: Sequence[Path] = ()) -> Path:
    """Copy a shipped recipe to a file or into a folder; returns the new file.

    Under another name, the commands in its head and the folders it writes to get that name, so that
    two copies never write over each other.

    Raises:
        RecipeError: there is no such recipe, or the file is there already.
    """
    source = find(name, folders=folders)
    target = destination / source.name if destination.is_dir() else destination
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        with target.open("x", encoding="utf-8") as file:
            file.write(_renamed(source.read_text(encoding="utf-8"), source.name, target.name))
    except FileExistsError:
        raise RecipeError(f"{target} is there already; give another name") from None
    return target


def _renamed(text: str, old: str, new: str) -> str:
    if old == new or not new.endswith(".yaml"):
        return text
    stem = new.removesuffix(".yaml")
    folders = r"^(output_dir: out|dataset_prepared_path: prepared)/\S+"
    return re.sub(folders, rf"\1/{stem}", text, flags=re.MULTILINE).replace(old, new)


def _files(folder: Path) -> list[Path]:
    return [file for host in HOSTS for file in folder.rglob(f"*.{host}.yaml")]


def _read(path: Path) -> Mapping[str, Any]:
    import yaml

    try:
        loader = yaml.SafeLoader(path.read_text(encoding="utf-8"))
        node = loader.get_single_node()
        twice = list(_twice(node))  # before merged keys are written into the nodes
        settings = None if node is None else loader.construct_document(node)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise RecipeError(f"{path} is no readable YAML: {error}") from error
    if not isinstance(settings, dict):
        raise RecipeError(f"{path} must hold a mapping of settings, not {type(settings).__name__}")
    if twice:
        raise RecipeError(f"{path} has a key twice, of which YAML takes the last: {twice[0]}")
    return settings


def _twice(node: Any) -> Iterator[str]:
    """Keys that stand twice in one mapping."""
    pairs = node.value if getattr(node, "id", "") == "mapping" else ()
    lines: dict[Any, int] = {}
    for key, value in pairs:
        line = key.start_mark.line + 1
        if key.id == "scalar" and lines.setdefault((key.tag, key.value), line) != line:
            yield f"`{key.value}` in lines {lines[key.tag, key.value]} and {line}"
        yield from _twice(value)
    for value in node.value if getattr(node, "id", "") == "sequence" else ():
        yield from _twice(value)


def _host(path: Path, settings: Mapping[str, Any]) -> Host:
    for host in HOSTS:
        if path.name.endswith((f".{host}.yaml", f".{host}.yml")):
            return host
    found = {host for key, host in _KEY_OF_HOST.items() if key in settings}
    if len(found) == 1:
        return found.pop()
    raise RecipeError(
        f"{path}: cannot tell whether this recipe is for TRL or for Axolotl. Name the file "
        "NAME.trl.yaml or NAME.axolotl.yaml, or give the model: `model_name_or_path` (TRL) or "
        f"`base_model` (Axolotl). Keys seen: {', '.join(map(str, settings))}"
    )
