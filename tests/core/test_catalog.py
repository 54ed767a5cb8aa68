"""The loader's rules: what is refused, and how it is said."""

from __future__ import annotations

import importlib
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from ppx_ext import catalog, hookimpl
from ppx_ext.contracts import ExampleScorer, Mask, StageRecord, TokenScorer
from tests.core import fakes


def test_components_are_found_by_kind_and_name() -> None:
    found = fakes.method()
    assert found.get("mask", "below", Mask) is fakes.BELOW
    assert found.names("scorer") == ["mod"]
    assert found.entries["mask", "below"].distribution == "fake-method"


def test_an_unknown_name_lists_what_there_is_and_the_near_miss() -> None:
    with pytest.raises(
        catalog.CatalogError, match=r"no mask is called 'bellow'\. Did you mean 'below'"
    ):
        fakes.method().get("mask", "bellow", Mask)
    with pytest.raises(catalog.CatalogError, match="Installed: none"):
        fakes.method(masks=[]).get("mask", "below", Mask)


def test_a_component_of_another_type_is_refused() -> None:
    with pytest.raises(
        catalog.CatalogError, match="'mod' is a TokenScorer; ExampleScorer is needed"
    ):
        fakes.method().get("scorer", "mod", ExampleScorer)


def test_two_components_of_one_name_name_both_distributions() -> None:
    first, second = (fakes.module(name, ppx_register_scorers=[fakes.MOD]) for name in "ab")
    with pytest.raises(
        catalog.CatalogError, match="two distributions offer the scorer 'mod': 'x' and 'y'"
    ):
        catalog.load([("x", first), ("y", second)])


def test_a_hook_that_does_not_exist_is_refused_by_check_pending() -> None:
    with pytest.raises(catalog.CatalogError, match=r"'x'.*ppx_register_maskz"):
        catalog.load([("x", fakes.module(ppx_register_maskz=[]))])


def test_a_hook_without_its_mark_is_refused() -> None:
    def ppx_register_masks() -> list[Any]:
        return []

    made = fakes.module("forgetful", ppx_register_masks=ppx_register_masks)
    with pytest.raises(
        catalog.CatalogError, match=r"forgetful of distribution 'x'.*without @hookimpl"
    ):
        catalog.load([("x", made)])


@pytest.mark.parametrize("offered", [[object()], [fakes.MOD]])
def test_a_wrong_type_names_the_hook_and_what_it_must_return(offered: list[Any]) -> None:
    with pytest.raises(
        catalog.CatalogError, match=r"ppx_register_masks\(\) of distribution 'x'.*list of Mask"
    ):
        catalog.load([("x", fakes.module(ppx_register_masks=offered))])


def test_a_hook_that_fails_names_its_distribution() -> None:
    @hookimpl
    def ppx_register_masks() -> list[Any]:
        raise RuntimeError("no luck")

    made = fakes.module(ppx_register_masks=ppx_register_masks)
    with pytest.raises(catalog.CatalogError, match="'x' failed: RuntimeError: no luck"):
        catalog.load([("x", made)])


def test_an_installed_plugin_that_cannot_be_imported_names_its_distribution(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    about = tmp_path / "broken_method-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: broken-method\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text("[ppx_ext]\nbroken = broken_module_of_a_test\n")
    (tmp_path / "broken_module_of_a_test.py").write_text("import there_is_no_such_module")
    monkeypatch.syspath_prepend(tmp_path)
    importlib.invalidate_caches()
    with pytest.raises(
        catalog.CatalogError,
        match=r"distribution 'broken-method' cannot be loaded: ModuleNotFoundError.*pip uninstall",
    ):
        catalog.load()


def test_observers_are_told_of_each_stage() -> None:
    seen: list[StageRecord] = []

    @hookimpl
    def ppx_stage_finished(record: StageRecord) -> None:
        seen.append(record)

    found = catalog.load([("x", fakes.module(ppx_stage_finished=ppx_stage_finished))])
    record = StageRecord(stage="mask", component="m", fingerprint="f", settings={}, numbers={})
    found.stage_finished(record)
    assert seen == [record]


def test_the_catalog_cannot_be_changed() -> None:
    with pytest.raises(TypeError):
        fakes.method().entries["mask", "other"] = None  # type: ignore[index]


def test_loading_the_methods_imports_nothing_heavy() -> None:
    code = (
        "import sys, ppx_stm; from ppx_ext import catalog; "
        "found = catalog.load([('ppx-ext', ppx_stm)]); assert 'stm' in found.names('mask'); "
        "print([m for m in ('torch', 'transformers', 'datasets', 'pyarrow') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_kinds_cover_every_hook_that_registers_components() -> None:
    from ppx_ext import hookspecs

    named = {name for name in dir(hookspecs) if name.startswith("ppx_register_")}
    assert named - set(catalog.HOOKS) == {"ppx_register_recipes"}
    assert catalog.HOOKS["ppx_register_scorers"]["scorer"] is TokenScorer
