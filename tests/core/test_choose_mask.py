"""Chosen rows on their way to the mask: nothing is scored twice, nothing stale is served."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ppx_ext import pipeline
from tests.core import chosen_rows, fakes
from tests.core.chosen_rows import choose, lengths

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
