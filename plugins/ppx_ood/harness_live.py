"""The live model as lm-eval asks it, left as it was; the processes share its requests."""

from __future__ import annotations

import contextlib
import copy
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ppx_ext import Subject, shared
from ppx_ood.harness import HarnessSettings
from ppx_ood.harness_tasks import Wanted


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What lm-eval gives: its samples and its own averages, by task."""

    samples: Mapping[str, Sequence[Mapping[str, Any]]]
    results: Mapping[str, Mapping[str, Any]]


def measured(wanted: Wanted, settings: HarnessSettings, subject: Subject) -> Measured:
    """Have lm-eval evaluate tasks on the model as it is.

    Every process builds all requests, in the same order, and answers its share: the answers are
    those of one process, and so are the examples that lm-eval draws.
    """
    from lm_eval.evaluator import evaluate

    asked = wanted.asked
    with _quiet():
        model = _model(settings, subject)
        template = settings.chat_template if asked.chat_template is None else asked.chat_template
        if template is None:
            template = bool(getattr(model.tokenizer, "chat_template", None))
        found = evaluate(
            model,
            dict(wanted.tasks),
            limit=asked.limit or settings.limit,
            bootstrap_iters=0,
            log_samples=True,
            system_instruction=settings.system_instruction,
            apply_chat_template=template,
            fewshot_as_multiturn=template and settings.fewshot_as_multiturn,
        )
    return Measured(samples=found["samples"], results=found["results"])


def _model(settings: HarnessSettings, subject: Subject) -> Any:
    """lm-eval's own model class around the live one. The tokenizer is a copy: lm-eval gives it a
    padding token and a padding side.
    """
    from lm_eval.models.huggingface import HFLM

    class Live(HFLM):  # type: ignore[misc]
        def loglikelihood(self, requests: Any, disable_tqdm: bool = True) -> list[Any]:
            return _asked(super().loglikelihood, subject, requests)

        def loglikelihood_rolling(self, requests: Any, disable_tqdm: bool = True) -> list[Any]:
            return _asked(super().loglikelihood_rolling, subject, requests)

        def generate_until(self, requests: Any, disable_tqdm: bool = True) -> list[Any]:
            return _asked(super().generate_until, subject, requests)

    with _tied_as_they_are(subject.model):
        return Live(
            pretrained=subject.model,
            tokenizer=copy.deepcopy(subject.tokenizer),
            batch_size=settings.batch_size,
            max_length=settings.max_length,
        )


def _asked(answer: Any, subject: Subject, requests: Sequence[Any]) -> list[Any]:
    def work(mine: Sequence[Any]) -> Sequence[Any]:
        return answer(list(mine), disable_tqdm=True) if mine else []

    return shared(subject, requests, work)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """No warnings of lm-eval on what is meant (a live model, a chat template), and no progress bar
    for each task: MMLU alone has 57.
    """
    from lm_eval.api import task

    log, bar = logging.getLogger("lm_eval"), task.tqdm
    level = log.level
    log.setLevel(logging.ERROR)
    task.tqdm = lambda items, **words: items
    try:
        yield
    finally:
        log.setLevel(level)
        task.tqdm = bar


@contextlib.contextmanager
def _tied_as_they_are(model: Any) -> Iterator[None]:
    """lm-eval ties the weights of every model that it takes; one that trains its head or its
    embeddings apart from each other would lose them.
    """
    own = vars(model).get("tie_weights")
    model.tie_weights = lambda *args, **kwargs: None
    try:
        yield
    finally:
        del model.tie_weights
        if own is not None:
            model.tie_weights = own
