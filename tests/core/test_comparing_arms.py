"""Arms: names -> recipes that differ in what the arm is about, and in nothing else."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

from ppx_ext.comparing.arms import Arm, ArmError, arms_of, common, with_sweep
from ppx_ext.comparing.edits import at, differences, merged
from ppx_ext.comparing.jobs import jobs_of
from ppx_ext.recipes import Recipe

SETTINGS: dict[str, Any] = {
    "model_name_or_path": "base",
    "dataset_name": "train.jsonl",
    "learning_rate": 2e-3,
    "push_to_hub": True,
    "ppx": {
        "build": {"use": "s3ft", "judge": "math", "generator": "transformers", "paraphrase": False},
        "choose": {"use": "budget", "max_examples": 150, "window": [0.1, 0.5]},
        "mask": {"use": "stm", "ppl_threshold": 3.0, "normalize_newlines": True},
        "eval": {"use": "tasks", "tasks": {"t": {"path": "t.jsonl", "target": True}}},
        "seed": 7,
    },
}


def recipe(host: Any = "trl", settings: dict[str, Any] = SETTINGS) -> Recipe:
    return Recipe(path=Path("my.yaml"), host=host, settings=settings, block=settings.get("ppx"))


def arm(name: str, **given: Any) -> Arm:
    (found,) = arms_of(recipe(), [name], given)
    return found


def edit(name: str, **given: Any) -> list[str]:
    return differences(common(recipe()), arm(name, **given).settings)


def test_merging_by_hand() -> None:
    old = {"a": {"b": 1, "c": 2}, "d": 3}
    assert merged(old, {"a": {"b": None, "e": {"f": 4}}}) == {"a": {"c": 2, "e": {"f": 4}}, "d": 3}
    assert old == {"a": {"b": 1, "c": 2}, "d": 3}
    assert at("a.b.c", 1) == {"a": {"b": {"c": 1}}}
    assert differences({"a": {"b": 1}, "d": 3}, {"a": {"b": 2, "c": 0}}) == [
        "a.b: 1 -> 2", "d: 3 -> (none)", "a.c: 0"
    ]  # fmt: skip


def test_all_share_the_recipe_without_mask_and_builder() -> None:
    shared = common(recipe())
    assert set(shared["ppx"]) == {"choose", "eval", "seed"}
    assert arm("sft").settings == shared
    assert edit("sft") == []


def test_an_arm_is_its_edit_and_takes_what_the_recipe_says_of_it() -> None:
    assert edit("stm") == [
        "ppx.mask.use: 'stm'", "ppx.mask.ppl_threshold: 3.0", "ppx.mask.normalize_newlines: True"
    ]  # fmt: skip
    assert "ppx.mask.ppl_threshold: 3.0" in edit("random")
    assert "ppx.mask.use: 'lowest'" in edit("lowest")
    quantile = arm("stm_quantile").settings["ppx"]["mask"]
    assert quantile == {"use": "stm", "mask_fraction": 0.2, "normalize_newlines": True}
    assert arm("s3ft").settings["ppx"]["build"] == SETTINGS["ppx"]["build"]
    own = arm("self_output").settings["ppx"]["build"]
    assert own == {"use": "self_output", "judge": "math", "generator": "transformers"}
    bands = arm("hard").settings["ppx"]["choose"]
    assert bands == {"use": "budget", "max_examples": 150, "band": "hard"}
    assert arm("recipe").settings == SETTINGS
    assert edit("dft") == ["loss_type: 'dft'"]
    assert edit("kl") == ["ppx.kl.beta: 0.1"]


def test_arms_are_joined_and_changed_at_a_key() -> None:
    both = arm("s3ft+stm").settings["ppx"]
    assert (both["build"]["use"], both["mask"]["use"]) == ("s3ft", "stm")
    assert edit("sft@lr=x0.3") == ["learning_rate: 0.002 -> 0.0006"]
    assert edit("sft@lr=1e-5@warmup_steps=3") == [
        "learning_rate: 0.002 -> 1e-05", "warmup_steps: 3"
    ]  # fmt: skip
    assert arm("stm@ppx.mask.ppl_threshold=10").settings["ppx"]["mask"]["ppl_threshold"] == 10
    plain = arm("sft_normalised").settings["ppx"]["mask"]
    assert math.isinf(plain["ppl_threshold"])
    assert plain["normalize_newlines"]
    masked = arm("stm+sft_normalised").settings["ppx"]["mask"]
    assert masked["ppl_threshold"] == 3.0
    assert masked["strip_line_ends"]
    assert arm("sft_normalised+stm").settings == arm("stm+sft_normalised").settings


def test_users_write_their_own() -> None:
    mild = {"from": "stm", "says": "mild", "ppx": {"mask": {"ppl_threshold": 10}}, "max_length": 9}
    found = arm("mild@lr=x2", mild=mild)
    assert found.settings["ppx"]["mask"]["ppl_threshold"] == 10
    assert (found.settings["max_length"], found.settings["learning_rate"]) == (9, 4e-3)
    assert found.says == "mild, with lr=x2"
    assert arm("SFT", SFT="sft").settings == arm("sft").settings
    assert (
        arm("stm", stm={"max_length": 9, "from": "stm"}).settings["ppx"]
        == arm("stm").settings["ppx"]
    )
    assert "push_to_hub" not in arm("x", x={"from": "sft", "push_to_hub": None}).settings


@pytest.mark.parametrize(
    ("name", "given", "words"),
    [
        ("stmm", {}, "no arm 'stmm'. Did you mean 'stm'"),
        ("stm+random", {}, "'stm\\+random': two of its parts ask for `ppx.mask`"),
        ("eaft", {}, "EAFT is not in the host trl \\(it is in axolotl\\)"),
        ("sft@lr", {}, "write KEY=VALUE"),
        ("sft@lr=fast", {}, "'fast' is no learning rate"),
        ("sft@lr=x-1", {}, "'x-1' is no learning rate above 0"),
        ("sft@lr=0", {}, "'0' is no learning rate above 0"),
        ("easy+hard", {}, "'easy\\+hard': two of its parts ask for `ppx.choose`"),
        ("easy+recipe", {}, "`recipe` is the recipe as it stands, and comes first"),
        ("stm@seed=3", {}, "changes `seed`: each arm is trained with the same seeds"),
        ("a", {"a": {"from": "stm", "ppx": {"eval": None}}}, "'a' changes `ppx.eval`: all arms"),
        ("sft_matched+stm", {}, "'sft_matched' cannot be joined"),
        ("a", {"a": "b", "b": "a"}, "no arm 'a'"),
        ("a", {"a": 3}, "give another arm's name"),
    ],
)
def test_what_cannot_be_had_is_told(name: str, given: dict[str, Any], words: str) -> None:
    with pytest.raises(ArmError, match=words):
        arms_of(recipe(), [name], given)


def test_a_builder_needs_the_recipes_judge() -> None:
    bare = {**SETTINGS, "ppx": {"eval": SETTINGS["ppx"]["eval"]}}
    with pytest.raises(ArmError, match="the recipe says no judge"):
        arms_of(recipe(settings=bare), ["s3ft"])
    with pytest.raises(ArmError, match="DFT is not in the host axolotl"):
        arms_of(recipe("axolotl", bare), ["dft"])


def test_smaller_rates_are_always_there() -> None:
    assert with_sweep(["stm"]) == ("sft", "stm", "sft@lr=x0.3", "sft@lr=x0.1")
    assert with_sweep(["stm", "sft"]) == ("stm", "sft", "sft@lr=x0.3", "sft@lr=x0.1")
    assert with_sweep(["sft", "sft@lr=x0.1"]) == ("sft", "sft@lr=x0.1", "sft@lr=x0.3")


def test_runs_of_one_seed_are_equal_but_for_the_arm() -> None:
    """The whole recipe of each run, as its host will read it, held against that of plain SFT."""
    names = ["sft", "sft@lr=x0.1", "stm", "random", "s3ft", "dft", "kl", "hard", "sft_matched"]
    arms = arms_of(recipe(), names)
    shared = {"common": common(recipe()), "host": "trl", "out": Path("out")}
    base, *jobs = jobs_of(arms, [0, 1], **shared)
    assert base.arm == "base"
    assert [(job.seed, job.arm) for job in jobs] == [(s, n) for s in (0, 1) for n in names]
    recipes = {(job.arm, job.seed): job.recipe(Path("w")) for job in jobs}
    for one in arms:
        for seed in (0, 1):
            found, plain = recipes[one.name, seed], recipes["sft", seed]
            expected = differences(common(recipe()), one.settings)
            if one.name == "random":  # it draws anew with each seed
                expected = [*expected, f"ppx.seed: 7 -> {seed}"]
            assert sorted(differences(plain, found)) == sorted(expected)
            assert found["seed"] == seed
            assert "eval" not in found["ppx"]
            assert "push_to_hub" not in found
            assert found["ppx"]["cache_dir"] == str(Path("out") / "scores")
    assert len({job.fingerprint for job in jobs}) == len(jobs)
    again = jobs_of(arms, [0, 1], **{**shared, "out": Path("elsewhere")})
    assert [job.fingerprint for job in again] == [base.fingerprint, *(j.fingerprint for j in jobs)]
    (last,) = (job for job in jobs if (job.arm, job.seed) == ("sft_matched", 1))
    assert last.matched == "stm-1"


def test_two_arms_never_share_a_folder() -> None:
    given = {"a b": "sft", "a_b": "stm"}
    arms = arms_of(recipe(), ["a b", "a_b"], given)
    with pytest.raises(ValueError, match="would share the folder 'a_b'"):
        jobs_of(arms, [0], common=common(recipe()), host="trl", out=Path("out"))
