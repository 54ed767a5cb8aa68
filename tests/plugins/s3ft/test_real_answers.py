"""The whole builder on real labelled answers: real judges, and an engine that says what real
models said. Every composition is computed from the labels alone.
"""

from __future__ import annotations

import contextlib
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pydantic
import pytest

import ppx_judges
import ppx_s3ft
from ppx_ext import building, catalog, plan
from ppx_ext.answering import Ask, Generator, LentModel, Request, Response
from ppx_ext.building.golds import row_seed
from tests.core import fakes
from tests.sandbox import needs_bubblewrap

SEED = 42


class Settings(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="forbid", frozen=True)


def recorded(said: Mapping[int, str]) -> Generator:
    """An engine that knows what was said to the request of each seed."""

    @contextlib.contextmanager
    def opened(settings: Any, model: LentModel) -> Iterator[Ask]:
        def ask(requests: Sequence[Request]) -> Iterable[tuple[int, Response]]:
            return ((at, Response(text=said[one.seed])) for at, one in enumerate(requests))

        yield ask

    return Generator(name="recorded", paper="", settings=Settings, open=opened, remote=True)


def build(
    root: Path,
    rows: Sequence[Mapping[str, Any]],
    said: Sequence[Sequence[str]],
    judge: str,
    **settings: Any,
) -> building.BuiltRows:
    """Build ``rows``; attempt ``n`` at row ``r`` is answered by ``said[r][n]``."""
    answers = {
        row_seed(SEED, row) + attempt: text
        for row, texts in enumerate(said)
        for attempt, text in enumerate(texts)
    }
    own = fakes.module(ppx_register_generators=[recorded(answers)])
    found = catalog.load([("ppx-ext", ppx_s3ft), ("ppx-ext", ppx_judges), ("recorded", own)])
    block = {"use": "s3ft", "judge": judge, "generator": "recorded", **settings}
    return building.build(
        rows,
        plan=plan.parse({"build": block, "seed": SEED, "shard_rows": 40}, found),
        catalog=found,
        base=fakes.base(),
        tokenizer=fakes.tokenizer(),
        root=root,
    )


def jsonl(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def by_labels(labels: Sequence[Sequence[bool]]) -> list[str]:
    return ["own" if own else "paraphrase" if second else "gold" for own, second in labels]


def check(
    made: building.BuiltRows, sources: Sequence[str], said: Sequence[Sequence[str]], gold: str
) -> None:
    lines = pq.read_table(made.path).to_pylist()
    assert [line["ppx_source"] for line in lines] == list(sources)
    attempt = {"own": 0, "paraphrase": 1}
    for line, source, texts in zip(lines, sources, said, strict=True):
        wanted = line[gold] if source == "gold" else texts[attempt[source]]
        assert line["messages"][-1]["content"] == wanted
    assert made.record.numbers["composition"] == {
        source: Counter(sources)[source] for source in ("own", "paraphrase", "gold")
    }


@pytest.mark.slow
@pytest.mark.parametrize(("first", "second"), [(0, 3), (1, 2), (3, 0)])
def test_gsm8k(tmp_path: Path, data_dir: Path, first: int, second: int) -> None:
    """100 questions; one real model's solutions as own answers, another's as paraphrases."""
    labelled = jsonl(data_dir / "gsm8k_model_solutions_first100.jsonl")
    rows = jsonl(data_dir / "gsm8k_test.jsonl")[:100]
    assert [row["question"] for row in rows] == [one["question"] for one in labelled]
    solutions = [[one["solutions"][at] for at in (first, second)] for one in labelled]
    said = [[each["text"] for each in two] for two in solutions]
    sources = by_labels([[each["is_correct"] for each in two] for two in solutions])
    assert min(Counter(sources).values()) >= 3  # every branch is met
    check(build(tmp_path, rows, said, "math"), sources, said, "answer")


@pytest.mark.slow
@needs_bubblewrap
def test_mbpp(tmp_path: Path, data_dir: Path) -> None:
    """8 tasks, each 16 times, with two of a real model's 32 programs each time."""
    tasks = jsonl(data_dir / "mbpp_llama3_samples_first8.jsonl")
    rows, said, labels = [], [], []
    for task in tasks:
        for at in range(0, 32, 2):
            two = task["samples"][at : at + 2]
            rows.append({"prompt": task["prompt"], "response": task["gold"], **task_of(task)})
            said.append([each["text"] for each in two])
            labels.append([each["passed"] for each in two])
    sources = by_labels(labels)
    assert min(Counter(sources).values()) >= 3
    check(build(tmp_path, rows, said, "code", prompts="mbpp"), sources, said, "response")


def task_of(task: Mapping[str, Any]) -> dict[str, Any]:
    return {"task_id": task["task_id"], "test_list": task["test_list"]}


@pytest.mark.slow
@needs_bubblewrap
@pytest.mark.parametrize("pick", ["first", "shortest"])
def test_mbpp_self_output(tmp_path: Path, data_dir: Path, pick: str) -> None:
    """All 32 programs of each task are judged; one that passed is trained on."""
    tasks = jsonl(data_dir / "mbpp_llama3_samples_first8.jsonl")
    rows = [{"prompt": t["prompt"], "response": t["gold"], **task_of(t)} for t in tasks]
    said = [[each["text"] for each in task["samples"]] for task in tasks]
    made = build(tmp_path, rows, said, "code", use="self_output", samples=32, pick=pick)
    passed = [[one["text"] for one in task["samples"] if one["passed"]] for task in tasks]
    chosen = [min(texts, key=len) if pick == "shortest" else texts[0] for texts in passed if texts]
    lines = pq.read_table(made.path).to_pylist()
    assert [line["messages"][-1]["content"] for line in lines] == chosen
    numbers = made.record.numbers
    assert numbers["dropped"]["rows"] == sum(not texts for texts in passed) == 1
    distinct = [
        {text: one["passed"] for text, one in zip(s, t["samples"], strict=True)}
        for s, t in zip(said, tasks, strict=True)
    ]
    (verdicts,) = numbers["verdicts"].values()
    assert verdicts == {
        "correct": sum(sum(one.values()) for one in distinct),
        "wrong": sum(len(one) - sum(one.values()) for one in distinct),
    }
