"""H-1, H-2: an evaluation in the training process against lm-eval as a process of its own."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tests.benchmarks.result import Result, as_json

ITEMS = 60
ROUNDS = 3
METRICS = {
    "local_arc": "acc_norm,none",
    "local_gsm8k": "exact_match,strict-match",
    "local_mmlu": "acc,none",
}


def in_process(settings: Any, subject: Any) -> tuple[float, list[Any]]:
    """Seconds, and the scores."""
    from ppx_ood.harness import evaluate

    began = time.perf_counter()
    scores = evaluate(settings, subject)
    return time.perf_counter() - began, scores


def apart(model: Any, tokenizer: Any, tasks: Path, folder: Path) -> tuple[float, dict[str, Any]]:
    """Seconds to save a checkpoint and have lm-eval's command line measure it, and its results."""
    began = time.perf_counter()
    model.save_pretrained(folder / "model")
    tokenizer.save_pretrained(folder / "model")
    command = [sys.executable, "-m", "lm_eval", "--model", "hf", "--batch_size", "32"]
    command += ["--model_args", f"pretrained={folder / 'model'},dtype=float32", "--device", "cpu"]
    command += ["--tasks", ",".join(METRICS), "--include_path", str(tasks)]
    command += ["--output_path", str(folder / "out"), "--log_samples"]
    subprocess.run(command, check=True, capture_output=True)
    seconds = time.perf_counter() - began
    (path,) = (folder / "out").glob("*/results_*.json")
    return seconds, json.loads(path.read_text(encoding="utf-8"))["results"]


def run() -> Iterable[Result]:
    """Both on the same tasks and the same weights, in one run; the scores must be the same."""
    from ppx_ext import Subject
    from ppx_ood.harness import HarnessSettings
    from tests.plugins.ood.local_tasks import taught, write_tasks

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        tasks = write_tasks(folder / "tasks", times=ITEMS // 8)
        model, tokenizer = taught()
        settings = HarnessSettings(
            tasks=list(METRICS),  # type: ignore[arg-type]
            include_path=str(tasks),  # type: ignore[arg-type]
            chat_template=False,
        )
        subject = Subject(model=model, tokenizer=tokenizer)
        first, scores = in_process(settings, subject)
        later = statistics.median(in_process(settings, subject)[0] for _ in range(ROUNDS))
        process, results = apart(model, tokenizer, tasks, folder)
        for score in scores:
            wanted = results[score.task][METRICS[score.task]]
            assert abs(score.accuracy - wanted) < 1e-9, (score.task, score.accuracy, wanted)
        items = sum(len(score.correct) for score in scores)
    note = (
        f"{items} items of a tiny model: almost all of it is what a process costs before any item"
    )
    yield Result(
        id="H-1",
        what="lm-eval as a process / the first evaluation in the training process",
        value=process / first,
        goal=2,
        stretch=5,
        note=f"{process:.1f} s / {first:.1f} s; {note}",
    )
    yield Result(
        id="H-2",
        what="lm-eval as a process / each later evaluation in the training process",
        value=process / later,
        goal=4,
        stretch=10,
        note=f"{process:.1f} s / {later:.2f} s; a checkpoint is saved for the process each time",
    )


if __name__ == "__main__":
    print(as_json(run()))
