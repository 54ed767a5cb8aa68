"""Measures: each by hand, on a real tokenizer and under a real (tiny) model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pydantic
import pytest
import torch
from datasets import Dataset

import ppx_difficulty
import ppx_stm
from ppx_difficulty.texts import StepsSettings
from ppx_ext import catalog, effects, pipeline, plan
from ppx_ext.contracts import Example, Scored, Tools
from ppx_ext.tokenized import tokenize_rows
from tests.core import fakes
from tests.models import tiny_model, tiny_tokenizer

CATALOG = catalog.load([("ppx-ext", ppx_difficulty), ("ppx-ext", ppx_stm)])
GSM = "He eats 32 of the pizzas, as 2 x 16 = <<2*16=32>>32\nAnd <<32+16=48>>48.\n\n#### 48"


def measured(
    rows: Dataset, folder: Path, by: Any, base: effects.Base | None = None, **block: Any
) -> list[float]:
    """The difficulty of each row, as the choose stage sees it."""
    from ppx_ext.examples import Examples
    from ppx_ext.measured import measure_rows

    choose = {"use": "budget", "by": by, "max_examples": 1}
    parsed = plan.parse({"choose": choose, "shard_rows": 2, **block}, CATALOG)
    assert parsed.measure is not None
    found = measure_rows(
        parsed.measure,
        Examples(dataset=rows, ends=frozenset({2})),
        plan=parsed,
        catalog=CATALOG,
        base=base or fakes.base(),
        tokenizer=fakes.tokenizer(),
        root=folder,
    )
    return list(found.score_N)


def chats(*responses: str) -> Dataset:
    rows = [
        {"messages": [{"role": "user", "content": "Go."}, {"role": "assistant", "content": text}]}
        for text in responses
    ]
    return tokenize_rows(rows, tiny_tokenizer()).dataset


def nlls(model: Any, ids: list[int]) -> Any:
    """-log p of every token but the first, by the definition."""
    with torch.no_grad():
        logits = model(torch.tensor([ids])).logits[0]
    return torch.nn.functional.cross_entropy(
        logits[:-1].double(), torch.tensor(ids[1:]), reduction="none"
    ).numpy()


def test_the_length_of_a_response_is_that_of_its_words(tmp_path: Path) -> None:
    words = ["no", "def add(a, b):\n    return a + b"]
    found = measured(chats(*words), tmp_path, "response_length")
    assert found == [len(tiny_tokenizer()(text)["input_ids"]) for text in words]


def test_the_loss_is_the_mean_over_targets_with_the_end_of_the_turn(tmp_path: Path) -> None:
    model = tiny_model("llama")
    rows = chats("It is 42.", "x is None", "The answer is 5")
    wanted = []
    for ids, labels in zip(rows["input_ids"], rows["labels"], strict=True):
        target = np.array(labels[1:]) >= 0
        assert ids[int(np.flatnonzero(target)[-1]) + 1] == 2
        wanted.append(nlls(model, ids)[target].mean())
    found = measured(rows, tmp_path, "nll", effects.base_from_model(model))
    np.testing.assert_allclose(found, wanted, rtol=1e-3)


@pytest.mark.parametrize("ratio", ["perplexity", "loss"])
def test_ifd_is_what_the_prompt_does_to_the_same_tokens(tmp_path: Path, ratio: str) -> None:
    model = tiny_model("qwen2")
    rows = chats("It is 42.", "for i in range(10):\n    print(i)")
    wanted = []
    for ids, labels in zip(rows["input_ids"], rows["labels"], strict=True):
        places = [at for at, label in enumerate(labels) if label >= 0 and label != 2]
        given = nlls(model, ids)[np.array(places[1:]) - 1].mean()
        alone = nlls(model, [ids[at] for at in places]).mean()
        wanted.append(np.exp(given - alone) if ratio == "perplexity" else given / alone)
    by = {"use": "ifd", "ratio": ratio}
    found = measured(rows, tmp_path, by, effects.base_from_model(model))
    np.testing.assert_allclose(found, wanted, rtol=2e-3)


def test_a_response_of_one_token_has_no_ifd(tmp_path: Path) -> None:
    rows = Dataset.from_dict(
        {"input_ids": [[5, 6, 7, 2], [5, 6, 2]], "labels": [[-100, 6, 7, 2], [-100, 6, 2]]}
    )
    found = measured(rows, tmp_path, "ifd", effects.base_from_model(tiny_model("llama")))
    assert np.isfinite(found[0])
    assert np.isnan(found[1])


@pytest.mark.parametrize(
    ("pattern", "steps"),
    [("gsm8k", [2, 0]), ("lines", [3, 2]), (r"\d+", [12, 2]), ("pizzas", [1, 0])],
)
def test_steps_are_counted_in_the_text_of_the_response(
    tmp_path: Path, pattern: str, steps: list[int]
) -> None:
    by = {"use": "steps", "pattern": pattern}
    assert measured(chats(GSM, "23 7\n \nno"), tmp_path, by) == steps


@pytest.mark.parametrize(
    ("pattern", "words"), [("(", "nor a regular expression"), ("a*", "matches the empty text")]
)
def test_a_pattern_is_checked(pattern: str, words: str) -> None:
    with pytest.raises(pydantic.ValidationError, match=words):
        StepsSettings(pattern=pattern)
    with pytest.raises(plan.PlanError, match=rf"ppx\.choose\.by\.pattern.*{words}"):
        block = {"use": "budget", "band": "easy", "by": {"use": "steps", "pattern": pattern}}
        plan.parse({"choose": block}, CATALOG)


def test_gsm8k_has_as_many_steps_as_calculator_marks(tmp_path: Path, data_dir: Path) -> None:
    import json

    with (data_dir / "gsm8k_train.jsonl").open() as file:
        answers = [json.loads(next(file))["answer"] for _ in range(20)]
    found = measured(chats(*answers), tmp_path, {"use": "steps", "pattern": "gsm8k"})
    assert found == [text.count("<<") for text in answers]
    assert max(found) > 2


def test_a_column_is_read_as_it_is(tmp_path: Path) -> None:
    rows = fakes.dataset(4, difficulty=[3, None, 1, 2], mine=[0.5, 1.5, 2.5, 3.5])
    np.testing.assert_array_equal(measured(rows, tmp_path, "column"), [3, np.nan, 1, 2])
    assert measured(rows, tmp_path, {"use": "column", "column": "mine"}) == [0.5, 1.5, 2.5, 3.5]
    with pytest.raises(ValueError, match=r"'nope', which the data do not have.*my_score"):
        measured(rows, tmp_path, {"use": "column", "column": "nope"})
    words = fakes.dataset(3, difficulty=["1", "2", "3"])
    with pytest.raises(ValueError, match=r"row 0: column 'difficulty' holds '1'"):
        measured(words, tmp_path, "column")


def test_the_pass_rate_is_turned_round_and_asks_for_its_builder(tmp_path: Path) -> None:
    rows = fakes.dataset(4, ppx_pass_rate=[1.0, 0.25, None, 0.0])
    np.testing.assert_array_equal(measured(rows, tmp_path, "pass_rate"), [0.0, 0.75, np.nan, 1.0])
    for absent in (fakes.dataset(3), fakes.dataset(3, ppx_pass_rate=[None] * 3)):
        with pytest.raises(ValueError, match=r"build: \{use: pass_rate, judge: \.\.\.\}"):
            measured(absent, tmp_path, "pass_rate")
    with pytest.raises(ValueError, match=r"row 1: ppx_pass_rate is 1.5"):
        measured(fakes.dataset(2, ppx_pass_rate=[1.0, 1.5]), tmp_path, "pass_rate")


def test_steps_without_a_tokenizer_are_refused() -> None:
    from ppx_difficulty.texts import steps

    one = Example(
        row=0,
        ids_T=np.array([1, 3], dtype=np.int32),
        target_T=np.array([False, True]),
        end_T=np.array([False, False]),
    )
    with pytest.raises(ValueError, match="no tokenizer is lent"):
        steps(StepsSettings(), [Scored(example=one, scores={})], Tools(token_scores=_none))


def _none(examples: Any, model: Any, names: Any) -> Any:
    return []


def test_stm_reads_what_nll_scored_and_the_model_is_loaded_once(tmp_path: Path) -> None:
    loads: list[int] = []
    model = tiny_model("llama")

    def load() -> Any:
        loads.append(1)
        return model

    base = effects.Base(name="tiny", load=load, fingerprint=lambda: "weights")
    block = {
        "choose": {"use": "budget", "by": "nll", "band": "hard"},
        "mask": {"use": "stm", "ppl_threshold": 300.0},
    }
    found = pipeline.Tokenized(
        dataset=fakes.dataset(12),
        tokenizer=fakes.tokenizer(),
        base=base,
        plan=plan.parse(block, CATALOG),
        catalog=CATALOG,
    )
    pipeline.choose_dataset(
        found.dataset,
        plan=found.plan,
        catalog=CATALOG,
        base=base,
        tokenizer=found.tokenizer,
        store=tmp_path / "scores",
    )
    assert loads == [1]
    fallen = effects.Base(name="tiny", load=_must_not_load, fingerprint=lambda: "weights")
    again = pipeline.Tokenized(**{**vars(found), "base": fallen})
    done = pipeline.choose_and_mask(again, tmp_path / "scores")[1]
    assert len(done.dataset) == 4
    assert done.records[1].numbers["rows"] == 4


def _must_not_load() -> Any:
    raise AssertionError("all scores are there already")
