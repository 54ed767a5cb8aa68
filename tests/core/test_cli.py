"""The command `ppx`: what it shows, what it exits with, and what it does not import."""

from __future__ import annotations

import importlib.util
import json
import os
import resource
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Any

import click
import pytest
import yaml
from click.testing import CliRunner, Result

import ppx_ext
from ppx_ext.cli import main

SCRIPTS = Path(sysconfig.get_path("scripts"))
HEAVY = {"torch", "transformers", "datasets", "numpy", "pydantic", "pyarrow", "trl", "axolotl"}


def commands(group: click.Group, path: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    found: list[tuple[str, ...]] = []
    for name, command in group.commands.items():
        found.append((*path, name))
        if isinstance(command, click.Group):
            found += commands(command, (*path, name))
    return found


def ppx(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def run(*command: object, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(part) for part in command],
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, **environment},
    )


def test_it_has_the_commands_that_the_readme_names() -> None:
    names = {"methods", "judge", "build", "prepare", "train", "report", "view", "recipes"}
    names |= {"budget", "doctor", "demo", "measure", "problems", "select", "study"}
    names |= {"compare", "eval", "init"}
    assert set(main.commands) == names


@pytest.mark.parametrize("command", [(), *commands(main)], ids=" ".join)
def test_every_help_has_an_example(command: tuple[str, ...]) -> None:
    shown = ppx(*command, "--help")
    assert shown.exit_code == 0
    group = command in {("recipes",), ("study",)}
    assert group or "Example:\n    ppx " in shown.output


@pytest.mark.parametrize("command", [(), *commands(main)], ids=" ".join)
def test_help_imports_nothing_heavy(command: tuple[str, ...]) -> None:
    code = (
        "import sys; from ppx_ext.cli import main; "
        f"main({[*command, '--help']}, standalone_mode=False); "
        f"print('HEAVY', sorted({HEAVY} & set(sys.modules)))"
    )
    assert run(sys.executable, "-c", code).stdout.splitlines()[-1] == "HEAVY []"


def test_help_takes_a_few_times_what_click_takes() -> None:
    def seconds(*command: object) -> float:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        assert run(*command).returncode == 0
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    # Time of the processor, and the best of several, as other tests run beside this one. It is
    # about 2.5 times; a heavy library would make it twenty.
    ours, click = (SCRIPTS / "ppx", "--help"), (sys.executable, "-c", "import click")
    found = [(seconds(*ours), seconds(*click)) for _ in range(7)]
    assert min(own for own, _ in found) < 5 * min(library for _, library in found)


def test_version() -> None:
    assert ppx("--version").output == f"ppx, version {ppx_ext.__version__}\n"


def test_methods_as_json_name_paper_distribution_and_defaults() -> None:
    shown = ppx("methods", "--json")
    found = {(entry["kind"], entry["name"]): entry for entry in json.loads(shown.output)}
    stm = found["mask", "stm"]
    assert (stm["paper"], stm["distribution"]) == ("arXiv 2501.14315", "ppx-ext")
    assert stm["settings"]["ppl_threshold"] == {"type": "number | null", "default": 2.5}
    required = found["scorer", "column"]["settings"]["column"]
    assert required == {"type": "string"}


def test_methods_as_a_table_name_each_method() -> None:
    shown = ppx("methods").output
    names = {entry["name"] for entry in json.loads(ppx("methods", "--json").output)}
    assert [name for name in names if name not in shown] == []
    assert "ppl_threshold = 2.5" in shown
    assert "column (required)" in shown


def test_recipes_are_listed_shown_and_copied(tmp_path: Path) -> None:
    name = "stm/gemma-2-2b-it/mbpp.trl"
    listed = json.loads(ppx("recipes", "list", "--json").output)
    (entry,) = [entry for entry in listed if entry["name"] == name]
    assert entry["what"].startswith("Selective Token Masking on MBPP, Gemma-2-2B-it")
    assert name.removesuffix(".trl") in ppx("recipes", "list").output
    shown = ppx("recipes", "show", name).output
    assert ppx("recipes", "copy", name, tmp_path).exit_code == 0
    assert (tmp_path / "mbpp.trl.yaml").read_text() == shown


