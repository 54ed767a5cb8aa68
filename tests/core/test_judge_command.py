"""`ppx judge`: its settings, its refusals, and the command as a user runs it, killed on the way."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sysconfig
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from ppx_ext import catalog
from ppx_ext.cli import main
from ppx_ext.judge_run import Wanted, stages
from tests.core.test_judging_files import lines, write
from tests.plugins.generators.strict_server import chat, models, serving

PPX = Path(sysconfig.get_path("scripts")) / "ppx"


def ppx(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["judge", *map(str, arguments)])


def test_settings_on_the_command_line() -> None:
    found = stages(
        Wanted(
            judges=("math", "llm"),
            settings=("math.seconds=3", "llm.attempts=2", "generator.extra_body.top_k=-1"),
            generator="openai",
        ),
        catalog.load(),
    )
    assert [one.stage.component.name for one in found] == ["math", "llm"]
    assert found[0].stage.settings.seconds == 3
    assert found[1].stage.settings.attempts == 2
    assert found[1].generator is not None
    assert found[1].generator.settings.extra_body == {"top_k": -1}
    (alone,) = stages(Wanted(judges=("exact",), settings=("after=####",)), catalog.load())
    assert alone.stage.settings.after == "####"


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (("--judge", "maths"), "Did you mean 'math'"),
        (("--judge", "math", "--set", "secnds=3"), "Did you mean `seconds`"),
        (("--judge", "math", "--set", "seconds"), "KEY=VALUE"),
        (("--judge", "math", "--judge", "exact", "--set", "seconds=3"), "--set math.seconds="),
        (("--judge", "math", "--set", "generator.model=m"), "--generator NAME"),
        (("--judge", "math", "--model", "m"), "--generator"),
        (("--judge", "llm"), "--generator"),
        (("--judge", "llm", "--generator", "openai"), "generator.model=NAME"),
        (("--judge", "math", "--gold", "nope"), "'nope'"),
    ],
)
def test_a_wrong_command_says_what_to_do(
    tmp_path: Path, arguments: tuple[str, ...], problem: str
) -> None:
    source = write(tmp_path / "in.jsonl", [{"response": "a", "gold": "b"}])
    done = ppx(*arguments, source, tmp_path / "out.jsonl")
    assert done.exit_code == 1, done.output
    assert problem in done.output
    assert not (tmp_path / "out.jsonl").exists()


def test_as_a_user_runs_it(tmp_path: Path, data_dir: Path) -> None:
    rows = lines(data_dir / "gsm8k_model_solutions_first100.jsonl")[:20]
    flat = [
        {"question": row["question"], "gold": row["gold"], "response": one["text"], "label": label}
        for row in rows
        for one in row["solutions"]
        for label in [one["is_correct"]]
    ]
    source, out = write(tmp_path / "in.jsonl", flat), tmp_path / "out.jsonl"
    done = subprocess.run(
        [PPX, "judge", "--judge", "math", source, out], capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    assert "80 rows judged" in done.stdout
    made = lines(out)
    assert [(row["verdict"] == "correct") for row in made] == [row["label"] for row in flat]
    assert [{k: row[k] for k in flat[0]} for row in made] == flat


def test_a_server_as_the_judge_and_a_kill_on_the_way(tmp_path: Path) -> None:
    rows = [
        {"question": f"q{n}?", "response": f"r{n}", "gold": f"the word {n}"} for n in range(150)
    ]
    source, out = write(tmp_path / "in.jsonl", rows), tmp_path / "out.jsonl"

    def reply(path: str, body: dict[str, Any]) -> Any:
        if path.endswith("/models"):
            return models("judge")
        if asked() > 100:  # none of these is answered before the first process is killed
            killed.wait(120)
        found = re.search(r"the word (\d+)", body["messages"][-1]["content"])
        even = found is not None and int(found[1]) % 2 == 0
        return chat(f"I see.\nVERDICT: {'CORRECT' if even else 'WRONG'}")

    def asked() -> int:
        return sum("completions" in path for path, _, _ in seen)

    def kept() -> int:
        files = tmp_path.glob(".out.jsonl.answers/*/answers-*.jsonl")
        return sum(file.read_text().count("\n") - 1 for file in files)

    killed = threading.Event()

    with serving(reply) as (address, seen):
        command = [PPX, "judge", "--judge", "math", "--judge", "llm", "--generator", "openai"]
        command += ["--set", f"generator.base_url={address}", "--set", "generator.concurrency=2"]
        command += ["--model", "judge", source, out]
        first = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while asked() <= 100 or kept() < 99:
            assert first.poll() is None
            time.sleep(0.01)
        os.kill(first.pid, signal.SIGKILL)
        first.wait()
        killed.set()
        assert not out.exists()
        second = subprocess.run(command, capture_output=True, text=True, timeout=300)
        assert second.returncode == 0, second.stderr
        assert 150 <= asked() <= 154
    said = [(row["verdict"], row["judge"]) for row in lines(out)]
    assert said == [("wrong" if n % 2 else "correct", "llm 1") for n in range(150)]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.jsonl", "out.jsonl"]
