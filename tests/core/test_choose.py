"""The choose stage: which rows, in which order, what is told of it; none stale, none twice."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from datasets import Dataset

from ppx_ext import choice_numbers
from ppx_ext.choose_stage import check_choice
from ppx_ext.contracts import Candidates, Choice
from tests.core import chosen_rows, fakes
from tests.core.chosen_rows import choose, lengths


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


def test_the_windows_scores_are_those_of_the_rows_that_were_ordered() -> None:
    """Distinct rows have 1, 2 and 3; seven copies of the last would put the median at 3."""
    candidates = Candidates(
        score_N=np.array([1.0, 2.0] + [3.0] * 8),
        tokens_N=np.ones(10, dtype=np.int64),
        first_N=np.array([0, 1] + [2] * 8),
    )

    def scores(*chosen: int) -> Any:
        choice = Choice(index_K=np.array(chosen), window=(0.0, 0.5))
        return choice_numbers.of(choice, candidates, unit="")["window"]["scores"]

    assert scores(0, 1) == [1.0, 2.0]
    assert scores(0, 3) == [1.0, 3.0]  # copies took part


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
    nowhere = fakes.dataset(3, mine=[None] * 3, kind=[None] * 3)
    with pytest.raises(ValueError, match=r"'mine', which the data do not have or is empty"):
        choose(nowhere, tmp_path, by={"use": "length", "column": "mine"})
    with pytest.raises(ValueError, match=r"choose.strata: the data do not have the column 'kind'"):
        choose(nowhere, tmp_path, strata="kind")
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