@pytest.mark.parametrize(
    "arguments",
    [
        ("doctor", "no-such.trl"),
        ("train", "no-such.trl"),
        ("prepare", "no-such.trl", "--out", "out"),
        ("recipes", "show", "no-such.trl"),
    ],
    ids=" ".join,
)
def test_an_error_is_one_message_and_exit_code_1(arguments: tuple[str, ...]) -> None:
    done = run(SCRIPTS / "ppx", *arguments)
    assert done.returncode == 1
    assert done.stderr.startswith("Error: no-such.trl: there is no such file")
    assert "Traceback" not in done.stderr


def test_debug_shows_the_traceback() -> None:
    done = run(SCRIPTS / "ppx", "train", "no-such.trl", PPX_DEBUG="1")
    assert done.returncode == 1
    assert "Traceback" in done.stderr
    assert "RecipeError: no-such.trl" in done.stderr


@pytest.mark.parametrize("arguments", [("no-such",), ("prepare", "x"), ("view", "no-such-folder")])
def test_wrong_usage_is_exit_code_2(arguments: tuple[str, ...]) -> None:
    assert ppx(*arguments).exit_code == 2


@pytest.mark.axolotl
@pytest.mark.slow
def test_the_same_commands_stand_under_axolotl() -> None:
    shown = run(SCRIPTS / "axolotl", "ppx", "--help")
    assert shown.returncode == 0
    assert all(f"\n  {name}" in shown.stdout for name in main.commands)
    listed = run(SCRIPTS / "axolotl", "ppx", "recipes", "list", "--json")
    printed = listed.stdout[listed.stdout.index("\n[\n") :]  # after Axolotl's banner
    assert json.loads(printed) == json.loads(ppx("recipes", "list", "--json").output)


# ------------------------------------------------------------------------------------- doctor

BLOCK: dict[str, Any] = {"mask": {"use": "stm"}}
TRL: dict[str, Any] = {"model_name_or_path": "model", "dataset_name": "rows.jsonl", "ppx": BLOCK}
AXOLOTL: dict[str, Any] = {
    "base_model": "model",
    "plugins": ["ppx_ext.hosts.axolotl.PpxPlugin"],
    "ppx": BLOCK,
    "datasets": [{"path": "rows.jsonl", "type": "chat_template"}],
    "micro_batch_size": 1,
    "gradient_accumulation_steps": 1,
    "learning_rate": 1e-4,
}


