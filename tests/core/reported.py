"""Folders of runs in the layout that the package writes, for tests of the report."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ppx_ext.records import EVAL_FILE, evaluation_record, write_json, write_text
from ppx_ext.reporting import STUDY_FILE
from ppx_ext.study import Arm, Run, Study, dump_study
from ppx_ext.suites import Score, TaskScore, TextScore

ITEMS = 120
STEPS = (0, 25, 50, 75, 100)
SHARES = {  # accuracy at each of the steps
    "gsm8k": (0.30, 0.38, 0.45, 0.52, 0.55),
    "hellaswag": (0.71, 0.70, 0.69, 0.70, 0.68),
    "mmlu": (0.62, 0.60, 0.55, 0.50, 0.47),
    "arc_challenge": (0.55, 0.55, 0.54, 0.49, 0.44),
    "truthfulqa": (0.41, 0.40, 0.42, 0.41, 0.40),
}
GATE = {
    "max_drop": 3.0,
    "tasks": {"mmlu": 10.0},
    "on_breach": "restore_best",
    "beyond_chance": False,
}


def scores(at: int) -> list[Score]:
    """What is measured at a place of `STEPS`: right answers come and go, as they would."""
    found: list[Score] = []
    for task, shares in SHARES.items():
        ranks = list(range(ITEMS))
        random.Random(task).shuffle(ranks)
        noise = random.Random(f"{task}{at}")
        right = [rank < shares[at] * ITEMS + noise.gauss(0, 6) for rank in ranks]
        correct = tuple(map(float, right))
        readings = {}
        if task == "gsm8k":
            lost = (0, 10, 26, 42, 50)[at]
            strict = [bool(r) and rank >= lost for r, rank in zip(right, ranks, strict=True)]
            readings = {"strict": tuple(map(float, strict)), "flexible": correct}
        found.append(
            TaskScore(task=task, correct=correct, target=task == "gsm8k", readings=readings)
        )
    draw = random.Random(at)
    texts = tuple(200.0 + 4 * place + 9 * at + draw.gauss(0, 9) for place in range(30))
    return [*found, TextScore(task="held-out news", nll=texts, tokens=(100,) * 30)]


def evaluated(folder: Path, *, gate: Any = GATE, kept: int | None = 1, last: int = 4) -> Path:
    """A run that was measured at `STEPS`; at ``kept`` it had the weights it ended with."""
    when = ["before", *["during"] * (last - 1), "after"]
    records = [
        evaluation_record(scores(at), when=when[at], step=STEPS[at], seconds=4.2, epoch=at * 0.75)
        for at in range(last + 1)
    ]
    if kept is not None:
        records[-1]["when"] = "during"
        records.append({**records[kept], "when": "after", "seconds": 0.0, "restored": True})
    content: dict[str, Any] = {
        "schema": 1,
        "evaluation": {"suites": [{"use": "lm_eval"}], "gate": gate, "keep": "best"},
        "evaluations": records,
        "cost": {"seconds": 21.0, "training_seconds": 190.0, "share": 21 / 190},
    }
    if kept is not None:
        words = "step 25 has the best target score, 35.8 %, of 1 of 4 within the limits."
        content["kept"] = {"step": STEPS[kept], "restored": True, "words": words}
    write_json(folder / EVAL_FILE, content)
    return folder


def logged(folder: Path, *, steps: int = 100) -> Path:
    """A trainer's state, as both hosts leave it in a checkpoint."""
    history: list[dict[str, Any]] = [
        {
            "step": step,
            "epoch": step / 33,
            "loss": 2.1 * 0.97**step + 0.3,
            "learning_rate": 1e-3 * (1 - step / steps),
            "grad_norm": 1.5 + 0.2 * (step % 3),
            "mean_token_accuracy": 0.5 + 0.3 * step / steps,
        }
        for step in range(5, steps + 1, 5)
    ]
    history += [{"step": step, "epoch": 1, "eval_loss": 2 * 0.98**step} for step in (33, 66, 100)]
    history.append({"step": steps, "epoch": 3, "train_runtime": 211.0, "train_loss": 0.9})
    state = {"global_step": steps, "epoch": 3.0, "log_history": history}
    write_json(folder / f"checkpoint-{steps}" / "trainer_state.json", state)
    return folder


ARMS = {  # accuracy on the target, and what the other tasks keep of the base's
    "sft": (0.55, 0.86),
    "sft_lr_0.5": (0.53, 0.90),
    "sft_lr_0.1": (0.44, 0.97),
    "sft_newlines": (0.55, 0.87),
    "stm": (0.54, 0.95),
    "stm_q0.25": (0.53, 0.93),
    "random": (0.52, 0.88),
    "lowest": (0.41, 0.89),
    "s3ft": (0.57, 0.98),
    "self_output": (0.48, 0.99),
}


def compared(folder: Path, *, arms: Sequence[str] = tuple(ARMS), seeds: int = 5) -> Path:
    """A comparison, as `ppx compare` writes it."""
    shares = {"gsm8k": 0.30, "mmlu": 0.62, "hellaswag": 0.71, "arc_challenge": 0.55}

    def run(seed: int | None, target: float, kept: float, name: str) -> Run:
        noise = random.Random(f"{name}{seed}")
        found = []
        for task, share in shares.items():
            ranks = list(range(ITEMS))
            random.Random(task).shuffle(ranks)
            level = target if task == "gsm8k" else share * kept
            correct = tuple(float(r < level * ITEMS + noise.gauss(0, 5)) for r in ranks)
            found.append(TaskScore(task=task, correct=correct, target=task == "gsm8k"))
        numbers = {"seconds": 40.0 + noise.random(), "update_norm": 6.0 + noise.random()}
        return Run(scores=tuple(found), seed=seed, numbers={} if seed is None else numbers)

    study = Study(
        base=run(None, 0.30, 1.0, "base"),
        arms=tuple(
            Arm(name=name, runs=tuple(run(seed, *levels, name) for seed in range(seeds)))
            for name, levels in ARMS.items()
            if name in arms
        ),
    )
    for name in arms:
        history = [{"step": s, "loss": 2 * 0.97**s + 0.1 * len(name)} for s in range(5, 61, 5)]
        write_text(folder / "runs" / f"{name}-0" / "log_history.json", json.dumps(history))
    says = {
        name: {"says": f"What {name} does, in a sentence.", "edit": [f"ppx.mask: {name}"]}
        for name in arms
    }
    lacking = [{"arm": "lowest", "seed": 5, "why": "killed"}]
    write_json(
        folder / STUDY_FILE,
        {
            "schema": 1,
            "title": "Ways of tuning a model on GSM8K",
            "warnings": ["lowest, seed 5: killed."],
            "study": dump_study(study),
            "stages": [],
            "examples": [],
            "repeat": {"command": "ppx compare r.yaml", "protocol": "The same.", "versions": {}},
            "comparison": {
                "recipe": "r.yaml",
                "host": "trl",
                "seeds": [*range(seeds)],
                "arms": says,
                "lacking": lacking,
            },
        },
    )
    return folder
