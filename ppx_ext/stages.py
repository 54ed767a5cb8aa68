"""One stage of the `ppx:` block: a component by name, and its settings, checked by its model."""

from __future__ import annotations

import difflib
import types
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import pydantic

from ppx_ext.answering import Generator, Judge
from ppx_ext.catalog import Catalog, CatalogError
from ppx_ext.contracts import Component

C = TypeVar("C", bound=Component)


@dataclass(frozen=True, kw_only=True)
class Stage(Generic[C]):
    """A component with its settings, checked."""

    component: C
    settings: Any

    def dump(self) -> dict[str, Any]:
        """The stage as plain JSON values: `use` and every setting, defaults included."""
        return {"use": self.component.name, **self.settings.model_dump(mode="json")}


@dataclass(frozen=True, kw_only=True)
class JudgeStage:
    """A judge, and the engine of its own that answers what it asks, if it has one."""

    stage: Stage[Judge]
    generator: Stage[Generator] | None = None

    def dump(self) -> dict[str, Any]:
        """As `Stage.dump`."""
        own = {"generator": self.generator.dump()} if self.generator else {}
        return {**self.stage.dump(), **own}


def stage_of(
    block: Any,
    where: str,
    catalog: Catalog,
    kind: str,
    expected: type[C],
    problems: list[str],
    *,
    extra_keys: tuple[str, ...] = (),
    example: str,
) -> Stage[C] | None:
    """The stage that a block asks for: a name, or ``use`` with settings.

    Every problem is added to ``problems`` with the key it lies at; the result is then None.
    """
    settings = {"use": block} if isinstance(block, str) else block
    if not isinstance(settings, Mapping) or not isinstance(settings.get("use"), str):
        problems.append(f"{where}.use: name the component to use, for instance `use: {example}`")
        return None
    settings = dict(settings)
    use = settings.pop("use")
    try:
        component = catalog.get(kind, use, expected)
    except CatalogError as error:
        problems.append(f"{where}.use: {error}")
        return None
    checked = validate(component.settings, settings, where, problems, extra_keys=extra_keys)
    return None if checked is None else Stage(component=component, settings=checked)


def judges_of(
    block: Any, where: str, catalog: Catalog, problems: list[str]
) -> tuple[JudgeStage, ...]:
    """The judges that a block asks for, in order: a name, a mapping, or a list of either."""
    many = isinstance(block, Sequence) and not isinstance(block, str)
    named = [(f"{where}[{at}]", one) for at, one in enumerate(block)] if many else [(where, block)]
    if not named:
        problems.append(f"{where}: the list is empty; name a judge, for instance `judge: math`")
    found = [_judge(one, place, catalog, problems) for place, one in named]
    return tuple(one for one in found if one is not None)


def _judge(block: Any, where: str, catalog: Catalog, problems: list[str]) -> JudgeStage | None:
    engine = None
    if isinstance(block, Mapping) and "generator" in block:
        block = dict(block)
        engine = generator_of(block.pop("generator"), f"{where}.generator", catalog, problems)
    stage = stage_of(
        block,
        where,
        catalog,
        "judge",
        Judge,
        problems,
        extra_keys=("generator",),
        example="math",
    )
    return None if stage is None else JudgeStage(stage=stage, generator=engine)


def generator_of(
    block: Any, where: str, catalog: Catalog, problems: list[str]
) -> Stage[Generator] | None:
    """The engine that a block asks for: a name, or a mapping."""
    return stage_of(block, where, catalog, "generator", Generator, problems, example="transformers")


M = TypeVar("M", bound=pydantic.BaseModel)


def validate(
    model: type[M],
    values: dict[str, Any],
    where: str,
    problems: list[str],
    *,
    extra_keys: tuple[str, ...] = (),
) -> M | None:
    """The values as ``model``; or None, with each problem and its key added to ``problems``."""
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
        # Settings that may hold a secret by mistake say so with pydantic's own word for it.
        hidden = found["type"] == "missing" or model.model_config.get("hide_input_in_errors")
        given = "" if hidden else f" (given: {found['input']!r})"
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
