"""`ppx init`: recipes that pass `ppx recipes check`, honest where nothing could be seen."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sysconfig
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from ppx_ext import recipes
from ppx_ext.cli import main
from ppx_ext.drafting import facts, memory, write
from ppx_ext.proving import check, published, stand_ins, teaching

GEMMA = "google/gemma-2-2b-it"
PPX = Path(sysconfig.get_path("scripts")) / "ppx"
HOSTS = ["trl", pytest.param("axolotl", marks=pytest.mark.axolotl)]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    path = tmp_path / "rows.jsonl"
    pairs = [{"prompt": f"Say {n}.", "response": f"It is {n}.", "kept": n} for n in range(10)]
    path.write_text("".join(json.dumps(pair) + "\n" for pair in pairs), encoding="utf-8")
    return path


def init(*words: object) -> Result:
    return CliRunner().invoke(main, ["init", *map(str, words)])


def flags(**given: Any) -> list[Any]:
    return [part for name, value in given.items() for part in (f"--{name}", value)]


@pytest.mark.parametrize("host", HOSTS)
@pytest.mark.parametrize("method", write.TITLES)
def test_every_method_gives_a_recipe_that_passes_the_check(
    method: str, host: str, data: Path, tmp_path: Path
) -> None:
    file = tmp_path / f"mine.{host}.yaml"
    judge = flags(judge="exact") if method in write.JUDGED else []
    given = flags(model=GEMMA, data=data, method=method, host=host, memory=24)
    done = init(file, *given, *judge)
    assert done.exit_code == 0, done.output
    assert f"ppx recipes check {file}" in done.output
    checked = check.check([file])
    assert [found for found in checked.findings if found.level != "ok"] == []
    block = recipes.load(file).block
    wanted = {
        "sft": {},
        "stm": {"mask": "stm"},
        "difficulty": {"choose": "budget"},
        "combined": {"build": "s3ft", "choose": "budget", "mask": "stm"},
    }.get(method, {"build": method})
    stages = ("build", "choose", "mask")
    assert {name: block[name]["use"] for name in stages if name in block} == wanted
    assert block["eval"]["suites"][0]["use"] == "lm_eval"
    assert block.get("choose", {}).get("max_examples", 5) == 5, "half of ten rows"
    assert "rule of thumb" in file.read_text(encoding="utf-8")


@pytest.mark.parametrize("model", published.models())
def test_every_known_model_is_trained_to_end_its_turns(
    model: str, data: Path, tmp_path: Path
) -> None:
    file = tmp_path / "mine.trl.yaml"
    done = init(file, *flags(model=model, data=data, method="stm", host="trl", memory=80))
    assert done.exit_code == 0, done.output
    found = {one.key: one.level for one in check.check([file]).findings}
    assert found["chat template"] == "ok"


def test_pairs_become_chats_for_axolotl_and_keep_their_columns(data: Path, tmp_path: Path) -> None:
    file = tmp_path / "mine.axolotl.yaml"
    done = init(file, *flags(model=GEMMA, data=data, method="sft", host="axolotl", memory=24))
    assert done.exit_code == 0, done.output
    (entry,) = recipes.load(file).settings["datasets"]
    rows = [json.loads(line) for line in Path(entry["path"]).read_text().splitlines()]
    assert [row["kept"] for row in rows] == list(range(10))
    assert rows[3]["messages"] == [
        {"role": "user", "content": "Say 3."},
        {"role": "assistant", "content": "It is 3."},
    ]


def test_a_recipe_for_a_cpu_and_a_folder_is_trained_as_it_is(data: Path, tmp_path: Path) -> None:
    about = published.of(GEMMA)
    assert about is not None
    turns = [
        {"role": "user", "content": "Say 1."},
        {"role": "assistant", "content": "It is 1."},
    ]
    teaching.write(about, tmp_path / "model", [turns])
    file = tmp_path / "mine.trl.yaml"
    given = flags(model=tmp_path / "model", data=data, method="stm", host="trl", memory=0)
    assert init(file, *given, *flags(length=64)).exit_code == 0
    text = file.read_text(encoding="utf-8")
    file.write_text(text[: text.index("  eval:")] + text[text.index("  seed:") :])
    from ppx_ext.hosts import trl

    trained = trl.train(file, out=tmp_path / "out")
    assert trained.state.global_step == 3, "three epochs of ten rows, sixteen a step"
    assert (tmp_path / "out" / "adapter_model.safetensors").is_file()


def test_memory_by_hand() -> None:
    config = {
        "hidden_size": 4,
        "intermediate_size": 8,
        "num_hidden_layers": 3,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "vocab_size": 10,
        "tie_word_embeddings": True,
    }
    # Attention 4 x (4 + 4 + 2 + 2), feed-forward 3 x 4 x 8, three times, and one embedding 10 x 4.
    weights = 3 * (4 * 12 + 3 * 4 * 8) + 40
    assert published.parameters(config) == weights
    assert published.parameters({**config, "tie_word_embeddings": False}) == weights + 40
    kept, logits = 3 * 4 * 2, 10 * 10
    for kind, size in (("lora", 2.0), ("qlora", 0.6), ("full", 8.0)):
        want = (weights * size + 2 * 5 * (kept + logits)) / 1e9 + 2.0
        assert memory.need(config, kind, 2, 5) == pytest.approx(want)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("model", "billions"),
    [
        (GEMMA, 2.61),
        ("google/gemma-2-9b-it", 9.24),
        ("mistralai/Mistral-7B-Instruct-v0.2", 7.24),
        ("meta-llama/Meta-Llama-3-8B-Instruct", 8.03),
        ("meta-llama/Llama-3.2-3B-Instruct", 3.21),
        ("Qwen/Qwen2.5-Math-1.5B", 1.54),
        ("Qwen/Qwen3-4B-Instruct-2507", 4.02),
        ("allenai/OLMo-2-1124-7B-Instruct", 7.30),
    ],
)
def test_sizes_are_those_that_are_published(model: str, billions: float) -> None:
    about = published.of(model)
    assert about is not None
    assert about.parameters() / 1e9 == pytest.approx(billions, abs=0.006)


def test_the_card_decides_on_the_adapter_and_the_batch() -> None:
    about = published.of("meta-llama/Meta-Llama-3-8B-Instruct")
    assert about is not None
    big, small = (memory.choose(about.config, card=card, length=2048) for card in (80, 16))
    assert (big.adapter, big.rows, big.accumulation) == ("lora", 8, 2)
    assert small.adapter == "qlora"
    for way, card in ((big, 80), (small, 16)):
        assert way.needed is not None
        assert way.needed <= 0.9 * card
    with pytest.raises(ValueError, match=r"needs \d+ GB, even with qlora"):
        memory.choose(about.config, card=6, length=2048)
    with pytest.raises(ValueError, match="even with full"):
        memory.choose(about.config, card=24, length=2048, adapter="full")
    assert memory.choose(about.config, card=80, length=512, adapter="full").adapter == "full"
    unknown = memory.choose(None, card=24, length=2048)
    assert (unknown.adapter, unknown.rows, unknown.needed) == ("qlora", 1, None)


def test_what_cannot_be_seen_is_said(tmp_path: Path) -> None:
    file = tmp_path / "mine.trl.yaml"
    done = init(
        file, *flags(model="nobody/x", data="some/rows", method="stm", host="trl", memory=24)
    )
    assert done.exit_code == 0
    assert "Not checked: nobody/x is not known here" in done.output
    assert "some/rows is taken for a hub id" in done.output
    assert file.read_text(encoding="utf-8").count("# Not checked: ") == 2
    assert check.check([file]).ok


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"model": "./nowhere"}, "there is no such folder"),
        ({"data": "nowhere.jsonl"}, "there is no such file or folder"),
        ({"method": "s3ft"}, "give --judge"),
        ({"judge": "math"}, "leave --judge out"),
        ({"host": "axolotl"}, r"call the recipe NAME.axolotl.yaml"),
        ({"memory": 3}, "even with qlora"),
    ],
)
def test_a_wrong_answer_is_told(
    changes: dict[str, Any], words: str, data: Path, tmp_path: Path
) -> None:
    right = {"model": GEMMA, "data": data, "method": "stm", "host": "trl", "memory": 24}
    done = init(tmp_path / "mine.trl.yaml", *flags(**{**right, **changes}))
    assert done.exit_code != 0
    assert words in done.output
    assert not list(tmp_path.glob("*.yaml"))


def test_no_file_is_written_over(data: Path, tmp_path: Path) -> None:
    given = flags(model=GEMMA, data=data, method="stm", host="trl", memory=24)
    assert init(tmp_path / "a.trl.yaml", *given).exit_code == 0
    again = init(tmp_path / "a.trl.yaml", *given)
    assert again.exit_code == 1
    assert "is there already" in again.output


def test_a_folder_without_a_template_is_refused(tmp_path: Path) -> None:
    about = published.of(GEMMA)
    assert about is not None
    folder = stand_ins.write_described(about, tmp_path / "model")
    (folder / "chat_template.jinja").unlink()
    with pytest.raises(ValueError, match="no chat template"):
        facts.model_of(str(folder))


def test_without_a_terminal_the_missing_flags_are_named(data: Path) -> None:
    done = init(*flags(model=GEMMA, data=data))
    assert done.exit_code == 2
    assert "give --method, --host, --memory (there is no terminal to ask at)" in done.output


def test_at_a_terminal_it_asks(data: Path, tmp_path: Path) -> None:
    ours, theirs = pty.openpty()
    words = [str(PPX), "init", *map(str, flags(model=GEMMA, memory=24))]
    run = subprocess.Popen(words, stdin=theirs, stdout=subprocess.PIPE, cwd=tmp_path, text=True)
    os.write(ours, f"nothere.jsonl\n{data}\ncombined\ntrl\nexact\n".encode())
    said, _ = run.communicate(timeout=120)
    assert run.returncode == 0
    assert "nothere.jsonl: there is no such file" in said.partition("Method")[0]
    assert "Who judges responses" in said
    block = recipes.load(tmp_path / "combined.trl.yaml").block
    assert block["build"]["judge"] == "exact"
