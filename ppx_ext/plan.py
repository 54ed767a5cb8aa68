"""The `ppx:` block -> a checked `Plan`. Nothing below this module sees YAML.

Every problem of a block is reported at once, each with the key it lies at.
"""

from __future__ import annotations

import difflib
import types
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, Literal, TypeAlias, TypeVar

import pydantic

from ppx_ext import contracts as c
from ppx_ext.catalog import Catalog, CatalogError

C = TypeVar("C", bound=c.Component)
Apply: TypeAlias = Literal["baked", "collator", "online"]


class PlanError(ValueError):
    """The block is wrong; the message lists each problem with its key."""

    def __init__(self, problems: list[str]) -> None:
        self.problems = problems
        lines = "\n".join(f"  {problem}" for problem in problems)
        super().__init__(f"the ppx block has {len(problems)} problem(s):\n{lines}")


@dataclass(frozen=True, kw_only=True)
class Stage(Generic[C]):
    """A component with its settings, checked."""

    component: C
    settings: Any

    def dump(self) -> dict[str, Any]:
        """The stage as plain JSON values: `use` and every setting, defaults included."""
        return {"use": self.component.name, **self.settings.model_dump(mode="json")}


class Scoring(pydantic.BaseModel):
    """How scores are computed; of these only ``dtype`` can change a value beyond rounding."""

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True)

    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    batch_tokens: int | None = pydantic.Field(default=None, gt=0)
    device: str | None = None


class _Block(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="forbid", frozen=True)

    build: dict[str, Any] | None = None
    choose: dict[str, Any] | None = None
    mask: dict[str, Any] | None = None
    eval: dict[str, Any] | None = None
    scoring: Scoring = Scoring()
    seed: int = pydantic.Field(default=42, ge=0)
    max_skipped_share: float = pydantic.Field(default=0.01, ge=0.0, le=1.0)
    shard_rows: int = pydantic.Field(default=1024, gt=0)
    cache_dir: Path | None = None
    trust_remote_code: bool = False
    token_level_loss: bool | None = None


