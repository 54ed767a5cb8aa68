"""The `eval:` stage in trainers of the transformers family: before, while and after they train."""

from __future__ import annotations

import atexit
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from transformers import TrainerCallback

from ppx_ext.evaluating import apart, measure
from ppx_ext.evaluating.due import Due
from ppx_ext.evaluating.during import Course
from ppx_ext.evaluating.judges import Judges, opened
from ppx_ext.evaluating.processes import Gather, Team
from ppx_ext.evaluating.store import ITEMS
from ppx_ext.evaluating.told import scalars
from ppx_ext.evaluating.undisturbed import undisturbed
from ppx_ext.suites import Score, Subject

if TYPE_CHECKING:
    from ppx_ext.eval_plan import Evaluation

_CHANGES = ("eval_ppx_average_drop", "eval_ppx_ti", "eval_ppx_bwt")


class SuiteCallback(TrainerCallback):
    """Measures the model before the first step, every so often, and after the last one.

    Numbers go through ``trainer.log``, so that every tracker has them: ``eval_<task>_accuracy``,
    ``eval_<task>_<reading>``, ``eval_<task>_perplexity``, ``eval_ppx_average_drop``,
    ``eval_ppx_ti``, ``eval_ppx_bwt``, ``eval_ppx_seconds``. The host's own evaluation gets those of
    its step, so that ``metric_for_best_model`` may name one; where it does, its model is measured
    at each of the host's evaluations. Every item's result is in ``ppx_eval.json`` and
    ``ppx_eval/`` in the output folder.

    What fails before the first step stops the run. A later failure costs no training: it is told
    loudly, noted in ``ppx_eval.json``, and the next evaluation is tried again.

    Args:
        evaluation: what the recipe asks for.
        trainer: whose model is measured.
        say: shows a line to the user.
        trust_remote_code: run code that comes with a checkpoint, where one is measured apart.
    """

    def __init__(
        self,
        evaluation: Evaluation,
        trainer: Any,
        *,
        say: Callable[[str], None] = print,
        trust_remote_code: bool = False,
    ) -> None:
        self.evaluation = evaluation
        self._trainer = trainer
        self._say = say
        self._trust = trust_remote_code
        self._run: _Run | None = None

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Measure the untouched model; a run that goes on keeps what was measured then.

        Raises:
            ValueError: a judge cannot be had, the gate speaks of a task that is not measured, or
                the run goes on and its beginning was not measured.
        """
        self._close()
        self._run = run = _Run(self, Path(args.output_dir), state)
        atexit.register(self._close)  # where training ends with an error, its end is not told
        try:
            run.open()
            if not run.course.begin(state.global_step):
                scores, seconds = run.measured()
                run.course.baseline(scores, seconds=seconds)
                self._log(scores, seconds, state, control)
        except BaseException:
            self._close()
            raise

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Measure the model where it is due."""
        run = self._run
        if run is not None and run.due.now(step=state.global_step, epoch=state.epoch):
            self._measure(run, state, control)

    def on_evaluate(
        self, args: Any, state: Any, control: Any, metrics: Any = None, **kwargs: Any
    ) -> None:
        """Give the host's own evaluation the numbers of this step."""
        run = self._run
        if run is None or metrics is None:
            return
        wanted = f"eval_{(args.metric_for_best_model or '').removeprefix('eval_')}"
        if wanted in {*run.numbers, *_CHANGES} and run.step != state.global_step:
            self._measure(run, state, control)
        if run.step == state.global_step:
            metrics.update(run.numbers)

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Measure the trained model, and end with the weights that the recipe wants.

        Nothing is raised: the host saves the model afterwards.
        """
        run = self._run
        if run is None:
            return
        try:
            if run.step != state.global_step or _swapped(args, state):
                self._measure(run, state, control)
            final = run.course.end(self._trainer.model, step=state.global_step)
            if final is not None and final.step != state.global_step:
                self._log(final.scores, 0.0, state, control)
        except Exception as error:
            run.course.failed(error, step=state.global_step, seconds=0.0)
        finally:
            self._close()

    def _measure(self, run: _Run, state: Any, control: Any) -> None:
        start, step = time.perf_counter(), state.global_step
        try:
            scores, seconds = run.measured()
            found = run.course.add(
                scores, step=step, epoch=state.epoch, seconds=seconds, model=self._trainer.model
            )
        except Exception as error:
            run.course.failed(error, step=step, seconds=time.perf_counter() - start)
            return
        self._log(scores, seconds, state, control)
        gate = self.evaluation.gate
        if found.breached and gate is not None and gate.on_breach != "warn":
            control.should_training_stop = True

    def _log(self, scores: Any, seconds: float, state: Any, control: Any) -> None:
        assert self._run is not None
        numbers = scalars(self._run.course.before, scores)
        self._run.numbers, self._run.step = numbers, state.global_step
        # To log sets the host's own wish to log aside; TRL keeps what it averages by the mode.
        wished, model = control.should_log, self._trainer.model
        with undisturbed(model, self._run.tokenizer):
            model.eval()
            self._trainer.log({**numbers, "eval_ppx_seconds": seconds})
        control.should_log = wished

    def _close(self) -> None:
        atexit.unregister(self._close)
        if self._run is not None:
            self._run.close()
            self._run = None


class _Run:
    """One training, from its first step to its last."""

    def __init__(self, of: SuiteCallback, folder: Path, state: Any) -> None:
        self.numbers: dict[str, float] = {}
        self.step: int | None = None
        self.tokenizer = _text_part(of._trainer.processing_class)
        self.team = Team()
        self.due = Due(of.evaluation.every, state.epoch)
        self.course = Course(of.evaluation, folder=folder, team=self.team, say=of._say)
        self._judges = ExitStack()
        self._of, self._folder = of, folder
        self._lent: Judges = ()
        sharded = of.evaluation.where == "auto" and apart.sharded(of._trainer) is not None
        self._apart = sharded or of.evaluation.where == "apart"

    def open(self) -> None:
        """Have the judges ready in each process."""
        if not self._apart:
            self._lent = self.team.together(lambda gather: self._opened())

    def close(self) -> None:
        """Let the judges and the other processes go."""
        self._judges.close()
        self.team.close()

    def _opened(self) -> Judges:
        kept = self._folder / ITEMS / f"judges-{self.team.rank}"
        return self._judges.enter_context(opened(self._of.evaluation, folder=kept))

    def measured(self) -> tuple[list[Score], float]:
        """The scores of the model as it is now, and the seconds that they took."""
        start = time.perf_counter()
        with undisturbed(self._of._trainer.model, self.tokenizer):
            scores = self._apart_scores() if self._apart else self.team.together(self._here)
        return scores, time.perf_counter() - start

    def _here(self, gather: Gather) -> list[Score]:
        trainer, team = self._of._trainer, self.team
        subject = Subject(
            model=trainer.model,
            tokenizer=self.tokenizer,
            rank=team.rank,
            processes=team.size,
            gather=gather,
        )
        trainer.model.eval()
        with trainer.accelerator.autocast():
            return measure(self._of.evaluation, subject, self._lent)

    def _apart_scores(self) -> list[Score]:
        return apart.scores_of(
            self._of._trainer,
            self.tokenizer,
            self._of.evaluation,
            self.team,
            self._folder,
            trust_remote_code=self._of._trust,
        )


def _text_part(processor: Any) -> Any:
    return getattr(processor, "tokenizer", processor)


def _swapped(args: Any, state: Any) -> bool:
    """Whether the host ends with the weights of another step than its last."""
    best = getattr(state, "best_global_step", None)
    kept = state.best_model_checkpoint is not None
    return bool(args.load_best_model_at_end and kept and best != state.global_step)
