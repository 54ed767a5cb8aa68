"""All suites keep what `ppx_ext.testing.check_suite` asks of any; processes share their work."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import multiprocessing
from transformers import AutoModelForCausalLM

from ppx_ext import EvalSuite, Subject, TaskScore, testing
from ppx_ext.catalog import load
from ppx_ext.eval_plan import Evaluation
from ppx_ext.evaluating import measure
from ppx_ext.evaluating.processes import Team
from ppx_ext.plan import parse
from ppx_ext.suites import Score
from ppx_ood.code import CODE
from ppx_ood.harness import LM_EVAL
from ppx_ood.perplexity import PERPLEXITY
from ppx_ood.tasks import TASKS
from tests.models import tiny_model, tiny_tokenizer
from tests.plugins.judges.sandboxed import needs_bubblewrap
from tests.plugins.ood.conftest import Lab
from tests.plugins.ood.local_tasks import sums


def write(path: Path, rows: list[Any]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(path)


def blocks(folder: Path, tasks: Path) -> dict[str, dict[str, Any]]:
    """Settings of all suites, each with fewer, and more, items than processes."""
    asked = [
        {"prompt": f"Question: {row['question']}\nAnswer:", "answer": row["answer"]}
        for row in sums()
    ]
    path = write(folder / "sums.jsonl", asked)
    mbpp = {"text": "One.", "code": "", "test_list": ["assert one() == 1"]}
    plain = {"pattern": "#### (.+)", "target": True}
    return {
        "lm_eval": {
            "tasks": ["local_gsm8k_fewshot", "local_mmlu"],
            "include_path": str(tasks),
            "batch_size": 4,
        },
        "tasks": {
            "tasks": {
                "sums": {"path": path, **plain},
                "judged": {"path": path, "judge": "math", "limit": 2},
            },
            "max_new_tokens": 12,
        },
        "code": {
            "tasks": {"m": {"path": write(folder / "m.jsonl", [mbpp] * 2), "style": "mbpp"}},
            "max_new_tokens": 8,
        },
        "perplexity": {"tasks": {"held_out": {"path": path, "text": "prompt"}}},
    }


@needs_bubblewrap
@pytest.mark.parametrize("suite", [CODE, LM_EVAL, PERPLEXITY, TASKS], ids=lambda one: one.name)
def test_our_suites_keep_the_contract(lab: Lab, tmp_path: Path, suite: EvalSuite) -> None:
    settings = blocks(tmp_path, lab.tasks)[suite.name]
    scores = testing.check_suite(suite, settings, model=lab.model, tokenizer=lab.tokenizer)
    assert all(score.fingerprint for score in scores)
    assert all(score.items for score in scores)


def broken(evaluate: Any) -> EvalSuite:
    return EvalSuite(name="broken", paper="", settings=TASKS.settings, evaluate=evaluate)


def of(correct: Sequence[float], task: str = "t") -> TaskScore:
    return TaskScore(task=task, correct=tuple(correct))


def changes(settings: Any, subject: Subject) -> list[Score]:
    with torch.no_grad():
        subject.model.lm_head.weight += 1
    return [of([1.0])]


def hangs_on_rank(settings: Any, subject: Subject) -> list[Score]:
    subject.gather(None)
    return [of([float(subject.rank == 0)])]


def gathers_unequally(settings: Any, subject: Subject) -> list[Score]:
    if subject.rank == 0:
        subject.gather(None)
    return [of([1.0])]


@pytest.mark.parametrize(
    ("evaluate", "error", "message"),
    [
        (changes, AssertionError, "the weights of .* were changed"),
        (hangs_on_rank, AssertionError, "measured by 3 processes, 't' has other scores"),
        (gathers_unequally, AssertionError, "do not gather equally often"),
        (lambda settings, subject: [of([2.0])], RuntimeError, "outside 0 to 1"),
        (lambda settings, subject: [of([1.0]), of([1.0])], ValueError, "rename one"),
    ],
)
def test_what_is_broken_is_found(
    tmp_path: Path, evaluate: Any, error: type[Exception], message: str
) -> None:
    path = write(tmp_path / "t.jsonl", [{"prompt": "p", "answer": "a"}])
    settings: Mapping[str, Any] = {"tasks": {"t": {"path": path}}}
    with pytest.raises(error, match=message):
        testing.check_suite(
            broken(evaluate), settings, model=tiny_model("llama"), tokenizer=tiny_tokenizer()
        )


def without_judges(folder: Path, tasks: Path) -> Evaluation:
    """All suites but `code`, and no judge, which would start processes of its own."""
    found = blocks(folder, tasks)
    del found["code"], found["tasks"]["tasks"]["judged"]
    suites = [{"use": name, **block} for name, block in found.items()]
    evaluation = parse({"eval": {"suites": suites}}, load()).eval
    assert evaluation is not None
    return evaluation


def _measure(rank: int, folder: str, tasks: str) -> None:
    """One of two real processes: all suites, and then one that fails in the other process."""
    from torch import distributed

    torch.set_num_threads(1)
    distributed.init_process_group(
        "gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=2
    )
    model = AutoModelForCausalLM.from_pretrained(f"{folder}/model").eval()
    tokenizer = tiny_tokenizer()
    evaluation = without_judges(Path(folder) / str(rank), Path(tasks))
    team = Team()

    def work(gather: Any) -> list[Score]:
        subject = Subject(model=model, tokenizer=tokenizer, rank=rank, processes=2, gather=gather)
        return measure(evaluation, subject)

    shown = [
        [score.task, score.correct if isinstance(score, TaskScore) else score.tokens]
        for score in team.together(work)
    ]
    (Path(folder) / f"{rank}.json").write_text(json.dumps(shown), encoding="utf-8")
    if rank == 1:
        model.generate = _out_of_memory
        model.forward = _out_of_memory
    with pytest.raises(RuntimeError, match="out of memory"):
        team.together(work)
    team.close()
    distributed.barrier()
    distributed.destroy_process_group()


def _out_of_memory(*args: Any, **kwargs: Any) -> Any:
    raise RuntimeError("out of memory")


@pytest.mark.slow
def test_two_processes_share_the_work_and_none_waits_for_ever(lab: Lab, tmp_path: Path) -> None:
    for rank in range(2):
        (tmp_path / str(rank)).mkdir()
    lab.model.save_pretrained(tmp_path / "model")
    multiprocessing.spawn(_measure, args=(str(tmp_path), str(lab.tasks)), nprocs=2)  # type: ignore[no-untyped-call]
    first, second = ((tmp_path / f"{rank}.json").read_text() for rank in range(2))
    assert first == second
    evaluation = without_judges(tmp_path, lab.tasks)
    alone = measure(evaluation, lab.subject)
    expected = [
        [score.task, list(score.correct if isinstance(score, TaskScore) else score.tokens)]
        for score in alone
    ]
    assert json.loads(first) == expected