class _MaskKeys(pydantic.BaseModel):
    apply: Apply = "baked"
    mask_eval: bool = False


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a recipe's `ppx:` block asks for.

    Attributes:
        build, choose, mask, eval: the chosen component of each stage, or None for identity.
        apply: how the mask reaches the loss: baked into labels before training (``baked``), when
            a batch is made (``collator``), or from the base scored in the step (``online``).
        mask_eval: mask the evaluation split too; off, so that its loss stays comparable.
        scoring: dtype, batch size and device of the scoring pass.
        seed: of everything random here, mixed with stage and row.
        max_skipped_share: share of rows, in [0, 1], that may be skipped before it is an error.
        shard_rows: rows scored between two writes to disk.
        cache_dir: where scores are kept; None lets the host choose.
        trust_remote_code: passed to every loader; off unless the user says so.
        token_level_loss: True makes Axolotl 0.19 average the loss over tokens (see its page);
            None leaves the host's own way.
    """

    build: Stage[c.Builder] | None = None
    choose: Stage[c.Sampler] | None = None
    mask: Stage[c.Mask] | None = None
    eval: Stage[c.EvalSuite] | None = None
    apply: Apply = "baked"
    mask_eval: bool = False
    scoring: Scoring = Scoring()
    seed: int = 42
    max_skipped_share: float = 0.01
    shard_rows: int = 1024
    cache_dir: Path | None = None
    trust_remote_code: bool = False
    token_level_loss: bool | None = None

    def dump(self) -> dict[str, Any]:
        """The plan as plain JSON values, defaults included, for manifests and reports."""
        stages = {name: getattr(self, name) for name in ("build", "choose", "mask", "eval")}
        block: dict[str, Any] = {name: stage.dump() for name, stage in stages.items() if stage}
        if self.mask:
            block["mask"] |= {"apply": self.apply, "mask_eval": self.mask_eval}
        keys = ("seed", "max_skipped_share", "shard_rows", "trust_remote_code", "token_level_loss")
        block |= {key: getattr(self, key) for key in keys}
        block["scoring"] = self.scoring.model_dump(mode="json")
        block["cache_dir"] = str(self.cache_dir) if self.cache_dir else None
        return block


def parse(block: Mapping[str, Any] | None, catalog: Catalog) -> Plan:
    """Check a `ppx:` block against the installed methods.

    Raises:
        PlanError: unknown or missing keys, wrong values, unknown components; all of them at once.
    """
    if not isinstance(block, Mapping):
        raise PlanError([f"ppx: must be a mapping of stages, not {type(block).__name__}"])
    problems: list[str] = []
    checked = _validate(_Block, dict(block), "ppx", problems)
    if checked is None:
        raise PlanError(problems)
    mask_block = dict(checked.mask) if checked.mask is not None else None
    mask_keys = _MaskKeys()
    if mask_block is not None:
        own = {key: mask_block.pop(key) for key in _MaskKeys.model_fields if key in mask_block}
        mask_keys = _validate(_MaskKeys, own, "ppx.mask", problems) or mask_keys

    def stage(block: dict[str, Any] | None, name: str, kind: str, expected: type[C]) -> Any:
        return _stage(block, f"ppx.{name}", _getter(catalog, kind, expected), problems)

    plan = Plan(
        build=stage(checked.build, "build", "builder", c.Builder),
        choose=stage(checked.choose, "choose", "sampler", c.Sampler),
        mask=stage(mask_block, "mask", "mask", c.Mask),
        eval=stage(checked.eval, "eval", "eval suite", c.EvalSuite),
        apply=mask_keys.apply,
        mask_eval=mask_keys.mask_eval,
        **{name: getattr(checked, name) for name in _PLAIN},
    )
    if plan.mask and plan.apply == "online" and not plan.mask.component.online(plan.mask.settings):
        problems.append(
            f"ppx.mask.apply: online cannot be used with these settings of "
            f"{plan.mask.component.name!r}: they need the whole data set or scores made "
            "beforehand. Use `apply: baked`."
        )
    if problems:
        raise PlanError(problems)
    return plan


_PLAIN = (
    "scoring",
    "seed",
    "max_skipped_share",
    "shard_rows",
    "cache_dir",
    "trust_remote_code",
    "token_level_loss",
)


def _getter(catalog: Catalog, kind: str, expected: type[C]) -> Callable[[str], C]:
    return lambda name: catalog.get(kind, name, expected)


def _stage(
    block: dict[str, Any] | None, where: str, get: Callable[[str], C], problems: list[str]
) -> Stage[C] | None:
    if block is None:
        return None
    settings = dict(block)
    use = settings.pop("use", None)
    if not isinstance(use, str):
        problems.append(f"{where}.use: name the component to use, for instance `use: stm`")
        return None
    try:
        component = get(use)
    except CatalogError as error:
        problems.append(f"{where}.use: {error}")
        return None
    extra = tuple(_MaskKeys.model_fields) if where == "ppx.mask" else ()
    checked = _validate(component.settings, settings, where, problems, extra_keys=extra)
    return None if checked is None else Stage(component=component, settings=checked)


M = TypeVar("M", bound=pydantic.BaseModel)


def _validate(
    model: type[M],
    values: dict[str, Any],
    where: str,
    problems: list[str],
    *,
    extra_keys: tuple[str, ...] = (),
) -> M | None:
    try:
        return model.model_validate(values)
    except pydantic.ValidationError as error:
        for found in error.errors(include_url=False):
            problems.append(_problem(model, where, types.MappingProxyType(dict(found)), extra_keys))
        return None


def _problem(
    model: type[pydantic.BaseModel],
    where: str,
    found: Mapping[str, Any],
    extra_keys: tuple[str, ...],
) -> str:
    path = ".".join([where, *(str(part) for part in found["loc"])])
    if found["type"] != "extra_forbidden":
        given = "" if found["type"] == "missing" else f" (given: {found['input']!r})"
        return f"{path}: {str(found['msg']).removeprefix('Value error, ')}{given}"
    known = _fields_at(model, found["loc"][:-1]) or (*model.model_fields, *extra_keys)
    near = difflib.get_close_matches(str(found["loc"][-1]), known, n=1)
    hint = f" Did you mean `{near[0]}`?" if near else f" Known: {', '.join(sorted(known))}."
    return f"{path}: unknown key.{hint}"


def _fields_at(model: type[pydantic.BaseModel], path: tuple[Any, ...]) -> tuple[str, ...]:
    if not path:
        return ()
    field = model.model_fields.get(str(path[0]))
    inner = field.annotation if field else None
    if isinstance(inner, type) and issubclass(inner, pydantic.BaseModel):
        return _fields_at(inner, path[1:]) or tuple(inner.model_fields)
    return ()
