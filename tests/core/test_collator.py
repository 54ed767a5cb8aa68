"""The live collator gives what baked labels give, under each host's own collator."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import numpy as np
import pytest
import torch
from trl.trainer.sft_trainer import DataCollatorForLanguageModeling

from ppx_ext import masking, store, tokens
from ppx_ext.collator import MaskingCollator
from ppx_ext.contracts import IGNORE, Scored
from tests.core.masked_rows import ENDS, SEED, Rows, make_rows, mask_stage
from tests.models import tiny_model, tiny_tokenizer

STAGES = {
    "stm": {},
    "random": {},
    "lowest": {"min_kept_tokens": 3},
    "stm with a fraction": {"mask_fraction": 0.25},
}


@pytest.fixture(scope="module")
def model() -> Any:
    return tiny_model("llama")


def rows_for(model: Any, name: str) -> tuple[Any, Rows]:
    stage = mask_stage(name.split()[0], **STAGES[name])
    rows = make_rows(model, stage)
    assert 0 < rows.masked_targets < sum(len(keep_R) for keep_R in rows.keep)
    return stage, rows


def wrap(inner: Any, stage: Any, rows: Rows, **options: Any) -> MaskingCollator:
    return MaskingCollator(inner, stage=stage, state=rows.state, seed=SEED, ends=ENDS, **options)


def assert_equal_batches(found: Any, expected: Any) -> None:
    assert set(found) == set(expected)
    for name in expected:
        assert torch.equal(torch.as_tensor(found[name]), torch.as_tensor(expected[name])), name
        assert torch.as_tensor(found[name]).dtype == torch.as_tensor(expected[name]).dtype


@pytest.mark.parametrize("name", STAGES)
@pytest.mark.parametrize("padding_free", [False, True])
def test_trls_collator_gets_the_baked_labels(model: Any, name: str, padding_free: bool) -> None:
    stage, rows = rows_for(model, name)
    inner = DataCollatorForLanguageModeling(pad_token_id=0, padding_free=padding_free)
    expected = inner(copy.deepcopy(rows.baked))
    assert not torch.equal(expected["labels"], inner(copy.deepcopy(rows.plain))["labels"])
    assert_equal_batches(wrap(inner, stage, rows)(copy.deepcopy(rows.scored)), expected)


@pytest.mark.axolotl
@pytest.mark.parametrize("packed", [False, True])
def test_axolotls_collators_get_the_baked_labels(model: Any, packed: bool) -> None:
    from axolotl.utils.collators import DataCollatorForSeq2Seq, V2BatchSamplerDataCollatorForSeq2Seq

    stage, rows = rows_for(model, "stm")
    kind = V2BatchSamplerDataCollatorForSeq2Seq if packed else DataCollatorForSeq2Seq
    inner = kind(tokenizer=tiny_tokenizer(), return_tensors="pt")

    def given(features: list[dict[str, Any]]) -> Any:
        own = [
            {
                **row,
                "attention_mask": [1] * len(row["input_ids"]),
                "position_ids": list(range(len(row["input_ids"]))),
            }
            for row in copy.deepcopy(features)
        ]
        return [own[:3], own[3:]] if packed else own

    expected = inner(given(rows.baked))
    assert_equal_batches(wrap(inner, stage, rows)(given(rows.scored)), expected)


def test_rows_are_left_as_they_were(model: Any) -> None:
    stage, rows = rows_for(model, "stm")
    before = copy.deepcopy(rows.scored)
    wrap(DataCollatorForLanguageModeling(pad_token_id=0), stage, rows)(rows.scored)
    assert rows.scored == before


def test_the_order_and_company_of_rows_play_no_part(model: Any) -> None:
    stage, rows = rows_for(model, "random")
    collate = wrap(lambda features: features, stage, rows)
    alone = {row["ppx_row"]: collate([row])[0]["labels"].tolist() for row in rows.scored[::-1]}
    assert [alone[number] for number in range(8)] == [row["labels"] for row in rows.baked]


def test_a_row_cut_at_its_end_keeps_its_first_scores(model: Any) -> None:
    stage, rows = rows_for(model, "stm")
    row = max(rows.scored, key=lambda row: len(row["input_ids"]))
    cut = len(row["input_ids"]) - 4
    short = {**row, "input_ids": row["input_ids"][:cut], "labels": row["labels"][:cut]}
    whole = wrap(list, stage, rows)([row])[0]["labels"][:cut]
    assert wrap(list, stage, rows)([short])[0]["labels"].tolist() == whole.tolist()


def test_a_users_float64_scores_are_read_as_they_are(model: Any) -> None:
    stage = mask_stage(scores_from="ppl", ppl_threshold=2.5)
    _, rows = rows_for(model, "stm")
    labels = [IGNORE, IGNORE, 7, 8, 9]
    values = np.array([2.5, np.nextafter(2.5, 3), 1.0])
    feature = {
        "input_ids": [4, 5, 7, 8, 9],
        "labels": labels,
        "ppx_perplexity": store.encode(values, exact=True),
        "ppx_row": 0,
    }
    found = wrap(list, stage, rows, exact={"perplexity"})([feature])[0]
    assert found["labels"].tolist() == [IGNORE, IGNORE, 7, IGNORE, 9]
    assert set(found) == {"input_ids", "labels"}


def test_what_does_not_fit_is_named(model: Any) -> None:
    stage, rows = rows_for(model, "stm")
    collate = wrap(list, stage, rows)
    row = rows.scored[3]
    with pytest.raises(ValueError, match="row 3 reached the collator without its scores"):
        collate([{k: v for k, v in row.items() if k != "ppx_nll"}])
    with pytest.raises(ValueError, match=r"row 3 has \d+ targets but \d+ scores"):
        collate([{**row, "ppx_nll": row["ppx_nll"][:-2]}])
    with pytest.raises(ValueError, match="without its number"):
        collate([{k: v for k, v in row.items() if k != "ppx_row"}])


def test_the_hosts_fields_are_reached_through_it(model: Any) -> None:
    stage, rows = rows_for(model, "stm")
    inner = DataCollatorForLanguageModeling(pad_token_id=7)
    collate = wrap(inner, stage, rows)
    assert collate.pad_token_id == 7
    assert not hasattr(collate, "no_such_field")


def test_it_can_be_sent_to_worker_processes(model: Any) -> None:
    stage, rows = rows_for(model, "stm")
    inner = DataCollatorForLanguageModeling(pad_token_id=0)
    sent = pickle.loads(pickle.dumps(wrap(inner, stage, rows)))
    assert torch.equal(sent(rows.scored)["labels"], inner(rows.baked)["labels"])


def test_the_row_seeds_the_generator_and_nothing_else_does() -> None:
    stage = mask_stage("random")
    example = tokens.from_labels(0, range(40), [-100] * 5 + list(range(5, 40)), ENDS, {})
    nll_R = np.tile([0.0, 9.0], 20)[:35].astype(np.float32)
    scored = Scored(example=example, scores={"nll": nll_R})
    first = masking.keep_targets(stage, {}, scored, seed=1)
    masking.keep_targets(stage, {}, scored, seed=2)
    assert masking.keep_targets(stage, {}, scored, seed=1).tolist() == first.tolist()
    drawn = stage.component.keep(stage.settings, {}, scored, masking.rng(1, "mask", 0))
    assert drawn.tolist() == first.tolist()
    assert masking.keep_targets(stage, {}, scored, seed=2).tolist() != first.tolist()
