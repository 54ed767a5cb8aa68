"""The wheel as a user gets it, beside a third party's, in an environment of its own."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TEMPLATE = ROOT / "plugins" / "_template"

pytestmark = [pytest.mark.checkout, pytest.mark.slow]


def run(*command: object, cwd: Path) -> str:
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    done = subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def build(source: Path, out: Path) -> Path:
    run(sys.executable, "-m", "build", "--wheel", "--no-isolation", "-o", out, source, cwd=out)
    (wheel,) = out.glob("*.whl")
    return wheel


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(ROOT, tmp_path_factory.mktemp("core"))


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory, wheel: Path) -> Path:
    """Both wheels in a fresh environment; libraries (not the checkout) come from this one's."""
    template = tmp_path_factory.mktemp("template")
    shutil.copytree(TEMPLATE, template / "source")
    theirs = build(template / "source", template)
    folder = tmp_path_factory.mktemp("environment")
    run(sys.executable, "-m", "venv", "--without-pip", folder, cwd=folder)
    python = folder / "bin" / "python"
    install = ("-m", "pip", "--python", python, "install", "-q", "--no-deps", "--no-index")
    run(sys.executable, *install, wheel, theirs, cwd=folder)
    libraries = sysconfig.get_path("purelib")
    site = run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=folder)
    # Added after the environment's own packages; .pth files in there, such as that of an editable
    # install, are not followed.
    (Path(site.strip()) / "libraries.pth").write_text(f"{libraries}\n", encoding="utf-8")
    return folder


def test_wheel_holds_the_core_the_methods_and_the_recipes_and_nothing_else(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    methods = {path.parent.name for path in (ROOT / "plugins").glob("ppx_*/__init__.py")}
    tops = {name.partition("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"ppx_ext", *methods}
    recipes = {
        path.relative_to(ROOT / "recipes").as_posix()
        for path in (ROOT / "recipes").rglob("*.*")
        if path.suffix in (".yaml", ".py")
    }
    prefix = "ppx_ext/_recipes/"
    assert recipes
    assert {n.removeprefix(prefix) for n in names if n.startswith(prefix)} >= recipes
    assert "ppx_ext/py.typed" in names


def test_every_method_in_the_checkout_has_an_entry_point(wheel: Path) -> None:
    archive = zipfile.ZipFile(wheel)
    (name,) = [name for name in archive.namelist() if name.endswith("entry_points.txt")]
    text = archive.read(name).decode()
    for method in (ROOT / "plugins").glob("ppx_*/__init__.py"):
        assert f"= {method.parent.name}\n" in text + "\n"
    assert "ppx = ppx_ext.cli:main" in text
    assert "[axolotl.cli_commands]" in text


def test_installed_methods_show_with_their_distribution(environment: Path) -> None:
    printed = run(environment / "bin" / "ppx", "methods", "--json", cwd=environment)
    found = {(entry["kind"], entry["name"]): entry["distribution"] for entry in json.loads(printed)}
    assert found["mask", "first_tokens"] == "ppx-first-tokens"
    assert found["mask", "stm"] == "ppx-ext"


def test_the_installed_package_is_what_runs(environment: Path) -> None:
    where = "import ppx_ext, ppx_stm, ppx_first_tokens as f; print(ppx_ext.__file__, f.__file__)"
    found = run(environment / "bin" / "python", "-c", where, cwd=environment).split()
    assert all(Path(path).is_relative_to(environment) for path in found), found


def test_recipes_are_found_in_the_wheel(environment: Path) -> None:
    ppx = environment / "bin" / "ppx"
    listed = json.loads(run(ppx, "recipes", "list", "--json", cwd=environment))
    assert listed
    for entry in listed:
        assert Path(entry["file"]).is_relative_to(environment)
        assert "ppx:" in run(ppx, "recipes", "show", entry["name"], cwd=environment)


def test_the_template_passes_its_own_tests(environment: Path) -> None:
    copied = environment / "template"
    shutil.copytree(TEMPLATE / "tests", copied)
    pytest_of = ("-m", "pytest", "-q", "-p", "no:cacheprovider", "-c", os.devnull, copied)
    printed = run(environment / "bin" / "python", *pytest_of, cwd=environment)
    assert "5 passed" in printed
