"""The judges that suites ask for, open for as long as a model is measured, or a whole training."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from ppx_ext.answering import Failure, Generator, JudgeAll, LentModel, Request, Response
from ppx_ext.contracts import Tools
from ppx_ext.stages import JudgeStage, Stage

if TYPE_CHECKING:
    from ppx_ext.eval_plan import Evaluation

Judges: TypeAlias = tuple[Mapping[str, JudgeAll], ...]
"""Of each suite, in order: its judges by the names it gives them."""

Generate: TypeAlias = Callable[[Sequence[Request]], "list[Response | Failure]"]


@contextlib.contextmanager
def opened(evaluation: Evaluation, *, folder: Path | None = None) -> Iterator[Judges]:
    """Open every judge of an evaluation; before training, so that what lacks is known at once.

    Args:
        evaluation: its suites name the judges.
        folder: where the answers of judges' engines are kept, so that nothing is asked twice, in
            this run or the next one; None keeps them only as long as the judges are open.

    Raises:
        ValueError: a judge cannot judge here (no sandbox, no server, no engine), or would have to
            ask the model that is measured; with the mend.
    """
    with ExitStack() as stack:
        engines = _Engines(folder, stack)
        yield tuple(
            {name: _open(stages, engines, stack) for name, stages in suite.judges.items()}
            for suite in evaluation.suites
        )


def _open(stages: tuple[JudgeStage, ...], engines: _Engines, stack: ExitStack) -> JudgeAll:
    from ppx_ext.judging.compose import open_judges

    return stack.enter_context(open_judges(stages, engines.tools_of))


class _Engines:
    """Engines of judges by their settings, each opened once."""

    def __init__(self, folder: Path | None, stack: ExitStack) -> None:
        self._folder = folder
        self._stack = stack
        self._open: dict[str, Generate] = {}

    def tools_of(self, judge: JudgeStage) -> Tools:
        from ppx_ext.judging.files import no_tools

        none = no_tools(judge)
        if judge.generator is None:
            # None, not a refusal: a judge that needs an engine says so when it is opened.
            return none
        return dataclasses.replace(none, generate=self._of(judge.generator, judge))

    def _of(self, stage: Stage[Generator], judge: JudgeStage) -> Generate:
        from ppx_ext.generation import open_generator

        key = json.dumps(stage.dump(), sort_keys=True)
        if key not in self._open:
            name = _model_of(stage, judge)
            model = LentModel(name=name, load=_no_model, tokenizer=None)
            lent = open_generator(stage, model, self._kept(), fingerprint=name)
            asker = self._stack.enter_context(lent)
            asker.preflight()
            self._open[key] = asker
        return self._open[key]

    def _kept(self) -> Path:
        if self._folder is None:
            made = tempfile.TemporaryDirectory(prefix="ppx-judges-")
            self._folder = Path(self._stack.enter_context(made))
        return self._folder


def _model_of(stage: Stage[Generator], judge: JudgeStage) -> str:
    """The model behind an engine of a judge's own, by the name that its server knows."""
    engine = stage.component.name
    who = f"the judge {judge.stage.component.name!r}"
    if not stage.component.remote:
        raise ValueError(
            f"{who} asks the engine {engine!r}, which runs the model that is measured: it would "
            "grade itself. Give the judge a server with another model: generator: {use: openai, "
            "base_url: ..., model: NAME}"
        )
    name = getattr(stage.settings, "model", None)
    if not name:
        raise ValueError(
            f"{who} asks the engine {engine!r} without saying for which model, which would be the "
            "one that is measured: it would grade itself. Name another with generator.model"
        )
    return str(name)


def _no_model() -> Any:
    raise RuntimeError("a judge's engine asked for the model that is measured")
