"""`lm_eval`: what is read, what is refused, and what is said of it."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from typing import Any

import pytest

import ppx_ood
from ppx_ext.catalog import load
from ppx_ext.plan import PlanError, parse
from ppx_ood import harness_tasks
from ppx_ood.harness import SETS, check, evaluate, planned
from tests.plugins.ood.conftest import Lab
from tests.plugins.ood.test_lm_eval import NAMES, settings


def problems(lab: Lab, *tasks: Any, **more: Any) -> str:
    with pytest.raises(ValueError, match=r".") as error:
        check(settings(lab, *tasks, **more))
    return str(error.value)


def test_only_what_is_needed_is_read_and_nothing_is_printed(
    lab: Lab, capfd: pytest.CaptureFixture[str]
) -> None:
    harness_tasks._manager.cache_clear()
    evaluate(settings(lab, "local_arc"), lab.subject)
    capfd.readouterr()
    evaluate(settings(lab, "local_arc", "local_mmlu"), lab.subject)
    manager, defaults = harness_tasks.find(settings(lab, "local_arc"))
    assert not defaults  # lm-eval's own thousands of files were not read
    assert "hellaswag" not in manager.task_index
    assert harness_tasks._manager.cache_info().currsize == 1
    assert capfd.readouterr().out == ""


def test_what_cannot_be_measured_is_told_before_training(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    check(settings(lab, *NAMES))
    assert planned(settings(lab, "local_arc", {"name": "local_gsm8k", "target": True})) == {
        "local_arc": "other",
        "local_gsm8k": "target",
    }
    assert planned(settings(lab, "local_arc", "local_mmlu")) is None  # a group
    assert "there is no folder" in problems(lab, "local_arc", include_path="gone")
    unsafe = "task: my_program\nunsafe_code: true\noutput_type: generate_until\n"
    (lab.tasks / "unsafe").mkdir(exist_ok=True)
    (lab.tasks / "unsafe" / "my_program.yaml").write_text(unsafe, encoding="utf-8")
    said = problems(lab, "my_program", include_path=str(lab.tasks / "unsafe"))
    assert "without a sandbox" in said
    assert "use: code" in said
    found = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "lm_eval" else found(name)
    )
    assert "pip install 'ppx-ext[eval]'" in problems(lab, "local_arc")


@pytest.mark.slow
def test_lm_evals_own_names_are_known(lab: Lab) -> None:
    for names in SETS.values():
        check(settings(lab, *names))
    check(settings(lab, sets=["stm", "s3ft"]))
    assert "Did you mean 'hellaswag'" in problems(lab, "helaswag")
    assert "'humaneval'" in problems(lab, "humaneval")
    assert "use: code" in problems(lab, "mbpp")


@pytest.mark.parametrize(
    ("task", "message"),
    [
        ({"name": "local_arc", "metric": "f1"}, r"no metric 'f1'.*acc \(none\)"),
        ({"name": "local_gsm8k", "filter": "flexible"}, r"the filter 'flexible'.*strict-match"),
        ({"name": "local_gsm8k", "num_fewshot": 3}, "defined without examples"),
        ({"name": "local_arc", "judge": "math"}, "nothing is said that a `judge` could read"),
        ("local_rolling", "no number from 0 to 1"),
        ("local_no_data", "cannot be loaded"),
    ],
)
def test_what_is_no_score_is_refused(lab: Lab, task: Any, message: str) -> None:
    rolling = (
        "task: local_rolling\ndataset_path: json\noutput_type: loglikelihood_rolling\n"
        f"dataset_kwargs: {{data_files: {{test: {lab.tasks / 'sums.jsonl'}}}}}\n"
        'test_split: test\ndoc_to_text: ""\ndoc_to_target: "{{question}}"\n'
        "metric_list: [{metric: word_perplexity}]\n"
    )
    other = lab.tasks.parent / "others"
    other.mkdir(exist_ok=True)
    (other / "local_rolling.yaml").write_text(rolling, encoding="utf-8")
    gone = rolling.replace("local_rolling", "local_no_data").replace("sums.jsonl", "gone.jsonl")
    (other / "local_no_data.yaml").write_text(gone, encoding="utf-8")
    both = [str(lab.tasks), str(other)]
    with pytest.raises(ValueError, match=message):
        evaluate(settings(lab, task, include_path=both), lab.subject)


def test_wrong_settings_are_told_with_their_key(lab: Lab) -> None:
    catalog = load([("ppx-ext", ppx_ood)])

    def problems_of(block: Any) -> str:
        with pytest.raises(PlanError) as error:
            parse({"eval": {"use": "lm_eval", **block}}, catalog)
        return "\n".join(error.value.problems)

    assert "ppx.eval.tasks.0.limits: unknown key" in problems_of(
        {"tasks": [{"name": "a", "limits": 3}]}
    )
    assert "share the name 'a'" in problems_of({"tasks": ["a", "a"]})
    assert "ppx.eval.sets.0" in problems_of({"sets": "stmm"})
    assert "name lm-eval's tasks" in problems_of({})
    plan = parse({"eval": {"use": "lm_eval", "tasks": "a", "sets": "s3ft"}}, catalog)
    assert plan.eval is not None
    names = [task.name for task in plan.eval.suites[0].stage.settings.all_tasks]
    assert names == ["a", *SETS["s3ft"]]


def test_importing_the_suite_imports_no_lm_eval() -> None:
    code = "import sys, ppx_ood; assert not {'lm_eval', 'torch', 'datasets'} & sys.modules.keys()"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
