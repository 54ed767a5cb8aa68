"""A prepared folder: it says what it was made from, and is nobody else's."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest

from ppx_ext import manifest, pipeline
from tests.core import fakes
from tests.models import tiny_tokenizer


def test_the_manifest_tells_settings_fingerprints_versions_seeds_and_records(
    tmp_path: Path,
) -> None:
    made = pipeline.prepare(fakes.tokenized(fakes.dataset(), line=3.0), tmp_path / "out")
    about = made.manifest
    assert about["plan"]["mask"] | {"use": "below", "line": 3.0} == about["plan"]["mask"]
    assert about["base"] == {"name": "fake-base", "revision": None, "fingerprint": "weights"}
    assert about["data"]["rows"] == 10
    assert about["seeds"] == {"plan": 42}
    assert {"python", "torch", "transformers", "datasets"} <= about["versions"].keys()
    (record,) = about["records"]
    assert (record["stage"], record["component"]) == ("mask", "below")
    assert about["scores"]["nll"]["scorer"]["use"] == "mod"
    assert about["dataset"]["columns"] == ["input_ids", "labels", "attention_mask"]


def test_two_runs_write_the_same_bytes(tmp_path: Path) -> None:
    for name in ("one", "two"):
        pipeline.prepare(fakes.tokenized(fakes.dataset()), tmp_path / name)
    assert fakes.files(tmp_path / "one") == fakes.files(tmp_path / "two")


@pytest.mark.parametrize(
    ("change", "lines"),
    [
        (
            {"base": fakes.base("other")},
            ["base.fingerprint: 'weights' before, 'other' now"],
        ),
        ({"rows": fakes.dataset(11)}, ["data.fingerprint: ", "data.rows: 10 before, 11 now"]),
        (
            {"tokenizer": tiny_tokenizer(corpus=["quite other words " * 9])},
            ["tokenizer.fingerprint: "],
        ),
    ],
)
def test_a_folder_of_other_inputs_names_each_difference(
    tmp_path: Path, change: dict, lines: list[str]
) -> None:
    out = tmp_path / "out"
    pipeline.prepare(fakes.tokenized(fakes.dataset()), out)
    before = fakes.files(out)
    given = dict(change)
    other = fakes.tokenized(given.pop("rows", fakes.dataset()), **given)
    with pytest.raises(ValueError, match="was prepared from other inputs") as caught:
        pipeline.prepare(other, out)
    told = [line.strip() for line in str(caught.value).splitlines()[1:-1]]
    assert len(told) == len(lines)
    for line, wanted in zip(told, lines, strict=True):
        assert line.startswith(wanted)
    assert "--overwrite" in str(caught.value)
    assert fakes.files(out) == before
    pipeline.prepare(other, out, overwrite=True)
    pipeline.prepare(other, tmp_path / "fresh")
    assert fakes.files(out) == fakes.files(tmp_path / "fresh")


def test_a_folder_with_other_peoples_files_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("do not lose me")
    with pytest.raises(ValueError, match="not empty, and nothing says what"):
        pipeline.prepare(fakes.tokenized(fakes.dataset()), tmp_path)
    pipeline.prepare(fakes.tokenized(fakes.dataset()), tmp_path, overwrite=True)
    assert (tmp_path / "thesis.txt").read_text() == "do not lose me"


def test_a_new_threshold_rewrites_the_data_set_and_says_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    out = tmp_path / "out"
    first = pipeline.prepare(fakes.tokenized(fakes.dataset()), out)
    with caplog.at_level(logging.INFO):
        second = pipeline.prepare(fakes.tokenized(fakes.dataset(), line=2.0), out)
    assert "are reused; changed: ppx.mask.line: 4.0 before, 2.0 now" in caplog.text
    assert first.manifest["dataset"]["hash"] != second.manifest["dataset"]["hash"]
    pipeline.prepare(fakes.tokenized(fakes.dataset(), line=2.0), tmp_path / "fresh")
    assert fakes.files(out) == fakes.files(tmp_path / "fresh")


def test_a_second_run_of_the_same_settings_changes_no_byte_and_mends_a_lost_file(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    out = tmp_path / "out"
    made = fakes.tokenized(fakes.dataset())
    pipeline.prepare(made, out)
    whole = fakes.files(out)
    with caplog.at_level(logging.INFO):
        pipeline.prepare(made, out)
    assert "prepared already" in caplog.text
    (out / "dataset" / "train.parquet").write_bytes(b"half a file")
    with pytest.raises(ValueError, match=r"is missing, or is not what manifest\.json speaks of"):
        pipeline.load_prepared(out)
    pipeline.prepare(made, out)
    assert fakes.files(out) == whole


def test_a_folder_that_holds_nothing_or_was_cut_short_is_told(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="nothing is prepared there"):
        pipeline.load_prepared(tmp_path)
    (tmp_path / "inputs.json").write_text("{}")
    with pytest.raises(ValueError, match="cut short; run it again"):
        pipeline.load_prepared(tmp_path)


def test_rows_that_were_dropped_do_not_shift_the_scores_of_the_others(tmp_path: Path) -> None:
    rows = fakes.dataset(20)
    made = pipeline.prepare(fakes.tokenized(rows, line=1.0), tmp_path / "out")
    found = list(made.rows())
    assert 0 < len(found) < 20
    for row in found:
        example = row.scored.example
        assert example.ids_T.tolist() == rows[example.row]["input_ids"]
        wanted = (example.ids_T % 8)[example.target_T]
        assert row.scored.scores["nll"].tolist() == wanted.tolist()
        assert row.keep_T.tolist() == (example.target_T & (example.ids_T % 8 <= 1)).tolist()


def test_a_tokenizers_fingerprint_speaks_of_its_rules_and_not_of_its_last_call() -> None:
    tokenizer = tiny_tokenizer()
    before = manifest.tokenizer_fingerprint(tokenizer)
    tokenizer(["a", "longer text"], padding=True, truncation=True, max_length=3)
    assert manifest.tokenizer_fingerprint(tokenizer) == before
    tokenizer.chat_template += " "
    assert manifest.tokenizer_fingerprint(tokenizer) != before


def test_differences_go_down_to_the_value() -> None:
    old, new = {"a": {"b": 1, "c": 2}, "d": 3}, {"a": {"b": 1, "c": 5}, "e": None}
    assert manifest.differences(old, new) == ["a.c: 2 before, 5 now", "d: 3 before, None now"]
    assert json.loads(json.dumps(manifest.versions())) == manifest.versions()