@pytest.fixture
def examined(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """``examined(host, settings) -> (exit code, what --json prints)``; all files are there."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text('{"model_type": "llama"}')
    (tmp_path / "rows.jsonl").write_text('{"messages": []}\n')

    def examine(host: str, settings: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        Path(f"a.{host}.yaml").write_text(yaml.safe_dump(settings))
        done = ppx("doctor", f"a.{host}.yaml", "--json")
        return done.exit_code, json.loads(done.stdout)

    return examine


def errors(found: dict[str, Any]) -> str:
    lines = [f for f in found["findings"] if f["level"] == "error"]
    return "\n".join(f"{line['where']}: {line['message']}" for line in lines)


HOSTS = [("trl", TRL), pytest.param("axolotl", AXOLOTL, marks=pytest.mark.axolotl)]


@pytest.mark.parametrize(("host", "settings"), HOSTS)
def test_doctor_finds_nothing_wrong_where_nothing_is(
    examined: Any, host: str, settings: dict[str, Any]
) -> None:
    code, found = examined(host, settings)
    assert (code, found["active"], errors(found)) == (0, True, "")
    assert found["stack"]["ppx-ext"] == ppx_ext.__version__
    assert found["stack"]["trl"]
    assert "ppl_threshold" in json.dumps(found["findings"])


@pytest.mark.parametrize(("host", "settings"), HOSTS)
@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"ppx": None}, "plain run"),
        ({"ppx": {}}, "names no stage"),
        ({"ppx": {"mask": {"use": "smt"}}}, "Did you mean 'stm'"),
        ({"ppx": {"mask": {"use": "stm", "ppl_treshold": 2}}}, "Did you mean `ppl_threshold`"),
        ({"ppx": {"mask": {"use": "stm", "ppl_threshold": 0.5}}}, "must be above 1"),
    ],
    ids=["no block", "empty block", "unknown mask", "misspelt key", "wrong value"],
)
def test_doctor_fails_on_a_wrong_block(
    examined: Any, host: str, settings: dict[str, Any], change: dict[str, Any], said: str
) -> None:
    code, found = examined(host, {k: v for k, v in (settings | change).items() if v is not None})
    assert (code, found["active"]) == (1, False)
    assert said in errors(found)


@pytest.mark.parametrize(
    ("host", "change", "said"),
    [
        ("trl", {"model_name_or_path": "data"}, "model_name_or_path: data: this folder has no"),
        ("trl", {"model_name_or_path": "a/b/c"}, "cannot be a hub id"),
        ("trl", {"dataset_name": "none.jsonl"}, "dataset_name: none.jsonl: there is no such file"),
        ("trl", {"lerning_rate": 1}, "Did you mean `learning_rate`"),
        ("trl", {"pxp": BLOCK, "ppx": None}, "where the recipe says `pxp:`"),
        ("axolotl", {"plugins": []}, "plugins: ppx_ext.hosts.axolotl.PpxPlugin is not listed"),
        ("axolotl", {"plugins": ["ppx_ext.host.axolotl.PpxPlugin"]}, "did you mean ppx_ext.hosts"),
        ("axolotl", {"plugins": ["ppx_ext.hosts.axolotl.PpxPlugn"]}, "did you mean ppx_ext.hosts"),
    ],
)
def test_doctor_fails_where_our_part_would_not_run(
    examined: Any, host: str, change: dict[str, Any], said: str
) -> None:
    if host == "axolotl":
        pytest.importorskip("axolotl", reason="needs Axolotl")
    Path("data").mkdir()
    settings = ({"trl": TRL, "axolotl": AXOLOTL}[host]) | change
    code, found = examined(host, {k: v for k, v in settings.items() if v is not None})
    assert code == 1
    assert said in errors(found)


def test_doctor_names_what_is_missing_where_axolotl_is_not_installed(
    examined: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    import importlib.util

    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "axolotl" else find(name)
    )
    code, found = examined("axolotl", AXOLOTL)
    assert code == 1
    assert "pip install 'ppx-ext[axolotl]'" in errors(found)


def test_a_wrong_block_is_told_before_any_host_is_imported(tmp_path: Path) -> None:
    (tmp_path / "my.trl.yaml").write_text("ppx: {mask: {use: stm, ppl_treshold: 2.5}}\n")
    code = "import sys; from ppx_ext.cli import main\n"
    code += "try: main(['train', sys.argv[1]])\n"
    code += "except SystemExit as end: print(end.code, {'torch', 'trl'} & set(sys.modules))"
    done = run(sys.executable, "-c", code, tmp_path / "my.trl.yaml")
    assert "Did you mean `ppl_threshold`?" in done.stderr
    assert done.stdout == "1 set()\n"


def test_doctor_misses_what_quantised_weights_need(
    examined: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = importlib.util.find_spec

    def without(name: str, *args: Any) -> Any:
        return None if name == "bitsandbytes" else real(name, *args)

    monkeypatch.setattr(importlib.util, "find_spec", without)
    assert "bitsandbytes" not in errors(examined("trl", TRL)[1])
    code, found = examined("trl", TRL | {"use_peft": True, "load_in_4bit": True})
    assert (code, found["active"]) == (1, False)
    assert "load_in_4bit: needs bitsandbytes, which is not installed here" in errors(found)
