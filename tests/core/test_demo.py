"""A miniature demo, end to end: real TRL, real LoRA, real masking, in processes of their own."""

from __future__ import annotations

import dataclasses
import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from ppx_ext.cli import main
from ppx_ext.demo import tasks
from ppx_ext.demo.material import HELD_OUT_EVERY, embedded, from_data
from ppx_ext.demo.run import BASE, run
from ppx_ext.demo.settings import Settings
from ppx_ext.metrics import average_drop, backward_transfer, target_improvement

MINI = Settings(train_rows=16, epochs=1.0, batch_size=8, test_items=6)


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], Path]:
    out = tmp_path_factory.mktemp("demo")
    return run(out, seeds=1, settings=MINI), out


def accuracy(scores: list[dict[str, Any]], *, target: bool) -> dict[str, float]:
    return {
        score["task"]: sum(score["correct"]) / len(score["correct"])
        for score in scores
        if score["target"] == target
    }


def test_the_numbers_are_those_of_the_items(demo: tuple[dict[str, Any], Path]) -> None:
    found, out = demo
    assert json.loads((out / "report.json").read_text()) == found
    base = found["items"]["base"]["scores"]
    assert [score["task"] for score in base] == list(tasks.TASK_NAMES)
    assert all(len(score["correct"]) == MINI.test_items for score in base)
    assert [score["task"] for score in base if score["target"]] == [tasks.TARGET]
    for arm, items in zip(found["study"]["arms"], found["items"]["arms"], strict=True):
        (scores,) = (run["scores"] for run in items["runs"])
        old, new = accuracy(base, target=False), accuracy(scores, target=False)
        assert arm["mean"]["other"] == pytest.approx(100 * sum(new.values()) / len(new))
        assert arm["mean"]["drop"] == pytest.approx(average_drop(old, new))
        if all(old.values()):
            assert arm["mean"]["bwt"] == pytest.approx(backward_transfer(old, new))
        before = accuracy(base, target=True)[tasks.TARGET]
        after = accuracy(scores, target=True)[tasks.TARGET]
        if before:
            assert arm["mean"]["ti"] == pytest.approx(target_improvement(before, after))
        else:
            assert any("TI is undefined" in warning for warning in found["warnings"])


def test_only_the_block_differs(demo: tuple[dict[str, Any], Path]) -> None:
    found, _ = demo
    assert [arm["name"] for arm in found["study"]["arms"]] == ["SFT", "STM", "S3FT"]
    sft, stm, s3ft = (arm["runs"][0] for arm in found["study"]["arms"])
    assert (sft["seed"], stm["seed"], s3ft["seed"]) == (0, 0, 0)
    assert (sft["tokens_masked"], sft["loss_kept"]) == (0.0, 1.0)
    masking = found["masking"]
    assert masking["rows"] == MINI.train_rows
    assert stm["tokens_masked"] == masking["masked"] / masking["targets"]
    assert 0 < stm["tokens_masked"] < 1
    assert 0 < stm["loss_kept"] < 1
    assert sft["update_norm"] > 0
    assert stm["update_norm"] not in (0, sft["update_norm"])
    mask, build = found["stages"]
    assert mask["component"] == "stm"
    assert mask["settings"]["ppl_threshold"] == 2.5
    assert build["component"] == "s3ft"
    assert {(test["arm"], test["against"]) for test in found["study"]["tests"]} == {
        ("SFT", "base"), ("STM", "base"), ("S3FT", "base"), ("STM", "SFT"), ("S3FT", "SFT"),
        ("S3FT", "STM"),
    }  # fmt: skip


def test_own_words_are_those_that_the_base_gets_right(
    demo: tuple[dict[str, Any], Path],
) -> None:
    """Every target is held against the rule by which the demo grades, and the base asked again."""
    import pyarrow.parquet as pq
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from ppx_ext.evaluation import generate_greedy, render_prompt

    found, out = demo
    (path,) = (out / "scores" / "built").glob("s3ft-*/train.parquet")
    built = pq.read_table(path).to_pylist()
    golds = embedded(MINI).train
    model = AutoModelForCausalLM.from_pretrained(BASE)
    tokenizer = AutoTokenizer.from_pretrained(BASE)
    prompts = [render_prompt(tokenizer, tasks.question_of(row)) for row in golds]
    said = generate_greedy(model, tokenizer, prompts, max_new_tokens=64)
    assert len(built) == len(golds) == MINI.train_rows
    for row, gold, text in zip(built, golds, said, strict=True):
        (asked, answer), source = row["messages"], row["ppx_source"]
        assert asked["content"] == tasks.question_of(gold)
        assert (source == "own") == (tasks.final_answer(text) == gold["answer"])
        if source != "paraphrase":
            assert answer["content"] == (text if source == "own" else tasks.response_of(gold))
        assert tasks.final_answer(answer["content"]) == gold["answer"]
    counts = Counter(row["ppx_source"] for row in built)
    (arm,) = (arm["runs"][0] for arm in found["study"]["arms"] if arm["name"] == "S3FT")
    for source in ("own", "paraphrase", "gold"):
        assert arm[source] == counts[source] / MINI.train_rows
    assert counts["own"] > 0 < counts["gold"]
    (record,) = found["building"]
    assert record["numbers"]["composition"] == {s: counts[s] for s in ("own", "paraphrase", "gold")}


