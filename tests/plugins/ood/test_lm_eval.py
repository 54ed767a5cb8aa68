"""The suite `lm_eval` on local tasks: item by item what lm-eval's own command line says."""

from __future__ import annotations

import copy
import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import Dataset
from transformers import AutoModelForCausalLM

from ppx_ext import Subject, TaskScore, catalog
from ppx_ext.evaluating import measure
from ppx_ext.evaluating.judges import opened
from ppx_ext.evaluating.store import read_items
from ppx_ext.hosts.trl_trainer import PpxSFTTrainer
from ppx_ext.plan import parse
from ppx_ood.harness import HarnessSettings, evaluate, judges
from tests.hosts import measured
from tests.hosts.trl.lab import arguments, chats, lora
from tests.models import tiny_model, tiny_tokenizer
from tests.plugins.ood.conftest import Lab
from tests.plugins.ood.local_tasks import SAID, SUMS

NAMES = ["local_arc", "local_gsm8k", "local_gsm8k_fewshot", "local_mmlu"]
RUN = """
import json, sys
from lm_eval.__main__ import cli_evaluate
for words in json.loads(sys.argv[1]):
    sys.argv = ["lm_eval", *words]
    cli_evaluate()
"""


def settings(lab: Lab, *tasks: Any, **more: Any) -> HarnessSettings:
    return HarnessSettings(
        **{"include_path": str(lab.tasks), "batch_size": 4, "chat_template": False, **more},
        tasks=list(tasks),  # type: ignore[arg-type]
    )


def train(lab: Lab, folder: Path) -> None:
    """A LoRA on the lab's model, trained in TRL and measured there before and after."""
    names = {"tasks": NAMES, "include_path": str(lab.tasks), "batch_size": 4}
    trainer = PpxSFTTrainer(
        model=copy.deepcopy(lab.model),
        args=arguments(folder, ppx={"eval": {"use": "lm_eval", **names}}),
        train_dataset=Dataset.from_list(chats()),
        processing_class=lab.tokenizer,
        peft_config=lora(),
    )
    trainer.train()
    trainer.save_model(str(folder / "lora"))


