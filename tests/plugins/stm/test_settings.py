"""What a recipe may say, and what it is told when it says something else."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pydantic
import pytest

from ppx_ext import plan
from ppx_ext.contracts import ModelRef, Need, TokenScorer
from ppx_stm.settings import DpfSettings, StmDpfSettings, StmSettings
from tests.plugins.stm.rows import CATALOG, stage


def test_the_defaults_are_the_papers() -> None:
    assert StmSettings().ppl_threshold == 2.5
    assert not StmSettings().mask_end_of_turn
    assert StmDpfSettings(tuned="x").ppl_threshold == 100.0
    assert StmDpfSettings(tuned="x").dpf_threshold == 0.0


def test_all_components_are_offered() -> None:
    assert CATALOG.names("mask") == ["dpf", "lowest", "random", "stm", "stm_dpf"]
    assert CATALOG.names("scorer") == ["causal_lm", "column"]


@pytest.mark.parametrize("value", [0, -1, -0.5])
def test_the_authors_sentinel_is_refused_with_its_mend(value: float) -> None:
    with pytest.raises(pydantic.ValidationError, match=r"Write \.inf to mask none"):
        StmSettings(ppl_threshold=value)


@pytest.mark.parametrize("value", [1, 0.5, math.nan])
def test_a_threshold_that_masks_everything_is_refused(value: float) -> None:
    with pytest.raises(pydantic.ValidationError, match="must be above 1"):
        StmSettings(ppl_threshold=value)
    with pytest.raises(pydantic.ValidationError, match="must be above 1"):
        StmDpfSettings(tuned="x", ppl_threshold=value)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"ppl_threshold": 2.0, "mask_fraction": 0.2}, "either ppl_threshold or mask_fraction"),
        ({"ppl_threshold": None}, "either ppl_threshold or mask_fraction"),
        ({"mask_fraction": 1.0}, "less than 1"),
        ({"mask_fraction": -0.1}, "greater than or equal to 0"),
        ({"min_kept_tokens": -1}, "greater than or equal to 0"),
        ({"scores_from": "ppl", "scoring_model": "x"}, "exclude each other"),
        ({"scores_from": "ppl", "normalize_newlines": True}, "other tokens"),
        ({"scores_unit": "nll"}, "without scores_from"),
        ({"scoring_revision": "x"}, "without scoring_model"),
        ({"scores_from": "ppl", "scores_unit": "bits"}, "'perplexity' or 'nll'"),
        ({"treshold": 2}, "treshold"),
    ],
)
def test_settings_that_cannot_be_meant(settings: dict[str, object], message: str) -> None:
    with pytest.raises(pydantic.ValidationError, match=message):
        StmSettings(**settings)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "settings",
    [{}, {"ppl_threshold": math.inf}, {"mask_fraction": 0.2}, {"scores_from": "ppl"}],
)
def test_a_plans_dump_is_json_and_gives_the_same_plan(settings: dict[str, object]) -> None:
    chosen = stage(**settings)
    dumped = chosen.dump()
    assert json.loads(json.dumps(dumped, allow_nan=False)) == dumped
    assert stage(**{k: v for k, v in dumped.items() if k != "use"}).settings == chosen.settings


@pytest.mark.parametrize(
    ("use", "settings", "online"),
    [
        ("stm", {}, True),
        ("stm", {"ppl_threshold": math.inf}, True),
        ("lowest", {}, True),
        ("stm", {"mask_fraction": 0.2}, False),
        ("stm", {"scoring_model": "x"}, False),
        ("stm", {"scores_from": "ppl"}, False),
        ("random", {}, False),
        ("dpf", {"tuned": "x"}, False),
        ("stm_dpf", {"tuned": "x"}, False),
    ],
)
def test_online_only_where_the_batch_and_its_base_are_enough(
    use: str, settings: dict[str, object], online: bool
) -> None:
    block = {"mask": {"use": use, "apply": "online", **settings}}
    if online:
        assert plan.parse(block, CATALOG).apply == "online"
    else:
        with pytest.raises(plan.PlanError, match="online cannot be used"):
            plan.parse(block, CATALOG)


def test_what_is_scored() -> None:
    assert StmSettings().base_need() == Need(score="nll", scorer="causal_lm")
    other = StmSettings(scoring_model="big", scoring_revision="r1").base_need()
    assert other.settings == {"model": "big", "revision": "r1"}
    own = StmSettings(scores_from="ppl").base_need()
    assert own == Need(
        score="perplexity", scorer="column", settings={"column": "ppl", "unit": "perplexity"}
    )
    assert StmSettings(scores_from="n", scores_unit="nll").base_need().score == "nll"


def test_the_tuned_model_is_an_adapter_where_its_folder_says_so(tmp_path: Path) -> None:
    scorer = CATALOG.get("scorer", "causal_lm", TokenScorer)

    def ref(settings: DpfSettings) -> ModelRef | None:
        need = settings.tuned_need()
        assert need.score == "nll_tuned"
        return scorer.model(scorer.settings.model_validate(need.settings))

    folder = str(tmp_path)
    assert ref(DpfSettings(tuned=folder)) == ModelRef(path=folder)
    (tmp_path / "adapter_config.json").write_text("{}")
    assert ref(DpfSettings(tuned=folder)) == ModelRef(adapter=folder)
    assert ref(DpfSettings(tuned=folder, scoring_model="big")) == ModelRef(
        path="big", adapter=folder
    )
