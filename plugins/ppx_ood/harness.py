"""`lm_eval`: any task of lm-evaluation-harness, by its name, on the live model.

=============== ===============================================================
harness         settings, the papers' sets, and the suite
harness_tasks   names -> lm-eval's tasks, with every fault told before training
harness_live    the live model as lm-eval asks it; processes share its requests
harness_scores  lm-eval's samples -> one value for each item
=============== ===============================================================
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, TypeAlias

import pydantic

from ppx_ext import EvalSuite, Planned, Subject, TaskScore
from ppx_ood.settings import Named, Settings, named, none_twice

Set: TypeAlias = Literal["stm", "s3ft"]

SETS: Mapping[Set, tuple[str, ...]] = {
    "stm": ("arc_challenge", "gsm8k", "hendrycks_math", "ifeval"),
    "s3ft": ("mmlu", "truthfulqa_mc2", "hellaswag", "winogrande"),
}
"""Sets of tasks that papers measure forgetting with, by their names in lm-eval: arXiv 2501.14315,
section 2 and appendix F (its code and SQL tasks aside), and arXiv 2502.08130, table 4."""

OF_SETS: Mapping[str, Mapping[str, Any]] = {
    "hendrycks_math": {"judge": "math", "gen_kwargs": {"max_gen_toks": 512}},
}
"""What sets ask of a task beyond its name. lm-eval takes what stands between the first and the last
dollar sign for MATH's answer, of 256 tokens at most: of what chat models write next to nothing is
right then, and nothing left to forget. The paper has 512 tokens, and a judge."""


class HarnessTask(Named):
    """A task, group or tag of lm-eval.

    Attributes:
        name: in lm-eval.
        target: True for the task that is trained on.
        limit: measure only the first so many items (of each task of a group).
        num_fewshot: examples before each question, where the task's own number is not 0.
        metric: of lm-eval that is the score, for instance ``acc_norm``. By default the first that
            the task has of ``exact_match``, ``prompt_level_strict_acc``, ``acc_norm`` and ``acc``,
            else the task's first.
        filter: of lm-eval that is the score, for instance ``strict-match``. By default the task's
            first. All others are readings beside it.
        chat_template: as in the suite's settings.
        judge: of whole responses, as `ppx.build.judge` takes it, for instance ``math``. Its verdict
            is the score (``flexible``); lm-eval's own readings stand beside it.
        gen_kwargs: of generation, for instance ``{max_gen_toks: 512}``; the task's own are kept
            where they are not named.
    """

    target: bool = False
    limit: int | None = pydantic.Field(default=None, gt=0)
    num_fewshot: int | None = pydantic.Field(default=None, ge=0)
    metric: str | None = None
    filter: str | None = None
    chat_template: bool | None = None
    judge: Any = None
    gen_kwargs: dict[str, Any] = pydantic.Field(default_factory=dict)


class HarnessSettings(Settings):
    """Settings of `lm_eval`.

    Attributes:
        tasks: names, or mappings with ``name`` and the settings of each; also a mapping from name
            to the rest.
        sets: ready sets of papers, beside ``tasks``: ``stm``, ``s3ft``.
        include_path: folder with YAML tasks of your own, or several.
        limit: of every task that names none.
        batch_size: requests at once.
        max_length: context in tokens; by default what the model's config says.
        chat_template: whether prompts go through the chat template; by default wherever the
            tokenizer has one.
        fewshot_as_multiturn: with it, give examples as turns of a chat.
        system_instruction: a system's turn, or text before each prompt.
    """

    tasks: tuple[HarnessTask, ...] = ()
    sets: tuple[Set, ...] = ()
    include_path: tuple[str, ...] = ()
    limit: int | None = pydantic.Field(default=None, gt=0)
    batch_size: int = pydantic.Field(default=32, gt=0)
    max_length: int | None = pydantic.Field(default=None, gt=1)
    chat_template: bool | None = None
    fewshot_as_multiturn: bool = True
    system_instruction: str | None = None

    @pydantic.field_validator("tasks", mode="before")
    @classmethod
    def _named(cls, tasks: Any) -> Any:
        return named(tasks)

    @pydantic.field_validator("sets", "include_path", mode="before")
    @classmethod
    def _several(cls, value: Any) -> Any:
        return [value] if isinstance(value, str) else value

    @pydantic.model_validator(mode="after")
    def _some(self) -> HarnessSettings:
        none_twice([task.name for task in self.all_tasks])
        if not self.all_tasks:
            raise ValueError("name lm-eval's tasks in `tasks`, or a ready set in `sets`")
        return self

    @property
    def all_tasks(self) -> tuple[HarnessTask, ...]:
        """The tasks that are named, and those of the sets that are not named already."""
        names = {task.name for task in self.tasks}
        of_sets = dict.fromkeys(name for one in self.sets for name in SETS[one])
        wanted = [name for name in of_sets if name not in names]
        return *self.tasks, *(HarnessTask(name=name, **OF_SETS.get(name, {})) for name in wanted)


def judges(settings: HarnessSettings) -> Mapping[str, Any]:
    """The judges that tasks name."""
    return {task.name: task.judge for task in settings.all_tasks if task.judge is not None}


def evaluate(settings: HarnessSettings, subject: Subject) -> list[TaskScore]:
    """The scores of all tasks; a group that lm-eval averages over its items is one.

    Raises:
        ValueError: as `check`; a task's data cannot be had; a metric that is no mean of its items.
    """
    from ppx_ood.harness_live import measured
    from ppx_ood.harness_scores import score_of
    from ppx_ood.harness_tasks import opened

    wanted = opened(settings)  # all of them, before the first request
    return [
        score_of(part, measured(part, settings, subject), subject.judges.get(part.asked.name))
        for part in wanted
    ]


def check(settings: HarnessSettings) -> None:
    """Look for lm-eval and for every task; nothing is downloaded.

    Raises:
        ValueError: lm-eval is not installed; a task is unknown, or runs a model's code.
    """
    from ppx_ood.harness_tasks import find

    find(settings)


def planned(settings: HarnessSettings) -> Mapping[str, Planned] | None:
    """The tasks by their names; None with a group or a tag, whose scores lm-eval names."""
    from ppx_ood.harness_tasks import alone

    if not all(alone(settings, task.name) for task in settings.all_tasks):
        return None
    return {task.name: "target" if task.target else "other" for task in settings.all_tasks}


LM_EVAL = EvalSuite(
    name="lm_eval",
    paper="arXiv 2502.08130",
    settings=HarnessSettings,
    evaluate=evaluate,
    judges=judges,
    check=check,
    planned=planned,
)
