"""Reports of each kind of folder: true, complete, one file, and safe against what data holds."""

from __future__ import annotations

import html.parser
import json
import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from ppx_ext import reporting as report
from ppx_ext.records import EVAL_FILE, evaluation_record, write_json
from ppx_ext.reporting import schema
from ppx_ext.reporting.collect import MANIFEST_FILE, STATE_FILE
from ppx_ext.reporting.words import NOT_EVALUATED
from ppx_ext.study import analyse, dump_study, load_study
from tests.core.test_study import STUDY, run, score

EVIL = "<script>alert(1)</script>"
CELL = {"targets": 10, "masked": 4, "masked_rate": 0.4, "share_of_masked": 1.0}
MASKING = {
    "rows": 3,
    "targets": 100,
    "masked": 25,
    "masked_share": 0.25,
    "loss_kept": 0.06,
    "by_kind": {"word": CELL, "other": {**CELL, "targets": 0, "masked": 0}},
    "by_position": {"0-2": CELL},
    "carriage_returns": CELL,
    "most_masked": [{"id": 1, "text": " \r\n", "masked": 4, "targets": 5, "rate": 0.8}],
    "few_targets": {"below": 5, "rows": 2, "first": [0, 1]},
    "no_targets": {"rows": 1, "first": [2]},
    "near_threshold": 7,
}
STAGE = {
    "stage": "mask",
    "component": "stm",
    "fingerprint": "abc",
    "settings": {"use": "stm", "ppl_threshold": 2.5},
    "numbers": MASKING,
}
STATE = {"host": "trl", "plan": {"seed": 1}, "versions": {"trl": "1"}, "records": [STAGE]}


class Page(html.parser.HTMLParser):
    """Checks that tags close, and collects ids, text and what a browser would fetch."""

    VOID = ("meta", "br", "path")

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open, self.ids, self.fetched, self.text = [], [], [], ""
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: Any, attributes: Any) -> None:
        found = dict(attributes)
        if tag not in self.VOID:
            self.open.append(tag)
        self.ids += [found["id"]] if "id" in found else []
        links = [found.get(name) for name in ("src", "href", "action", "data")]
        self.fetched += [link for link in links if link and not link.startswith("#")]
        assert tag not in ("script", "link", "iframe", "object", "img")

    def handle_startendtag(self, tag: Any, attributes: Any) -> None:
        self.handle_starttag(tag, attributes)
        if tag not in self.VOID:
            self.open.pop()

    def handle_endtag(self, tag: Any) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: Any) -> None:
        if self.open[-1:] != ["style"]:
            self.text += data


def written(folder: Path) -> Any:
    told = report.write(folder)
    text = (folder / report.PAGE_FILE).read_text(encoding="utf-8")
    page = Page(text)
    assert page.fetched == []
    assert "://" not in text
    assert "url(" not in re.sub(r"url\(#\w+\)", "", text)
    assert "@import" not in text
    assert len(page.ids) == len(set(page.ids))
    found = json.loads((folder / "report.json").read_text())
    assert found == json.loads(json.dumps(told))
    jsonschema.Draft202012Validator(schema.json_schema()).validate(found)
    return found, page


def demo_folder(tmp_path: Path, **changes: Any) -> Any:
    content = {
        "schema": 1,
        "title": "A demo",
        "warnings": [],
        "study": dump_study(STUDY),
        "stages": [STAGE],
        "examples": [{"task": "t", "prompt": EVIL, "right": "5", "answers": {"base": EVIL}}],
        "repeat": {"command": "ppx demo", "settings": {"lr": 0.1}, "versions": {"trl": None}},
    }
    write_json(tmp_path / report.STUDY_FILE, {**content, **changes})
    return tmp_path


def test_a_demos_report_says_what_its_items_say(tmp_path: Path) -> None:
    found, page = written(demo_folder(tmp_path))
    assert found["schema"] == schema.SCHEMA
    assert found["kind"] == "demo"
    again = analyse(load_study(found["items"]))
    assert found["study"] == json.loads(json.dumps(again))
    assert found["verdict"][: len(again["verdict"])] == again["verdict"]
    text = page.text.replace("\N{NO-BREAK SPACE}", " ")
    assert text.index("Before you read the numbers") < text.index("STM scores higher than SFT")
    for piece in (
        "80.0 ± 1.4",
        "84.8",
        "+100.0",
        "25 of 100",
        "ppx demo",
        "␣\\r\\n",
        "not installed",
    ):
        assert piece in text
    assert EVIL in page.text


def test_the_page_is_the_same_for_the_same_numbers(tmp_path: Path) -> None:
    report.write(demo_folder(tmp_path))
    first = (tmp_path / "report.html").read_bytes()
    report.write(tmp_path)
    assert (tmp_path / "report.html").read_bytes() == first
    assert b"prefers-color-scheme: dark" in first
    assert b"@media print" in first
    assert b"width=device-width" in first