def test_what_is_printed_is_what_was_measured(
    demo: tuple[dict[str, Any], Path], capsys: pytest.CaptureFixture[str]
) -> None:
    from rich.console import Console

    from ppx_ext.comparing.show import show

    found, out = demo
    show(found, out=out, seconds=1, console=Console(width=400))
    printed = capsys.readouterr().out
    lines = {line[:24].strip(): line.split() for line in printed.splitlines()}
    shares = [f"{100 * arm['mean']['own']:.1f}" for arm in found["study"]["arms"]]
    assert lines["own answers trained on, "[:24].strip()][-3:] == shares
    for title, key in (("target accuracy, %", "target"), ("other tasks' accuracy, %", "other")):
        arms = [arm["mean"][key] for arm in found["study"]["arms"]]
        shown = [f"{value:.1f}" for value in (found["study"]["base"][key], *arms)]
        assert lines[title][-4:] == shown
    for sentence in found["verdict"] + found["warnings"]:
        assert sentence in printed
    assert "One seed:" in printed


def test_the_page_needs_no_network(demo: tuple[dict[str, Any], Path]) -> None:
    text = (demo[1] / "report.html").read_text()
    assert not re.search(r"https?://", text)
    assert not re.search(r"<(script|link|img|iframe)\b|\bsrc=", text)
    assert "story" in text
    assert "Whose words the targets of <code>s3ft</code> are" in text


@pytest.mark.slow
def test_the_same_seed_gives_the_same_items(
    demo: tuple[dict[str, Any], Path], tmp_path: Path
) -> None:
    found, _ = demo
    again = run(tmp_path, seeds=[0], settings=MINI, workers=1)
    for one, two in zip(found["items"]["arms"], again["items"]["arms"], strict=True):
        assert one["runs"][0]["scores"] == two["runs"][0]["scores"]
        for key in ("update_norm", "perplexity", "loss_kept"):
            assert one["runs"][0]["numbers"][key] == two["runs"][0]["numbers"][key]


def test_training_rows_are_never_asked() -> None:
    material = embedded(Settings(train_rows=300, test_items=100))
    trained = {row["messages"][0]["content"] for row in material.train}
    asked = {prompt for task in material.tasks for prompt in task.prompts}
    assert len(trained) == 300
    assert not trained & asked
    assert not trained & {row["messages"][0]["content"] for row in material.held_out}


@pytest.mark.parametrize(
    ("name", "prompt", "gold"),
    [("gsm8k_train", "Natalia", "#### 72"), ("mbpp_train", ">>>", "def")],
)
def test_real_files_become_a_target(data_dir: Path, name: str, prompt: str, gold: str) -> None:
    material = from_data(data_dir / f"{name}.jsonl", Settings(train_rows=90))
    assert (len(material.train), len(material.held_out)) == (90, 10)
    assert prompt in material.train[0]["messages"][0]["content"]
    assert gold in material.train[0]["messages"][1]["content"]
    target, *others = material.tasks
    assert (target.name, target.target, len(target.prompts)) == (name, True, 10)
    assert [task.name for task in others] == list(tasks.OUT_OF_DOMAIN)
    assert not any(task.target for task in others)
    held_out = {row["messages"][0]["content"] for row in material.held_out}
    assert not held_out & {row["messages"][0]["content"] for row in material.train}
    assert any("Only the first 100 usable rows" in warning for warning in material.warnings)


@pytest.mark.slow
def test_a_run_on_own_rows(tmp_path: Path) -> None:
    rows = [{"ask": f"Say {n}.", "say": f"I say\n#### {n}"} for n in range(20)]
    path = tmp_path / "mine.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    settings = dataclasses.replace(MINI, test_items=3)
    fields = {"prompt": "ask", "response": "say"}
    found = run(tmp_path / "out", seeds=1, data=path, rows=16, fields=fields, settings=settings)
    assert found["masking"]["rows"] == 16
    assert found["items"]["base"]["scores"][0]["task"] == "mine"
    assert all(arm["mean"]["perplexity"] > 1 for arm in found["study"]["arms"])
    assert "two million parameters" in found["warnings"][0]
    assert found["repeat"]["command"] == f"ppx demo --seeds 1 --data {path} --rows 16"


def test_too_few_or_unusable_rows_are_told(tmp_path: Path) -> None:
    path = tmp_path / "few.jsonl"
    path.write_text('{"prompt": "a", "response": "b"}\n' * 5 + '{"prompt": "a", "response": ""}\n')
    with pytest.raises(ValueError, match=rf"5 usable rows; {HELD_OUT_EVERY} are the fewest.*empty"):
        from_data(path, Settings())


def test_wrong_arguments_are_told(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="at least one seed"):
        run(tmp_path, seeds=0)
    with pytest.raises(ValueError, match="holds no model"):
        run(tmp_path, base=tmp_path)


def test_the_base_is_small_and_safe() -> None:
    assert sum(path.stat().st_size for path in BASE.iterdir()) < 8 * 2**20
    assert not list(BASE.glob("*.bin"))


def test_columns_are_named_only_of_data_that_is_given() -> None:
    shown = CliRunner().invoke(main, ["demo", "--prompt", "ask", "--response", "say"])
    assert shown.exit_code == 2
    assert "name columns of --data" in shown.output


def test_unclear_columns_are_named_on_the_command_line(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text('{"ask": "1+1?", "say": "2"}\n')
    given = ["demo", "--data", str(tmp_path / "rows.jsonl"), "--out", str(tmp_path / "out")]
    unclear = CliRunner().invoke(main, given)
    assert "Columns: ask, say" in unclear.output
    wrong = CliRunner().invoke(main, [*given, "--prompt", "asks", "--response", "say"])
    assert wrong.exit_code == 1
    assert "no column is called asks" in wrong.output
