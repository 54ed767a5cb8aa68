"""Entry points -> a checked, immutable `Catalog` of components. Loading imports no torch."""

from __future__ import annotations

import difflib
import importlib.metadata
import inspect
import types
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import pluggy

from ppx_ext import answering as a
from ppx_ext import contracts as c
from ppx_ext import hookspecs
from ppx_ext import suites as s

GROUP = "ppx_ext"

HOOKS: Mapping[str, Mapping[str, type[c.Component]]] = types.MappingProxyType(
    {
        "ppx_register_scorers": {"scorer": c.TokenScorer, "measure": c.ExampleScorer},
        "ppx_register_masks": {"mask": c.Mask},
        "ppx_register_builders": {"builder": a.Builder},
        "ppx_register_judges": {"judge": a.Judge},
        "ppx_register_generators": {"generator": a.Generator},
        "ppx_register_samplers": {"sampler": c.Sampler},
        "ppx_register_eval_suites": {"eval suite": s.EvalSuite},
    }
)
"""Hook -> the kinds of component that it offers, each with its type."""

C = TypeVar("C", bound=c.Component)


class CatalogError(ValueError):
    """A plugin cannot be loaded, or a recipe asks for a component that is not there."""


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A component, with the distribution it came from."""

    kind: str
    component: c.Component
    distribution: str


@dataclass(frozen=True, kw_only=True)
class Catalog:
    """All components of all installed methods. Build one with `load`.

    ``get`` raises `CatalogError`, naming what is there and the nearest name, for an unknown one.
    """

    entries: Mapping[tuple[str, str], Entry]
    recipe_folders: tuple[Path, ...] = ()
    observers: tuple[Any, ...] = field(default=(), repr=False)

    def get(self, kind: str, name: str, expected: type[C]) -> C:
        """The component ``name`` of ``kind``.

        Raises:
            CatalogError: there is none, or it is not an ``expected``.
        """
        entry = self.entries.get((kind, name))
        if entry is None:
            raise CatalogError(self._unknown(kind, name))
        if not isinstance(entry.component, expected):
            found = type(entry.component).__name__
            raise CatalogError(f"{kind} {name!r} is a {found}; {expected.__name__} is needed here")
        return entry.component

    def names(self, kind: str) -> list[str]:
        """Names of all components of ``kind``, sorted."""
        return sorted(name for found, name in self.entries if found == kind)

    def stage_finished(self, record: c.StageRecord) -> None:
        """Tell every observer (`ppx_stage_finished`) what a stage did."""
        for observe in self.observers:
            observe(record=record)

    def _unknown(self, kind: str, name: str) -> str:
        names = self.names(kind)
        near = difflib.get_close_matches(name, names, n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        listed = ", ".join(names) if names else "none"
        return f"no {kind} is called {name!r}.{hint} Installed: {listed}. See `ppx methods`."


def load(plugins: Iterable[tuple[str, Any]] | None = None) -> Catalog:
    """Load every installed method, or just ``plugins`` as (distribution, module) pairs.

    Raises:
        CatalogError: a plugin fails to import (the distribution is named), defines a ``ppx_*``
            function without ``@hookimpl`` or one that is no hook, offers a wrong type, or offers
            a name that is taken.
    """
    manager = pluggy.PluginManager("ppx_ext")
    manager.add_hookspecs(hookspecs)
    found = list(_installed() if plugins is None else plugins)
    for distribution, module in found:
        _register(manager, distribution, module)
    return _collect(found)


def _installed() -> Iterable[tuple[str, Any]]:
    for point in sorted(importlib.metadata.entry_points(group=GROUP), key=lambda p: p.name):
        distribution = point.dist.name if point.dist else point.value
        try:
            yield distribution, point.load()
        except Exception as error:
            raise CatalogError(
                f"plugin {point.name!r} ({point.value}) of distribution {distribution!r} cannot be "
                f"loaded: {type(error).__name__}: {error}. Repair it, or uninstall it: "
                f"pip uninstall {distribution}"
            ) from error


def _register(manager: pluggy.PluginManager, distribution: str, module: Any) -> None:
    for name, function in inspect.getmembers(module, inspect.isroutine):
        if name.startswith("ppx_") and not hasattr(function, "ppx_ext_impl"):
            raise CatalogError(
                f"{_where(module)} of distribution {distribution!r} defines {name}() without "
                "@hookimpl, so it would never be called: add `from ppx_ext import hookimpl`"
            )
    try:
        manager.register(module)
        manager.check_pending()
    except (pluggy.PluginValidationError, ValueError) as error:
        raise CatalogError(f"distribution {distribution!r}: {error}") from error


def _collect(found: list[tuple[str, Any]]) -> Catalog:
    entries: dict[tuple[str, str], Entry] = {}
    for distribution, module in found:
        for hook in HOOKS:
            for component in _call(module, hook, distribution):
                kind = _kind(component, hook, distribution)
                _add(entries, Entry(kind=kind, component=component, distribution=distribution))
    folders = [_call(module, "ppx_register_recipes", name) for name, module in found]
    observers = [getattr(module, "ppx_stage_finished", None) for _, module in found]
    return Catalog(
        entries=types.MappingProxyType(entries),
        recipe_folders=tuple(Path(folder) for folder in folders if folder),
        observers=tuple(observer for observer in observers if observer),
    )


def _call(module: Any, hook: str, distribution: str) -> Any:
    function = getattr(module, hook, None)
    if function is None:
        return ()
    try:
        return function()
    except Exception as error:
        raise CatalogError(
            f"{hook}() of distribution {distribution!r} failed: {type(error).__name__}: {error}"
        ) from error


def _kind(component: Any, hook: str, distribution: str) -> str:
    for kind, expected in HOOKS[hook].items():
        if isinstance(component, expected):
            return kind
    wanted = " or ".join(expected.__name__ for expected in HOOKS[hook].values())
    raise CatalogError(
        f"{hook}() of distribution {distribution!r} returned a {type(component).__name__}; "
        f"it must return a list of {wanted}"
    )


def _add(entries: dict[tuple[str, str], Entry], entry: Entry) -> None:
    key = (entry.kind, entry.component.name)
    if key in entries:
        raise CatalogError(
            f"two distributions offer the {entry.kind} {entry.component.name!r}: "
            f"{entries[key].distribution!r} and {entry.distribution!r}. Uninstall one of them."
        )
    entries[key] = entry


def _where(module: Any) -> str:
    return str(getattr(module, "__name__", module))