def test_plots_show_every_run(tmp_path: Path) -> None:
    report.write(demo_folder(tmp_path))
    text = (tmp_path / "report.html").read_text()
    gain = text[text.index("Gain on the target") :]
    gain = gain[: gain.index("</svg>")]
    uses = re.findall(
        r'<use href="#[^"]+" x="[^"]+" y="[^"]+" style="fill: var\(--arm-(\d)\)', gain
    )
    assert uses.count("0") >= 7
    assert uses.count("1") >= 7


def test_a_training_run(tmp_path: Path) -> None:
    before, after = run(40, 90, 80).scores, run(80, 50, 60).scores
    records = [
        evaluation_record(before, when="before", step=0, seconds=1),
        evaluation_record(after, when="after", step=9, seconds=1),
    ]
    write_json(tmp_path / EVAL_FILE, {"schema": 1, "suite": {}, "evaluations": records})
    write_json(tmp_path / STATE_FILE, STATE)
    found, page = written(tmp_path)
    assert found["kind"] == "training"
    assert found["sources"] == [EVAL_FILE, STATE_FILE]
    assert found["study"]["arms"][0]["mean"]["drop"] == pytest.approx(30)
    assert "On the other tasks, the tuned model scores lower" in found["verdict"][0]
    assert found["warnings"][0].startswith("One seed:")
    assert "1 rows have no target left" in " ".join(found["warnings"])
    assert "7 targets lie within 1 %" in " ".join(found["warnings"])
    assert "25 of 100 targets" in page.text


def test_a_run_that_was_not_evaluated_says_so(tmp_path: Path) -> None:
    write_json(tmp_path / STATE_FILE, {**STATE, "records": []})
    found, _ = written(tmp_path)
    assert found["study"] is None
    assert found["warnings"] == [NOT_EVALUATED]
    assert "left no trainer_state.json" in found["notes"][0]
    assert "holds no prepared rows" in found["notes"][1]


def test_a_prepared_data_set(tmp_path: Path) -> None:
    numbers = {"rows": 3, "skipped": 2, "skipped_by_reason": {"empty response": 2}}
    tokens = {**STAGE, "stage": "tokenize", "component": "tokens", "numbers": numbers}
    write_json(tmp_path / MANIFEST_FILE, {**STATE, "records": [tokens, STAGE]})
    found, page = written(tmp_path)
    assert found["warnings"][0] == "2 rows were left out (empty response: 2)."
    assert found["kind"] == "prepared"
    assert "took 25 of 100 targets" in found["verdict"][0]
    assert "6.0\N{NO-BREAK SPACE}%" in page.text


@pytest.mark.parametrize(("share", "told"), [(0.25, False), (0.63, True)])
def test_a_mask_that_leaves_little_is_told(tmp_path: Path, share: float, told: bool) -> None:
    stage = {**STAGE, "numbers": {**MASKING, "masked_share": share}}
    write_json(tmp_path / MANIFEST_FILE, {**STATE, "records": [stage]})
    warnings = report.collect(tmp_path)["warnings"]
    assert any("63.0 % of all targets are masked" in warning for warning in warnings) == told


def test_a_base_of_zero_is_undefined_in_words(tmp_path: Path) -> None:
    before, after = [score("t", 0, 100, target=True)], [score("t", 5, 100, target=True)]
    records = [
        evaluation_record(scores, when=when, step=0, seconds=0)
        for when, scores in (("before", before), ("after", after))
    ]
    write_json(tmp_path / EVAL_FILE, {"schema": 1, "suite": {}, "evaluations": records})
    _, page = written(tmp_path)
    assert "TI is undefined" in page.text
    assert "inf" not in re.findall(r"[a-z]+", page.text)


def test_an_empty_folder_and_a_broken_file_are_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"holds none of ppx_study\.json"):
        report.write(tmp_path)
    (tmp_path / "begun" / "runs" / "base").mkdir(parents=True)
    with pytest.raises(ValueError, match="a comparison that has not ended"):
        report.write(tmp_path / "begun")
    (tmp_path / EVAL_FILE).write_text("{")
    with pytest.raises(ValueError, match=EVAL_FILE):
        report.write(tmp_path)
    write_json(tmp_path / EVAL_FILE, {"schema": 99})
    with pytest.raises(ValueError, match="layout that this version does not know"):
        report.write(tmp_path)
    write_json(tmp_path / EVAL_FILE, {"schema": 1, "evaluations": [{}]})
    with pytest.raises(ValueError, match="not as this version writes it"):
        report.write(tmp_path)
    assert not (tmp_path / "report.html").exists()
