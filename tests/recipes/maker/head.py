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
        _averaging(recipe, host),
        _rounding(recipe),
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
    asked = (
        "; where it asks for it, accept the conditions on the model's page, then `hf auth login`"
    )
    return (
        f"{recipe.model.hub}; they come by themselves from the hub"
        f"{asked if recipe.model.was_gated else ''}"
    )


def _averaging(recipe: Recipe, host: Host) -> str:
    """Where the two hosts, and two versions of one, train by different averages."""
    training = recipe.training
    if host == "trl" or not (training.accumulate > 1 or training.cards):
        return ""
    return (
        "Loss: Axolotl 0.19 averages it over micro-batches; 0.21 and TRL, over the tokens of a "
        "step. `token_level_loss: true` in the `ppx:` block makes 0.19 do so too."
    )


def _rounding(recipe: Recipe) -> str:
    """What bfloat16 weights do to small steps, on one card; measured on random weights."""
    training = recipe.training
    if training.adapter != "full" or training.cards:
        return ""
    moved = {"2.0e-6": "3", "1.0e-5": "10"}[training.rate]
    more = round(4 * recipe.model.billions)
    return (
        "Weights are bfloat16 while they are trained, and so rounded at each step: of normal "
        f"weights with a deviation of 0.03, a step of {training.rate} moves about {moved} in 100. "
        f"In TRL `dtype: float32` moves all, for about {more} GB more; Axolotl has no such "
        "setting beside `bf16`."
    )


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
