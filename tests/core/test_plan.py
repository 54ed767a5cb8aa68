"""The `ppx:` block: everything that is wrong is said at once, each with its key."""

from __future__ import annotations

import json
from typing import Any

import pytest

from ppx_ext import plan
from tests.core import fakes


def problems(block: Any) -> list[str]:
    with pytest.raises(plan.PlanError) as caught:
        plan.parse(block, fakes.method())
    for problem in caught.value.problems:
        assert problem in str(caught.value)
    return caught.value.problems


def test_a_block_becomes_a_plan_with_defaults() -> None:
    found = plan.parse({"mask": {"use": "below", "line": 3}}, fakes.method())
    assert found.mask is not None
    assert found.mask.component is fakes.BELOW
    assert found.mask.settings.line == 3.0
    assert (found.apply, found.seed, found.shard_rows, found.build) == ("baked", 42, 1024, None)


def test_every_problem_is_told_at_once_with_its_key() -> None:
    block = {"seed": -1, "mask": {"use": "below"}, "scoring": {"dtype": "int4"}, "nope": 1}
    found = problems(block)
    assert len(found) == 3
    for key in ("ppx.seed: ", "ppx.scoring.dtype: ", "ppx.nope: unknown key"):
        assert [problem for problem in found if problem.startswith(key)], key
    both = problems({"mask": {"use": "below", "line": "x", "aply": "baked"}, "eval": {"use": "o"}})
    assert len(both) == 3


@pytest.mark.parametrize(
    ("block", "expected"),
    [
        ({"maks": {}}, "ppx.maks: unknown key. Did you mean `mask`?"),
        ({"scoring": {"dtyp": "auto"}}, "ppx.scoring.dtyp: unknown key. Did you mean `dtype`?"),
        (
            {"mask": {"use": "below", "lines": 3}},
            "ppx.mask.lines: unknown key. Did you mean `line`?",
        ),
        (
            {"mask": {"use": "below", "aply": "baked"}},
            "ppx.mask.aply: unknown key. Did you mean `apply`?",
        ),
    ],
)
def test_near_misses_are_named_at_each_level(block: dict[str, Any], expected: str) -> None:
    assert problems(block) == [expected]


def test_a_key_like_no_other_lists_those_that_are_known() -> None:
    (found,) = problems({"scoring": {"zzz": 1}})
    assert found == "ppx.scoring.zzz: unknown key. Known: batch_tokens, device, dtype."


def test_unknown_and_unnamed_components() -> None:
    (unknown,) = problems({"mask": {"use": "bellow"}})
    assert unknown.startswith("ppx.mask.use: no mask is called 'bellow'. Did you mean 'below'?")
    (unnamed,) = problems({"mask": {"line": 3}})
    assert unnamed.startswith("ppx.mask.use: name the component")


@pytest.mark.parametrize("block", [None, [], "mask", 3])
def test_a_block_that_is_no_mapping(block: Any) -> None:
    assert problems(block) == [f"ppx: must be a mapping of stages, not {type(block).__name__}"]


def test_online_is_refused_where_the_mask_needs_scores_made_before() -> None:
    (found,) = problems({"mask": {"use": "below", "apply": "online"}})
    assert found.startswith("ppx.mask.apply: online cannot be used")


def test_a_dumped_plan_is_plain_json_and_parses_to_itself() -> None:
    block = {"mask": {"use": "below", "line": 3, "apply": "collator"}, "seed": 7}
    found = plan.parse(block, fakes.method())
    dumped = json.loads(json.dumps(found.dump()))
    assert dumped["mask"] | {"line": 3.0, "apply": "collator", "use": "below"} == dumped["mask"]
    assert plan.parse(dumped, fakes.method()) == found
