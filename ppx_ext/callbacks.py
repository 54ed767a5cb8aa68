"""Callbacks for any trainer of the transformers family: evaluation before and after training."""

from __future__ import annotations

import contextlib
import json
import random
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from transformers import TrainerCallback

from ppx_ext.evaluating import measure
from ppx_ext.records import EVAL_FILE, SCHEMA, evaluation_record, write_text
from ppx_ext.scoring.models import unpacked
from ppx_ext.suites import Subject, TaskScore

if TYPE_CHECKING:
    from ppx_ext.eval_plan import Evaluation

_TOKENIZER_STATE = ("padding_side", "truncation_side", "pad_token")


@contextlib.contextmanager
def undisturbed(model: Any, tokenizer: Any) -> Iterator[None]:
    """Whatever happens inside, the run goes on as if it had not: random states, train or eval mode
    of every submodule, the cache switch and the tokenizer's sides are put back.
    """
    modes = [(module, module.training) for module in model.modules()]
    states = {name: getattr(tokenizer, name, None) for name in _TOKENIZER_STATE}
    config = model.config.get_text_config()
    cached = getattr(config, "use_cache", None)
    python_state, numpy_state = random.getstate(), np.random.get_state()
    try:
        with torch.random.fork_rng(), unpacked(model):
            yield
    finally:
        random.setstate(python_state)
        np.random.set_state(numpy_state)
        if cached is not None:
            config.use_cache = cached
        for name, state in states.items():
            if getattr(tokenizer, name, None) != state:
                setattr(tokenizer, name, state)
        for module, training in modes:
            module.training = training


class SuiteCallback(TrainerCallback):
    """Runs an evaluation suite before the first step and after the last one.

    Accuracies are logged as ``eval_<task>_accuracy``; every item's result goes to ``ppx_eval.json``
    in the output folder, which the report reads. Every process evaluates, so that sharded models
    work and none waits; the first one writes.

    Args:
        evaluation: the suites with their settings.
        log: the trainer's ``log``.
        tokenizer: that of the run; None takes the trainer's processing class.
    """

    def __init__(
        self,
        evaluation: Evaluation,
        *,
        log: Callable[[dict[str, float]], None],
        tokenizer: Any = None,
    ) -> None:
        self.evaluation = evaluation
        self.log = log
        self.tokenizer = tokenizer

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Evaluate the untouched model; a resumed run keeps what was measured then."""
        if state.global_step == 0:
            self._evaluate("before", Path(args.output_dir), state, kwargs)

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Evaluate the trained model."""
        self._evaluate("after", Path(args.output_dir), state, kwargs)

    def _evaluate(self, when: str, folder: Path, state: Any, kwargs: dict[str, Any]) -> None:
        model = kwargs["model"]
        tokenizer = self.tokenizer or kwargs["processing_class"]
        tokenizer = getattr(tokenizer, "tokenizer", tokenizer)
        start = time.perf_counter()
        with undisturbed(model, tokenizer), torch.no_grad():
            model.eval()
            scores = measure(self.evaluation, Subject(model=model, tokenizer=tokenizer))
        seconds = time.perf_counter() - start
        if state.is_world_process_zero:
            record = evaluation_record(scores, when=when, step=state.global_step, seconds=seconds)
            self._write(folder / EVAL_FILE, record)
        tasks = [score for score in scores if isinstance(score, TaskScore)]
        self.log({f"eval_{score.task}_accuracy": score.accuracy for score in tasks})

    def _write(self, path: Path, record: dict[str, Any]) -> None:
        """A run that starts afresh starts its file afresh; one that goes on adds to it."""
        found = (
            {"evaluations": []}
            if record["when"] == "before" or not path.is_file()
            else (json.loads(path.read_text(encoding="utf-8")))
        )
        kept = [old for old in found["evaluations"] if old["when"] != record["when"]]
        content = {
            "schema": SCHEMA,
            "evaluation": self.evaluation.dump(),
            "evaluations": [*kept, record],
        }
        write_text(path, json.dumps(content, indent=1))