@pytest.fixture(scope="module")
def told(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Path]:
    """What lm-eval's command line writes of a checkpoint, and of an adapter trained on it."""
    folder = tmp_path_factory.mktemp("checkpoints")
    lab.model.save_pretrained(folder / "full")
    lab.tokenizer.save_pretrained(folder / "full")
    train(lab, folder)
    common = ["--model", "hf", "--tasks", ",".join(NAMES), "--include_path", str(lab.tasks)]
    common += ["--batch_size", "4", "--device", "cpu", "--log_samples", "--output_path"]
    model = f"pretrained={folder / 'full'},dtype=float32"
    adapted = f"{model},peft={folder / 'lora'}"
    words = [
        [*common, str(folder / "of_full"), "--model_args", model],
        [*common, str(folder / "of_lora"), "--model_args", adapted, "--apply_chat_template"],
    ]
    done = subprocess.run(
        [sys.executable, "-c", RUN, json.dumps(words)], capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return {"full": folder / "of_full", "lora": folder / "of_lora", "folder": folder}


def told_of(folder: Path, task: str, name: str) -> list[Any]:
    """The command line's samples of a task through one filter, in order."""
    (path,) = folder.glob(f"*/samples_{task}_2*.jsonl")
    found = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    kept = [sample for sample in found if sample["filter"] == name]
    return sorted(kept, key=lambda one: one["doc_id"])


def assert_told(folder: Path, task: str, correct: Any, flexible: Any, responses: Any) -> None:
    """Every item's values and response are those of the command line."""
    parts = ["local_mmlu_0", "local_mmlu_1"] if task == "local_mmlu" else [task]
    metric = {"local_arc": "acc_norm", "local_mmlu": "acc"}.get(task, "exact_match")
    name = "strict-match" if metric == "exact_match" else "none"
    samples = [sample for part in parts for sample in told_of(folder, part, name)]
    assert list(correct) == [sample[metric] for sample in samples]
    if metric == "exact_match":
        assert list(responses) == [sample["resps"][0][0] for sample in samples]
        loose = told_of(folder, task, "flexible-extract")
        assert list(flexible) == [sample["exact_match"] for sample in loose]


@pytest.mark.slow
def test_agrees_item_by_item_with_the_command_line(lab: Lab, told: Mapping[str, Path]) -> None:
    model = AutoModelForCausalLM.from_pretrained(told["folder"] / "full").eval()
    found = evaluate(settings(lab, *NAMES), Subject(model=model, tokenizer=lab.tokenizer))
    for score in found:
        flexible = score.readings.get("flexible")
        assert_told(told["full"], score.task, score.correct, flexible, score.items["response"])
    (path,) = told["full"].glob("*/results_*.json")
    results = json.loads(path.read_text(encoding="utf-8"))["results"]
    scores = {score.task: score for score in found}
    assert scores["local_mmlu"].accuracy == pytest.approx(results["local_mmlu"]["acc,none"])
    assert scores["local_gsm8k"].accuracy == 0.5
    assert 0 < scores["local_arc"].accuracy < 1


@pytest.mark.slow
def test_a_run_measures_what_the_command_line_does_of_what_it_saved(
    told: Mapping[str, Path],
) -> None:
    out = told["folder"] / "out"
    before, rows = (read_items(out / one["items"]) for one in measured.read(out)["evaluations"])
    for task in NAMES:
        items = [row for row in rows if row["task"] == task]
        flexible = [row["readings"].get("flexible") for row in items]
        responses = [row["response"] for row in items]
        assert_told(told["lora"], task, [row["correct"] for row in items], flexible, responses)
    assert [row["response"] for row in rows] != [row["response"] for row in before]


def test_a_lost_format_is_seen_apart_from_a_lost_skill(lab: Lab) -> None:
    (score,) = evaluate(settings(lab, {"name": "local_gsm8k", "target": True}), lab.subject)
    sums = list(zip(SUMS, SAID, strict=True))
    assert score.items["response"] == [
        " " + said.format(a, a + b, a + b + 1) for (a, b), said in sums
    ]
    strict = tuple(float("#### {1}" in said) for _, said in sums)
    flexible = tuple(float("{1}" in said) for _, said in sums)
    assert score.readings == {"strict": strict, "flexible": flexible}
    assert (score.correct, score.target) == (strict, True)
    assert score.items["gold"][0] == "it is #### 3"
    (other,) = evaluate(
        settings(lab, {"name": "local_gsm8k", "filter": "flexible-extract"}), lab.subject
    )
    assert other.correct == flexible
    assert other.fingerprint == score.fingerprint


def test_choices_are_recorded_in_words(lab: Lab) -> None:
    (score,) = evaluate(settings(lab, {"name": "local_arc", "metric": "acc"}), lab.subject)
    assert score.items["gold"][:2] == ["whi", "h of"]
    right = [a == b for a, b in zip(score.items["gold"], score.items["response"], strict=True)]
    assert list(score.correct) == [float(one) for one in right]
    assert set(score.readings) == {"acc", "acc_norm"}


def test_groups_are_averaged_as_lm_eval_does(lab: Lab) -> None:
    pooled = evaluate(settings(lab, "local_mmlu"), lab.subject)
    assert [(score.task, len(score.correct)) for score in pooled] == [("local_mmlu", 8)]
    apart = evaluate(settings(lab, {"name": "local_macro", "metric": "acc"}), lab.subject)
    assert [score.task for score in apart] == ["local_mmlu_0", "local_mmlu_1"]
    assert pooled[0].correct == apart[0].correct + apart[1].correct
    (cut,) = evaluate(settings(lab, {"name": "local_mmlu", "limit": 2}), lab.subject)
    assert cut.correct == apart[0].correct[:2] + apart[1].correct[:2]
    assert cut.fingerprint != pooled[0].fingerprint


def test_the_examples_and_scores_are_the_same_every_time(lab: Lab) -> None:
    asked = settings(lab, "local_gsm8k_fewshot", {"name": "local_gsm8k", "limit": 3})
    first, second = (evaluate(asked, lab.subject) for _ in range(2))
    assert first == second
    prompts = first[0].items["prompt"]
    assert all(prompt.count("####") == 2 for prompt in prompts)
    (fewer,) = evaluate(
        settings(lab, {"name": "local_gsm8k_fewshot", "num_fewshot": 1}), lab.subject
    )
    assert all(prompt.count("####") == 1 for prompt in fewer.items["prompt"])
    assert first[0].items["prompt"] == evaluate(asked, lab.subject)[0].items["prompt"]


def test_prompts_go_through_the_chat_template_where_there_is_one(lab: Lab) -> None:
    task = {"name": "local_gsm8k_fewshot", "limit": 1}
    (score,) = evaluate(settings(lab, task, chat_template=None), lab.subject)
    assert score.items["prompt"][0].count("<|im_start|>user") == 3
    (flat,) = evaluate(
        settings(lab, task, chat_template=None, fewshot_as_multiturn=False), lab.subject
    )
    assert flat.items["prompt"][0].count("<|im_start|>user") == 1
    bare = tiny_tokenizer()
    bare.chat_template = None
    subject = Subject(model=lab.model, tokenizer=bare)
    (plain,) = evaluate(settings(lab, task, chat_template=None), subject)
    assert "<|im_start|>" not in plain.items["prompt"][0]


def test_the_model_and_the_tokenizer_are_left_alone(lab: Lab) -> None:
    model, tokenizer = tiny_model("llama"), tiny_tokenizer()
    # A head that is trained apart from the embeddings, though the config ties them.
    model.lm_head.weight = torch.nn.Parameter(model.lm_head.weight.detach() * 2)
    tokenizer.pad_token = None
    random = torch.get_rng_state()
    before = dict(vars(model))
    evaluate(settings(lab, "local_arc"), Subject(model=model, tokenizer=tokenizer))
    assert model.lm_head.weight is not model.model.embed_tokens.weight
    assert tokenizer.pad_token is None
    assert torch.equal(torch.get_rng_state(), random)
    assert vars(model).keys() == before.keys()


def judged(lab: Lab, name: str, **more: Any) -> tuple[TaskScore, TaskScore]:
    """A task's score by a judge, and by lm-eval."""
    keys = {"include_path": str(lab.tasks), "batch_size": 4, "chat_template": False, **more}
    task = {"name": name, "judge": {"use": "math", "last_number": True}}
    plan = parse({"eval": {"use": "lm_eval", "tasks": [task], **keys}}, catalog.load()).eval
    assert plan is not None
    with opened(plan) as lent:
        (score,) = measure(plan, lab.subject, lent)
    (plain,) = evaluate(settings(lab, name, **more), lab.subject)
    assert isinstance(score, TaskScore)
    assert score.fingerprint == plain.fingerprint
    return score, plain


RIGHT = tuple(float("{1}" in said) for said in SAID)


def test_a_judge_reads_what_the_format_hides(lab: Lab) -> None:
    score, plain = judged(lab, "local_gsm8k")
    assert plain.correct != RIGHT
    assert score.correct == RIGHT
    assert score.readings == {**plain.readings, "judged": RIGHT}
    assert [why.split(":")[0] == "correct" for why in score.items["why"]] == [*map(bool, RIGHT)]


def test_a_judge_stands_beside_the_only_reading(lab: Lab, tmp_path: Path) -> None:
    """As with lm-eval's MATH."""
    text = (lab.tasks / "local_gsm8k.yaml").read_text().replace("local_gsm8k", "local_math")
    (tmp_path / "local_math.yaml").write_text(text.partition("  - name: flexible-extract")[0])
    score, plain = judged(lab, "local_math", include_path=str(tmp_path))
    assert plain.readings == {}
    assert score.correct == RIGHT != plain.correct
    assert score.readings == {"strict": plain.correct, "flexible": RIGHT}


def test_mathematics_of_the_ready_set_is_judged() -> None:
    chosen = HarnessSettings(sets=("stm",))
    assert judges(chosen) == {"hendrycks_math": "math"}
    (task,) = (one for one in chosen.all_tasks if one.judge)
    assert task.gen_kwargs == {"max_gen_toks": 512}
    alone = HarnessSettings(sets=("stm",), tasks=("hendrycks_math",))  # type: ignore[arg-type]
    assert judges(alone) == {}
