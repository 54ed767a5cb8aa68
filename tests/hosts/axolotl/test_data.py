"""What `load_datasets` hands to Axolotl: never stale, split before it is masked, of every type."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from tests.hosts.axolotl.conftest import Oracle, chats, tokens_of, write_rows

pytestmark = pytest.mark.axolotl

Config = Callable[..., Path]
Prepare = Callable[[Path], SimpleNamespace]
Oracles = Callable[[str], Oracle]


def stm(threshold: float, **settings: Any) -> dict[str, Any]:
    return {"mask": {"use": "stm", "ppl_threshold": threshold, **settings}}


def forbid_scoring(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: Any, **kwargs: Any) -> Any:
        raise AssertionError("scored again")

    monkeypatch.setattr("ppx_ext.scoring.token_scores", refuse)


@pytest.mark.parametrize("mask_eval", [False, True])
@pytest.mark.parametrize("apply", ["baked", "online"])
def test_validation_split_is_cut_first_and_masked_only_if_asked(
    config: Config, prepare: Prepare, oracles: Oracles, apply: str, mask_eval: bool
) -> None:
    oracle = oracles("llama")
    line = oracle.threshold()
    plain = prepare(config(val_set_size=6))
    block = stm(line, apply=apply, mask_eval=mask_eval)
    found = prepare(config(ppx=block, val_set_size=6))
    assert [ids for ids, _ in found.train] == [ids for ids, _ in plain.train]
    assert [ids for ids, _ in found.evaluation] == [ids for ids, _ in plain.evaluation]
    assert len(found.evaluation) == 6
    for ids, labels in found.evaluation:
        assert labels == (oracle.labels(ids, line) if mask_eval else oracle.plain[ids])
    for ids, labels in found.train:
        assert labels == (oracle.labels(ids, line) if apply == "baked" else oracle.plain[ids])


def test_test_datasets_stay_whole(
    config: Config, prepare: Prepare, world: SimpleNamespace, oracles: Oracles, tmp_path: Path
) -> None:
    rows = chats(5, seed=9)
    path = write_rows(tmp_path / "test.jsonl", rows)
    entry = {"path": str(path), "type": "chat_template", "split": "train"}
    found = prepare(config(ppx=stm(oracles("llama").threshold()), test_datasets=[entry]))
    expected = {tuple(ids): labels for ids, labels in (tokens_of(r, world.tokenizer) for r in rows)}
    assert len(found.evaluation) == 5
    assert all(expected[ids] == labels for ids, labels in found.evaluation)


def test_another_threshold_masks_anew_and_scores_nothing(
    config: Config, prepare: Prepare, oracles: Oracles, monkeypatch: pytest.MonkeyPatch
) -> None:
    oracle = oracles("llama")
    prepare(config(ppx=stm(oracle.threshold())))
    forbid_scoring(monkeypatch)
    low, high = 50.0, 5000.0
    for line in (low, high, low):
        found = prepare(config(ppx=stm(line)))
        assert all(labels == oracle.labels(ids, line) for ids, labels in found.train)


def test_changed_file_is_never_served_from_before(
    config: Config, prepare: Prepare, world: SimpleNamespace, tmp_path: Path
) -> None:
    path = tmp_path / "rows.jsonl"
    data = [{"path": str(path), "type": "chat_template"}]
    first = chats(4, seed=3)
    write_rows(path, first)
    size = path.stat().st_size
    prepare(config(ppx=stm(5000.0), datasets=data))
    second = json.loads(json.dumps(first).replace("0: ", "9: "))
    write_rows(path, second)
    assert path.stat().st_size == size
    found = prepare(config(ppx=stm(5000.0), datasets=data))
    wanted = {tuple(tokens_of(row, world.tokenizer)[0]) for row in second}
    assert {ids for ids, _ in found.train} == wanted


def test_half_written_data_of_a_killed_run_is_made_again(
    config: Config, prepare: Prepare, tmp_path: Path
) -> None:
    path = config(ppx=stm(5000.0), dataset_prepared_path=str(tmp_path / "prepared"))
    whole = prepare(path)
    (state,) = (tmp_path / "prepared").glob("ppx-*/*/state.json")
    state.unlink()
    assert prepare(path).train == whole.train


def test_rows_without_targets_leave_and_steps_follow(config: Config, prepare: Prepare) -> None:
    settings = {"min_kept_tokens": 0, "mask_end_of_turn": True}
    plain = prepare(config(max_steps=None))
    found = prepare(config(ppx=stm(60.0, **settings), max_steps=None))
    assert 0 < len(found.train) < len(plain.train)
    assert all(any(label != -100 for label in labels) for _, labels in found.train)
    assert found.steps == -(-len(found.train) // 4)
    assert found.cfg.total_supervised_tokens == sum(
        label != -100 for _, labels in found.train for label in labels
    )


ALPACA = {"instruction": "Write a function", "input": "", "output": "def add(a, b): return a + b"}
TEXT = {"text": "Natalia sold 48 clips in April and half as many in May."}
SEGMENTS = {
    "segments": [
        {"label": False, "text": "How many in total? "},
        {"label": True, "text": "The answer is 42.<|im_end|>"},
    ]
}
OWN = {"q": "How many?", "a": "The answer is 42."}
TOKENS = {
    "input_ids": [1, 20, 30, 40, 50, 60, 2],
    "labels": [-100, -100, -100, 40, 50, 60, 2],
    "attention_mask": [1] * 7,
}


@pytest.mark.parametrize(
    ("row", "kind"),
    [
        (ALPACA, "alpaca"),
        (TEXT, "completion"),
        (SEGMENTS, "input_output"),
        (TOKENS, None),
        (OWN, {"field_instruction": "q", "field_output": "a"}),
    ],
    ids=["alpaca", "completion", "input_output", "tokenised", "own"],
)
def test_every_type_of_data_set_is_masked(
    config: Config,
    prepare: Prepare,
    world: SimpleNamespace,
    tmp_path: Path,
    row: dict[str, Any],
    kind: Any,
) -> None:
    data = [{"path": str(write_rows(tmp_path / "rows.jsonl", [row])), "type": kind}]
    (plain,) = prepare(config(datasets=data)).train
    line = 400.0
    (found,) = prepare(config(ppx=stm(line), datasets=data)).train
    ids, labels = plain
    assert found[0] == ids
    assert found[1] == masked_by_hand(world, ids, labels, line)
    assert found[1] != labels


def masked_by_hand(world: Any, ids: Any, labels: list[int], line: float) -> list[int]:
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(world.root / "llama", dtype=torch.float32)
    with torch.no_grad():
        odds = model(torch.tensor([ids])).logits[0, :-1].double().softmax(-1)
    hard = [False, *(1 / odds[range(len(ids) - 1), list(ids[1:])] > line).tolist()]
    end = world.tokenizer.convert_tokens_to_ids("<|im_end|>")
    kept = [
        -100 if is_hard and token != end else label
        for label, is_hard, token in zip(labels, hard, ids, strict=True)
    ]
    return kept if any(label != -100 for label in kept[1:]) else labels


def test_scores_of_the_user_ride_in_tokenised_rows(
    config: Config, prepare: Prepare, tmp_path: Path
) -> None:
    row = {**TOKENS, "perplexity": [1.0, 1.0, 1.0, 9.0, 2.5, 2.6, 99.0]}
    data = [{"path": str(write_rows(tmp_path / "rows.jsonl", [row])), "type": None}]
    found = prepare(config(ppx=stm(2.5, scores_from="perplexity"), datasets=data))
    assert found.train[0][1] == [-100, -100, -100, -100, 50, -100, 2]
    assert "perplexity" not in found.columns
