"""A recipe -> the comment at its head."""

from __future__ import annotations

import textwrap
from typing import Literal

from tests.recipes.maker.recipe import Recipe

Host = Literal["axolotl", "trl"]
WIDTH = 100
_NAMES = {"axolotl": "Axolotl", "trl": "TRL"}
_SANDBOX = (
    "Programs run in a sandbox: bubblewrap (apt-get install bubblewrap), or see `ppx methods` for "
    "others."
)


def head(recipe: Recipe, host: Host) -> str:
    """The comment, from the title to what was not published."""
    title = (
        f"# {recipe.title} on {recipe.data.name}, {recipe.model.name}, {recipe.training.called}, "
        f"in {_NAMES[host]}"
    )
    fields = (
        ("Paper", recipe.paper),
        ("Gave", recipe.gave),
        ("Install", _install(recipe, host)),
        ("Weights", _weights(recipe)),
        ("Data", _data(recipe)),
        ("First", recipe.first.format(host=host)),
        ("Check", f"ppx doctor {recipe.task}.{host}.yaml"),
        ("Run", _run(recipe, host)),
        ("Compare", _compare(recipe, host)),
        ("Hardware", recipe.hardware),
    )
    notes = (
        recipe.same,
        recipe.measured,
        _SANDBOX if recipe.sandbox else "",
        f"Deviations: {recipe.deviations}",
        f"Not published: {recipe.unpublished}" if recipe.unpublished else "",
    )
    lines = [title, "#"]
    for name, text in fields:
        if text:
            lines += _field(name, text)
    lines.append("#")
    for note in notes:
        if note:
            lines += textwrap.wrap(
                note, WIDTH, initial_indent="# ", subsequent_indent="# ", **_WHOLE
            )
    return "\n".join(lines) + "\n"


_WHOLE = {"break_long_words": False, "break_on_hyphens": False}


def _field(name: str, text: str) -> list[str]:
    """A label and its text; commands, one a line, are left as they are."""
    first, rest = f"# {name + ':':<10}", "#           "
    found: list[str] = []
    for line in text.split("\n"):
        start = rest if found else first
        if name in ("Data", "First", "Check", "Run", "Compare", "Install"):
            found.append(start + line)
        else:
            found += textwrap.wrap(
                line, WIDTH, initial_indent=start, subsequent_indent=rest, **_WHOLE
            )
    return found


def _install(recipe: Recipe, host: Host) -> str:
    own = ["axolotl"] if host == "axolotl" else []
    extras = [*own, *(e for e in recipe.extras if (e, host) != ("quantization", "axolotl"))]
    command = f"pip install 'ppx-ext[{','.join(extras)}]'" if extras else "pip install ppx-ext"
    return f"{command} deepspeed" if recipe.training.cards == "deepspeed" else command


def _weights(recipe: Recipe) -> str:
    if recipe.model.gated:
        return (
            f"accept the licence on the page of {recipe.model.hub}, then `hf auth login`; they "
            "come by themselves"
        )
    return f"{recipe.model.hub}; they come by themselves from the hub"


def _data(recipe: Recipe) -> str:
    script = recipe.data.script
    command = f"ppx recipes copy data/{script} && python {script} {recipe.folder}"
    return f"{recipe.data.hub}, as chats:\n{command}"


def _run(recipe: Recipe, host: Host) -> str:
    file = f"{recipe.task}.{host}.yaml"
    look = f"ppx build {file} --out built    # to look at the data alone\n" if recipe.builds else ""
    if host == "axolotl":
        prepare = f"axolotl preprocess {file}\n" if recipe.scores and not recipe.builds else ""
        return f"{look}{prepare}axolotl train {file}"
    sharded = {
        "": f"ppx train {file}",
        "fsdp": _launched("fsdp2.yaml", file),
        "deepspeed": _launched("zero3.yaml", file),
    }
    return look + sharded[recipe.training.cards]


def _compare(recipe: Recipe, host: Host) -> str:
    if not recipe.arms:
        return ""
    return f"ppx compare {recipe.task}.{host}.yaml --arms {recipe.arms} --seeds 3"


def _launched(config: str, file: str) -> str:
    return (
        f"ppx prepare {file} --out scored    # on one card; training finds the scores\n"
        f"ppx recipes copy accelerate/{config}\n"
        f"accelerate launch --config_file {config} -m ppx_ext train {file}"
    )
