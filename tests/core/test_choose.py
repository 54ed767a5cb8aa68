"""The choose stage: which rows, in which order, what is told of it; none stale, none twice."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from datasets import Dataset

from ppx_ext import pipeline
from ppx_ext.choose_stage import check_choice
from ppx_ext.contracts import Choice
from tests.core import chosen_rows, fakes
from tests.core.chosen_rows import choose


def lengths(rows: Dataset) -> list[int]:
    return [sum(label >= 0 for label in labels[1:]) for labels in rows["labels"]]


def test_chosen_rows_are_there_in_their_order_with_the_users_row_numbers(tmp_path: Path) -> None:
    rows = fakes.dataset(10, text=list("abcdefghij"))
    wanted = np.argsort(lengths(rows), kind="stable")[:4].tolist()
    chosen = choose(rows, tmp_path)
    assert chosen.index_K.tolist() == wanted
    assert chosen.dataset["ppx_row"][:] == wanted
    assert chosen.dataset["text"][:] == [rows["text"][at] for at in wanted]
    assert (chosen.ordered, chosen.epochs, chosen.notes) == (True, 1, ("as told",))


def test_row_numbers_that_are_there_stay(tmp_path: Path) -> None:
    rows = fakes.dataset(4, ppx_row=[9, 7, 5, 3], mine=[0.0, 2.0, 1.0, 3.0])
    chosen = choose(rows, tmp_path, by={"use": "length", "column": "mine"}, count=3)
    assert chosen.dataset["ppx_row"][:] == [9, 5, 7]


def test_the_record_tells_by_hand_what_was_chosen(tmp_path: Path) -> None:
    # Targets: 1, 2, 3, 4 (token 0 is none).
    ids = [[5] * (2 + at) for at in range(4)]
    labels = [[-100, *row[1:]] for row in ids]
    rows = Dataset.from_dict({"input_ids": ids, "labels": labels, "kind": list("aabb")})
    told = choose(rows, tmp_path, count=3, strata="kind").record
    numbers = told.numbers
    assert (told.stage, told.component) == ("choose", "take")
    assert told.settings["by"] == {"use": "length", "column": None, "scale": 1.0}
    assert (numbers["rows"], numbers["rows_chosen"]) == (4, 3)
    assert (numbers["targets"], numbers["targets_chosen"]) == (10, 6)
    assert numbers["unit"] == "target tokens"
    assert list(numbers["score"]["all"]) == ["0", "5", "25", "50", "75", "95", "100"]
    assert [numbers["score"]["all"][q] for q in ("0", "50", "100")] == [1.0, 2.5, 4.0]
    assert [numbers["score"]["chosen"][q] for q in ("0", "50", "100")] == [1.0, 2.0, 3.0]
    assert numbers["window"] == {"quantiles": [0.0, 0.5], "scores": [1.0, 2.5]}
    assert numbers["left_out"] == {"over the budget": 1}
    assert numbers["histogram"] == {
        "edges": [0.5, 1.5, 2.5, 3.5, 4.5],
        "all": [1, 1, 1, 1],
        "chosen": [1, 1, 1, 0],
    }
    assert numbers["strata"] == [
        {"stratum": "a", "rows": 2, "rows_chosen": 2, "targets": 3, "targets_chosen": 3},
        {"stratum": "b", "rows": 2, "rows_chosen": 1, "targets": 7, "targets_chosen": 3},
    ]
    assert (numbers["ordered"], numbers["epochs"], numbers["prior"]) == (True, 1, False)
    json.dumps(numbers, allow_nan=False)


def test_the_histogram_counts_every_row_once_however_many_epochs(tmp_path: Path) -> None:
    rows = fakes.dataset(60, mine=np.random.default_rng(0).normal(size=60).tolist())
    found = choose(rows, tmp_path, by={"use": "length", "column": "mine"}, count=20, epochs=2)
    histogram = found.record.numbers["histogram"]
    assert len(histogram["edges"]) == 41
    assert (sum(histogram["all"]), sum(histogram["chosen"])) == (60, 20)
    assert found.record.numbers["rows_chosen"] == 40
    assert found.record.numbers["distinct_rows_chosen"] == 20


def test_rows_that_cannot_be_measured_are_left_out_and_counted(tmp_path: Path) -> None:
    rows = fakes.dataset(10, mine=[4.0, float("nan"), *range(10, 18)])
    by = {"use": "length", "column": "mine"}
    with pytest.raises(ValueError, match=r"(?s)1 of 10 rows.*not measured: 1 rows, first row 1"):
        choose(rows, tmp_path, by=by)
    chosen = choose(rows, tmp_path, by=by, max_skipped_share=0.1, count=3)
    assert chosen.index_K.tolist() == [0, 2, 3]
    assert chosen.record.numbers["left_out"] == {"not measured": 1, "over the budget": 6}
    assert "row 1" in chosen.record.numbers["not_measured"]["not measured"]["first"][0]
    with pytest.raises(ValueError, match=r"10 of 10 rows"):
        choose(fakes.dataset(10, mine=[float("nan")] * 10), tmp_path, by=by, max_skipped_share=1)


def test_an_infinite_measure_names_its_row(tmp_path: Path) -> None:
    rows = fakes.dataset(5, mine=[1.0, 2, 3, float("inf"), 5], ppx_row=[10, 11, 12, 13, 14])
    with pytest.raises(ValueError, match=r"row 13: the difficulty is inf"):
        choose(rows, tmp_path, by={"use": "length", "column": "mine"})


def test_columns_that_are_not_there_and_unknown_strata_are_named(tmp_path: Path) -> None:
    rows = fakes.dataset(3, kind=["a", None, "b"])
    with pytest.raises(
        ValueError, match=r"'length' reads the column 'mine', which the data do not"
    ):
        choose(rows, tmp_path, by={"use": "length", "column": "mine"})
    with pytest.raises(ValueError, match=r"no column 'sort'"):
        choose(rows, tmp_path, strata="sort")
    with pytest.raises(ValueError, match=r"row 1: column 'kind'.*holds None"):
        choose(rows, tmp_path, strata="kind")
    with pytest.raises(ValueError, match="holds no row"):
        choose(rows.select([]), tmp_path)


def test_rows_without_a_target_are_no_candidates(tmp_path: Path) -> None:
    rows = Dataset.from_dict(
        {"input_ids": [[5, 6], [5, 6], [5, 7]], "labels": [[-100, 6], [-100, -100], [-100, 7]]}
    )
    chosen = choose(rows, tmp_path, max_skipped_share=0.5)
    assert chosen.index_K.tolist() == [0, 2]
    assert chosen.record.numbers["left_out"] == {"no target": 1}


def test_duplicates_point_to_the_first_row_with_the_same_ids(tmp_path: Path) -> None:
    from ppx_ext.choose_stage import _first

    digests = [bytes([n]) * 16 for n in (3, 0, 3, 1, 0, 3)]
    assert _first(digests).tolist() == [0, 1, 0, 3, 1, 0]


def test_the_seed_decides_what_is_drawn(tmp_path: Path) -> None:
    rows = fakes.dataset(30)
    draws = [choose(rows, tmp_path, use="draw", count=9, seed=s).index_K for s in (1, 1, 2)]
    np.testing.assert_array_equal(draws[0], draws[1])
    assert draws[0].tolist() != draws[2].tolist()


@pytest.mark.parametrize(
    ("choice", "words"),
    [
        (Choice(index_K=np.array([], dtype=np.int64)), "chose no row"),
        (Choice(index_K=np.array([0.5])), "chose no row"),
        (Choice(index_K=np.array([0, 5])), "outside 0 to 4"),
        (Choice(index_K=np.array([-1])), "outside 0 to 4"),
        (Choice(index_K=np.array([1, 1])), r"a row 2 times in 1 epoch"),
        (Choice(index_K=np.array([1]), left_out={"x": 3}), "left out 4 rows, but tells of 3"),
    ],
)
def test_a_sampler_that_breaks_its_contract_is_named(choice: Choice, words: str) -> None:
    with pytest.raises(ValueError, match=rf"sampler 'mine'.*{words}"):
        check_choice(choice, 5, "mine")


def test_measures_may_decode_and_must_declare_the_model_that_they_ask(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = fakes.dataset(6)
    chosen = choose(rows, tmp_path, by="words", count=6)
    decode = fakes.tokenizer().decode
    texts = [
        len(decode([i for i in labels[1:] if i >= 0], skip_special_tokens=True))
        for labels in rows["labels"]
    ]
    assert chosen.record.numbers["score"]["all"]["100"] == max(texts)
    counted = chosen_rows.Counted(monkeypatch)
    asked = choose(rows, tmp_path, by="asked", base=counted.base())
    loss = choose(rows, tmp_path, by="loss", base=counted.base())
    for quantile, value in asked.record.numbers["score"]["all"].items():
        assert loss.record.numbers["score"]["all"][quantile] == pytest.approx(value, rel=1e-3)
    with pytest.raises(
        ValueError, match=r"'undeclared' asks for scores.*must return what it reads"
    ):
        choose(rows, tmp_path, by="undeclared", base=counted.base())


def test_what_was_measured_is_not_measured_again_and_a_changed_column_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    counted = chosen_rows.Counted(monkeypatch)
    rows = fakes.dataset(9)
    first = choose(rows, tmp_path, by="loss", base=counted.base())
    passes = counted.rows
    assert passes > 0
    again = choose(rows, tmp_path, by="loss", base=counted.base(), count=5)
    assert counted.rows == passes
    assert again.index_K.tolist()[:4] == first.index_K.tolist()
    assert again.record.fingerprint != first.record.fingerprint
    by = {"use": "length", "column": "mine"}
    up = choose(fakes.dataset(9, mine=list(range(9))), tmp_path, by=by)
    down = choose(fakes.dataset(9, mine=list(range(9))[::-1]), tmp_path, by=by)
    assert (up.index_K.tolist(), down.index_K.tolist()) == ([0, 1, 2, 3], [8, 7, 6, 5])


NLL = {"use": "below", "scorer": "model", "line": 5.8}


@pytest.mark.parametrize("epochs", [1, 2])
def test_the_mask_reads_what_was_scored_for_choosing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, epochs: int
) -> None:
    counted = chosen_rows.Counted(monkeypatch)
    given: dict[str, Any] = {"by": "loss", "mask": NLL, "epochs": epochs}
    found = chosen_rows.tokenized(fakes.dataset(9), counted.base(), **given)
    chosen, masked = pipeline.choose_and_mask(found, tmp_path / "shared")
    passes, counted.rows = counted.rows, 0
    assert chosen is not None
    alone = pipeline.mask_dataset(
        chosen.dataset,
        plan=found.plan,
        catalog=found.catalog,
        base=found.base,
        tokenizer=found.tokenizer,
        store=tmp_path / "alone",
    )
    assert passes == 9  # the mask adds none
    assert counted.rows == len(chosen.dataset)
    assert masked.dataset["labels"][:] == alone.dataset["labels"][:]
    assert any(-100 in labels[len(labels) // 2 :] for labels in masked.dataset["labels"])
    assert [record.stage for record in masked.records] == ["choose", "mask"]


def test_rows_of_several_epochs_are_scored_once_where_only_the_mask_reads_a_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    counted = chosen_rows.Counted(monkeypatch)
    found = chosen_rows.tokenized(fakes.dataset(9), counted.base(), mask=NLL, epochs=3, count=3)
    _, masked = pipeline.choose_and_mask(found, tmp_path)
    assert counted.rows == 3
    assert masked.records[-1].numbers["rows"] == 9


def test_golds_among_chosen_rows_are_masked_by_what_was_scored_for_choosing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    counted = chosen_rows.Counted(monkeypatch)
    rows = fakes.dataset(9, ppx_source=[["gold", "own"][at % 2] for at in range(9)])
    found = chosen_rows.tokenized(rows, counted.base(), by="loss", mask=NLL, count=6, epochs=2)
    asked = dataclasses.replace(found.plan, masked_rows="gold")
    chosen, masked = pipeline.choose_and_mask(
        dataclasses.replace(found, plan=asked), tmp_path / "shared"
    )
    assert chosen is not None
    assert counted.rows == 9
    alone = pipeline.mask_dataset(
        chosen.dataset,
        plan=asked,
        catalog=found.catalog,
        base=found.base,
        tokenizer=found.tokenizer,
        store=tmp_path / "alone",
    )
    golds = chosen.dataset["ppx_source"][:].count("gold")
    assert 0 < golds < 12
    assert masked.records[1].numbers["rows"] == golds
    assert masked.dataset["labels"][:] == alone.dataset["labels"][:]


def test_a_call_that_was_cut_short_goes_on_at_its_last_shard(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured: list[int] = []
    whole = chosen_rows.length

    def broken(settings: Any, rows: Any, tools: Any) -> Any:
        if len(measured) == 6:
            raise OSError("no space")
        measured.extend(row.example.row for row in rows)
        return whole(settings, rows, tools)

    measures = [dataclasses.replace(one, score=broken) for one in chosen_rows.MEASURES[:1]]
    monkeypatch.setattr(chosen_rows, "MEASURES", measures)
    with pytest.raises(OSError, match="no space"):
        choose(fakes.dataset(9), tmp_path)
    assert measured == list(range(6))
    measured.append(-1)
    found = choose(fakes.dataset(9), tmp_path)
    assert measured[7:] == [6, 7, 8]
    monkeypatch.undo()
    anew = choose(fakes.dataset(9), tmp_path / "anew")
    np.testing.assert_array_equal(found.index_K, anew.index_K)
    assert found.record == anew.record


def test_prepare_writes_chosen_rows_in_order_and_can_show_them(tmp_path: Path) -> None:
    rows = fakes.dataset(10)
    mask = {"use": "below", "line": 4.0}
    done = pipeline.prepare(chosen_rows.tokenized(rows, mask=mask, epochs=2), tmp_path)
    wanted = np.argsort(lengths(rows), kind="stable")[:4].tolist()
    shown = list(done.rows())
    assert [row.scored.example.row for row in shown] == wanted + wanted[::-1]
    for row in shown:
        ids_R = row.scored.example.ids_T[row.scored.example.target_T]
        np.testing.assert_array_equal(row.scored.scores["nll"], ids_R % 8)
    assert [record["stage"] for record in done.manifest["records"]] == ["choose", "mask"]


def test_a_changed_choice_is_never_served_stale_and_the_same_is_not_written_anew(
    tmp_path: Path,
) -> None:
    rows = fakes.dataset(10)
    mask = {"use": "below", "line": 7.0}
    first = pipeline.prepare(chosen_rows.tokenized(rows, mask=mask), tmp_path)
    assert len(first.dataset) == 4
    before = fakes.files(tmp_path)
    stamp = (tmp_path / "manifest.json").stat().st_mtime_ns
    pipeline.prepare(chosen_rows.tokenized(rows, mask=mask), tmp_path)
    assert fakes.files(tmp_path) == before
    assert (tmp_path / "manifest.json").stat().st_mtime_ns == stamp
    more = pipeline.prepare(chosen_rows.tokenized(rows, mask=mask, count=6), tmp_path)
    assert len(more.dataset) == 6
    other = pipeline.prepare(chosen_rows.tokenized(rows, mask=mask, use="draw", seed=3), tmp_path)
    assert other.manifest["records"][0]["component"] == "draw"
    alone = pipeline.prepare(chosen_rows.tokenized(rows, count=6), tmp_path)
    assert alone.dataset["input_ids"][:] == more.dataset["input_ids"][:]
