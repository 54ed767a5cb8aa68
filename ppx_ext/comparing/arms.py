"""Arms: named edits of a recipe. `READY` has those that are there; users add theirs in YAML.

A name is one of these, several joined by ``+`` (``s3ft+stm``), and may set keys of the recipe:
``sft@lr=x0.3`` multiplies its learning rate, ``stm@ppx.mask.ppl_threshold=10`` sets that.

All arms begin with the recipe without its mask and its builder (they are what arms are about; its
`choose:` stays, so that all learn the same rows). Where the recipe has settings for what an arm
names, the arm takes them.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ppx_ext.comparing.edits import at, differences, merged
from ppx_ext.recipes import Recipe

Json = dict[str, Any]
Edit = Callable[[Json, Recipe], Json]

REFERENCE = "sft"
RATES = ("x0.3", "x0.1")
SWEEP = (REFERENCE, *(f"{REFERENCE}@lr={rate}" for rate in RATES))
"""Small rates alone prevent much forgetting (arXiv 2509.20758; arXiv 2501.14315, Table 5)."""

QUANTILE = 0.2
BETA = 0.1
MASKS_LIKE_STM = ("stm", "random", "lowest")
_BUILDERS = ("s3ft", "self_output", "rephrase")
_BANDS = ("easy", "medium", "hard")
_EQUAL = {
    "ppx.eval": "all arms are measured alike; change the recipe's",
    "seed": "each arm is trained with the same seeds; give --seeds",
    "output_dir": "each run has a folder of its own; give --out",
}


class ArmError(ValueError):
    """An arm is unknown, or cannot be had with this recipe; the message names it."""


@dataclass(frozen=True, kw_only=True)
class Arm:
    """One way of training.

    Attributes:
        name: of the arm.
        says: what it does, in one line.
        settings: the whole recipe of the arm, but for seed and folders.
        matched: scale the trained change of weights to the size of this arm's.
    """

    name: str
    says: str
    settings: Json
    matched: str | None = None

    @property
    def draws(self) -> bool:
        """Whether its mask draws at random, so that it draws anew for each seed."""
        mask = self.settings["ppx"].get("mask") or {}
        return bool(mask.get("use") == "random")


def common(recipe: Recipe) -> Json:
    """What all arms share: the recipe without its mask and its builder."""
    return merged(recipe.settings, {"ppx": {"mask": None, "build": None}})


def arms_of(
    recipe: Recipe, names: Iterable[str], given: Mapping[str, Any] | None = None
) -> tuple[Arm, ...]:
    """The arms of these names, each once, in order.

    Args:
        recipe: what they edit.
        names: see the module's head.
        given: the user's own: name -> another arm's name, or overrides of the recipe with ``from``
            (an arm's name; ``sft`` if it is not there) and ``says``.

    Raises:
        ArmError: an unknown name (the nearest is given), two parts that want the same stage, or
            what this host or recipe does not have.
    """
    own = dict(given or {})
    found = tuple(_arm(recipe, name, own) for name in dict.fromkeys(names))
    for arm in found:
        _refuse_unequal(arm, common(recipe))
    return found


def _refuse_unequal(arm: Arm, shared: Json) -> None:
    for line in differences(shared, arm.settings):
        for key, why in _EQUAL.items():
            if line.startswith((f"{key}:", f"{key}.")):
                raise ArmError(f"arm {arm.name!r} changes `{key}`: {why}")


def _arm(recipe: Recipe, name: str, own: Mapping[str, Any]) -> Arm:
    if name in own:
        return _own_arm(recipe, name, own)
    whole, *changes = name.split("@")
    found = _arm(recipe, whole, own) if whole in own else _combined(recipe, whole, own)
    settings = found.settings
    for change in changes:
        settings = _set(settings, change, name)
    says = ", ".join([found.says, *(f"with {change}" for change in changes)])
    return Arm(name=name, says=says, settings=settings, matched=found.matched)


def _combined(recipe: Recipe, whole: str, own: Mapping[str, Any]) -> Arm:
    parts = whole.split("+")
    settings, said = common(recipe), []
    # It edits the golds of the mask that is there, so that it comes after that.
    for part in sorted(parts, key="sft_normalised".__eq__):
        if len(parts) > 1 and (part in own or part in _MATCHED):
            raise ArmError(
                f"arm {whole!r}: {part!r} cannot be joined; write `from: {part}` in YAML"
            )
        settings, says = _ready(recipe, whole, part, settings, own)
        said.append(says)
    matched = _MATCHED.get(whole)
    return Arm(name=whole, says="; ".join(said), settings=settings, matched=matched)


def _own_arm(recipe: Recipe, name: str, own: Mapping[str, Any]) -> Arm:
    found = own[name]
    if isinstance(found, str):
        found = {"from": found}
    if not isinstance(found, Mapping):
        raise ArmError(f"arm {name!r}: give another arm's name, or a mapping of what it changes")
    rest = {key: value for key, value in found.items() if key not in ("from", "says")}
    # Of its own name, an arm means the one that is there already.
    others = {key: value for key, value in own.items() if key != name}
    under = _arm(recipe, str(found.get("from", REFERENCE)), others)
    says = str(found.get("says") or under.says + (", edited" if rest else ""))
    settings = merged(under.settings, rest)
    return Arm(name=name, says=says, settings=settings, matched=under.matched)


def _ready(
    recipe: Recipe, name: str, part: str, settings: Json, own: Mapping[str, Any]
) -> tuple[Json, str]:
    if part not in READY:
        known = [*READY, *own]
        near = difflib.get_close_matches(part, known, n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise ArmError(f"there is no arm {part!r}.{hint} There are: {', '.join(known)}")
    says, edit = READY[part]
    try:
        return edit(settings, recipe), says
    except ArmError as error:
        raise ArmError(f"arm {name!r}: {error}") from None


def _set(settings: Json, change: str, name: str) -> Json:
    import yaml

    key, equals, text = change.partition("=")
    if not key or not equals or not text:
        raise ArmError(f"arm {name!r}: write KEY=VALUE after @, for instance sft@lr=x0.3")
    if key in ("lr", "learning_rate"):
        return merged(settings, {"learning_rate": _rate(settings, text, name)})
    return merged(settings, at(key, yaml.safe_load(text)))


def _rate(settings: Json, text: str, name: str) -> float:
    old = settings.get("learning_rate")
    factor = text.startswith("x")
    if factor and old is None:
        raise ArmError(f"arm {name!r}: the recipe has no `learning_rate` to multiply")
    try:
        # As people write numbers: 2e-3 times 0.3 is 6e-4, and not 0.0005999999999999999.
        rate = float(f"{float(old or 0) * float(text[1:]):.12g}") if factor else float(text)
    except (TypeError, ValueError):
        rate = math.nan
    if not 0 < rate < math.inf:
        raise ArmError(f"arm {name!r}: {text!r} is no learning rate above 0, nor a factor")
    return rate


def _nothing(settings: Json, recipe: Recipe) -> Json:
    return settings


def _as_it_is(settings: Json, recipe: Recipe) -> Json:
    stages = {key: (recipe.block or {}).get(key) for key in ("build", "choose", "mask")}
    if settings != common(recipe):
        raise ArmError("`recipe` is the recipe as it stands, and comes first where it is joined")
    return merged(settings, {"ppx": {key: value for key, value in stages.items() if value}})


def _stage(settings: Json, stage: str, block: Json, there: Json | None = None) -> Json:
    if settings["ppx"].get(stage) != there:
        raise ArmError(f"two of its parts ask for `ppx.{stage}`; take one of them")
    return merged(merged(settings, {"ppx": {stage: None}}), {"ppx": {stage: block}})


def _mask(use: str, **more: Any) -> Edit:
    def edit(settings: Json, recipe: Recipe) -> Json:
        own = dict((recipe.block or {}).get("mask") or {})
        kept = own if own.get("use") in MASKS_LIKE_STM else {}
        block = {**kept, "use": use, **more}
        if "mask_fraction" in more:
            block.pop("ppl_threshold", None)
        return _stage(settings, "mask", block)

    return edit


def _normalised(settings: Json, recipe: Recipe) -> Json:
    # A mask that masks nothing, and only edits the golds; or the mask that is there already.
    text = {"normalize_newlines": True, "strip_line_ends": True}
    there = settings["ppx"].get("mask")
    none = {"use": "stm", "ppl_threshold": float("inf")}
    return merged(settings, {"ppx": {"mask": {**(there or none), **text}}})


def _build(use: str) -> Edit:
    def edit(settings: Json, recipe: Recipe) -> Json:
        own = dict((recipe.block or {}).get("build") or {})
        if own.get("use") != use:
            lent = ("judge", "generator", "max_new_tokens", "prompts")
            own = {key: own[key] for key in lent if key in own}
        if "judge" not in own:
            raise ArmError(
                "the recipe says no judge, so that nothing tells which responses are right. Give "
                f"it one: `ppx: build: {{use: {use}, judge: ...}}` (other arms do not build)"
            )
        return _stage(settings, "build", {**own, "use": use})

    return edit


def _band(band: str) -> Edit:
    def edit(settings: Json, recipe: Recipe) -> Json:
        there = common(recipe)["ppx"].get("choose")
        if there and there.get("use") != "budget":
            raise ArmError("the recipe's `choose:` is no budget, so that it has no bands")
        own = merged(there or {}, {"window": None, "use": "budget", "band": band})
        return _stage(settings, "choose", own, there)

    return edit


def _host_key(host: str, settings: Mapping[str, Any], what: str) -> Edit:
    def edit(old: Json, recipe: Recipe) -> Json:
        if recipe.host != host:
            raise ArmError(f"{what} is not in the host {recipe.host} (it is in {host})")
        return merged(old, settings)

    return edit


def _kl(settings: Json, recipe: Recipe) -> Json:
    own = (recipe.block or {}).get("kl") or {"beta": BETA}
    return merged(settings, {"ppx": {"kl": own}})


_MATCHED = {"sft_matched": "stm"}

READY: Mapping[str, tuple[str, Edit]] = {
    "sft": ("plain fine-tuning on the golds", _nothing),
    "sft_normalised": ("golds with line ends normalised", _normalised),
    "sft_matched": ("plain fine-tuning, its change scaled to the size of stm's", _nothing),
    "stm": ("golds, with tokens of high perplexity masked", _mask("stm")),
    "stm_quantile": (
        f"golds, with the hardest {QUANTILE:.0%} of all tokens masked",
        _mask("stm", mask_fraction=QUANTILE),
    ),
    "random": ("control: as many tokens masked as stm, at random", _mask("random")),
    "lowest": ("control: as many tokens masked as stm, the easiest", _mask("lowest")),
    "s3ft": ("own right answers, else own paraphrases, else golds", _build("s3ft")),
    "self_output": ("own right answers", _build("self_output")),
    "rephrase": ("golds in the model's own words", _build("rephrase")),
    **{
        band: (f"the {words} third of the rows", _band(band))
        for band, words in zip(_BANDS, ("easiest", "middle", "hardest"), strict=True)
    },
    "dft": (
        "golds, each token's loss times its probability (arXiv 2508.05629)",
        _host_key("trl", {"loss_type": "dft"}, "DFT"),
    ),
    "eaft": (
        "golds, each token's loss times its entropy (arXiv 2601.02151)",
        _host_key("axolotl", {"use_eaft": True}, "EAFT"),
    ),
    "kl": ("golds, with a KL divergence to the base added to the loss", _kl),
    "recipe": ("the recipe as it stands", _as_it_is),
}


def with_sweep(names: Sequence[str]) -> tuple[str, ...]:
    """The arms asked for, and plain SFT at all rates; not asked for, it is the reference."""
    first = () if REFERENCE in names else (REFERENCE,)
    return tuple(dict.fromkeys((*first, *names, *SWEEP)))
