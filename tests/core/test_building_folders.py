"""Where a built data set is kept: by all that it depends on, and nothing else."""

from __future__ import annotations

import dataclasses
import json
import logging
from pathlib import Path
from typing import Any

import pytest

from tests.core import builds, fakes
from tests.core.builds import lines


def changed_template() -> Any:
    from tests.models import tiny_tokenizer

    tokenizer = tiny_tokenizer()
    tokenizer.chat_template = f"{tokenizer.chat_template} "
    return tokenizer


OTHERS: dict[str, dict[str, Any]] = {
    "a builder's setting": {"max_new_tokens": 99},
    "a prompt's words": {"prompts": "mbpp"},
    "another builder": {"use": "rephrase"},
    "a judge's setting": {"judge": {"use": "words", "right": "righ"}},
    "the engine": {"generator": {"use": "script", "style": "grand"}},
    "a judge's engine": {"judge": {"use": "words", "generator": "script"}},
    "the seed": {"seed": 7},
    "the model": {"base": fakes.base("other weights")},
    "the template": {"tokenizer": None},
    "the rows": {"source": builds.rows(11)},
    "a column": {"source": [{**row, "more": 1} for row in builds.rows()]},
    "skipped rows": {"source": [*builds.rows(), {"question": "x"}], "max_skipped_share": 0.5},
}


@pytest.mark.parametrize("what", OTHERS)
def test_whatever_is_changed_is_another_folder(tmp_path: Path, what: str) -> None:
    given = dict(OTHERS[what])
    if "tokenizer" in given:
        given["tokenizer"] = changed_template()
    before = builds.build(tmp_path)
    after = builds.build(tmp_path, given.pop("source", None), **given)
    assert after.fingerprint != before.fingerprint
    assert after.folder != before.folder
    assert after.path.exists()
    assert before.path.exists()


def test_the_judges_version_is_part_of_it(tmp_path: Path) -> None:
    newer = dataclasses.replace(builds.WORDS, name="newer", version=lambda: "2")
    older = dataclasses.replace(newer, version=lambda: "1")
    made = [
        builds.build(tmp_path, catalog=builds.installed(judge), judge="newer")
        for judge in (newer, older)
    ]
    assert made[0].folder != made[1].folder
    assert lines(made[0])[0]["ppx_judge"] == "newer 2"


def test_what_cannot_change_an_answer_is_the_same_folder(tmp_path: Path) -> None:
    log = tmp_path / "log"
    before = builds.build(tmp_path / "out")
    again = builds.build(
        tmp_path / "out",
        generator={"use": "script", "address": "elsewhere", "log": str(log)},
        shard_rows=5,
    )
    assert again == before
    assert not log.exists()


def test_answers_are_shared_by_builds_that_ask_the_same(tmp_path: Path) -> None:
    log = tmp_path / "log"
    generator = {"use": "script", "log": str(log)}
    builds.build(tmp_path / "out", generator=generator)
    asked = len(log.read_text().splitlines())
    stricter = {"use": "words", "right": "right 0"}
    builds.build(tmp_path / "out", generator=generator, judge=stricter)
    # Only the paraphrases of the three rows that are now judged wrong; and what failed, again.
    assert len(log.read_text().splitlines()) == asked + 3 + 4


def test_of_a_model_on_a_server_nothing_is_known_but_its_name(tmp_path: Path) -> None:
    def unknown() -> str:
        raise AssertionError("the weights are not here")

    found = builds.installed(engine=builds.script(remote=True))
    base = dataclasses.replace(fakes.base(), fingerprint=unknown)
    made = builds.build(tmp_path, catalog=found, base=base)
    inputs = json.loads((made.folder / "build.json").read_text())["inputs"]
    assert inputs["model"] == {"name": "fake-base", "revision": None}
    with pytest.raises(AssertionError, match="the weights are not here"):
        builds.build(tmp_path, catalog=found, base=base, use="self_output", samples=2)
    newer = dataclasses.replace(base, revision="v2")
    assert builds.build(tmp_path, catalog=found, base=newer).folder != made.folder


def test_a_built_file_as_the_source_is_found_as_it_is(tmp_path: Path) -> None:
    made = builds.build(tmp_path / "one")
    assert builds.build(tmp_path / "two", made.path) == made
    assert builds.build(tmp_path / "two", str(made.path)).record == made.record
    assert not (tmp_path / "two").exists()
    with pytest.raises(ValueError, match=r"was built otherwise:\n  build.top_p: 1.0 .* 0.5 now"):
        builds.build(tmp_path / "two", made.path, top_p=0.5)


def test_a_damaged_file_is_built_again_from_the_answers(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    log = tmp_path / "log"
    generator = {"use": "script", "log": str(log)}
    made = builds.build(tmp_path / "out", generator=generator)
    whole, asked = made.path.read_bytes(), len(log.read_text().splitlines())
    made.path.write_bytes(whole[:-9])
    with caplog.at_level(logging.WARNING):
        assert builds.build(tmp_path / "out", generator=generator) == made
    assert "is not what was written there: it is built again" in caplog.text
    assert made.path.read_bytes() == whole
    assert len(log.read_text().splitlines()) == asked + 4  # what failed before


# ------------------------------------------------------------------------ engines and judges
