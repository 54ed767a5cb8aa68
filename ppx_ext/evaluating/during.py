"""What is measured in the course of one training run: written down, held against the gate, kept.

Nothing here knows a trainer. Every process of a run goes through the same calls; the first writes.
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ppx_ext import gates
from ppx_ext.eval_plan import Evaluation
from ppx_ext.evaluating import told
from ppx_ext.evaluating.kept import KeptWeights
from ppx_ext.evaluating.processes import Team
from ppx_ext.evaluating.store import Evaluations
from ppx_ext.records import load_scores
from ppx_ext.suites import Score, TaskScore

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Measured:
    """One evaluation of the run; ``checked`` is None without a gate."""

    step: int
    scores: Sequence[Score]
    checked: gates.Checked | None = None

    @property
    def breached(self) -> bool:
        """Whether more was forgotten than the gate allows."""
        return self.checked is not None and not self.checked.ok


class Course:
    """The evaluations of one run, in its folder.

    Args:
        evaluation: what the recipe asks for.
        folder: of the run.
        team: its processes.
        say: shows a line to the user, in the first process.
    """

    def __init__(
        self, evaluation: Evaluation, *, folder: Path, team: Team, say: Callable[[str], None]
    ) -> None:
        self.evaluation = evaluation
        self.before: Sequence[Score] = ()
        self.last: Measured | None = None
        self._team = team
        self._say = say if team.first else lambda line: None
        self._store = Evaluations(folder)
        self._kept = KeptWeights(folder)
        self._found: list[Measured] = []
        self._best: Measured | None = None
        self._failures: list[dict[str, Any]] = []
        self._earlier: Mapping[str, float] = {}
        self._began = time.perf_counter()
        self._seconds = 0.0

    @property
    def keeps(self) -> bool:
        """Whether the run may end with other weights than those of its last step."""
        gate = self.evaluation.gate
        return self.evaluation.keep == "best" or bool(gate and gate.on_breach == "restore_best")

    # ------------------------------------------------------------------------------- beginning

    def begin(self, step: int) -> bool:
        """Start afresh at step 0, or go on from ``step``; True where the base was measured then.

        Raises:
            ValueError: a run goes on whose untouched model was never measured, or with other
                suites.
        """
        records = self._team.alone(lambda: self._store.start(self.evaluation, step=step))
        self._earlier = self._team.alone(lambda: self._store.read().get("cost", {}))
        self._began = time.perf_counter()
        found = [(record, load_scores(record)) for record in records]
        self.before = next((one for record, one in found if record["when"] == "before"), ())
        if step and not self.before:
            raise ValueError(
                f"this run goes on from step {step}, and {self._store.path} has no evaluation of "
                "the untouched model: without it nothing tells what was forgotten. Put the "
                "`ppx_eval.json` of the run's beginning there; or start afresh, without "
                "`resume_from_checkpoint`; or take `eval:` out"
            )
        self._found = [
            self._checked(record["step"], one)
            for record, one in found
            if record["when"] != "before"
        ]
        self._find_kept(step)
        return bool(self.before)

    def _find_kept(self, step: int) -> None:
        kept = self._team.alone(self._kept.step)
        self._best = next((one for one in self._found if one.step == kept), None)
        if kept is not None and self._best is None:
            if step:
                self._say(f"ppx: weights kept at step {kept} are of no step before {step}: dropped")
            self._team.alone(self._kept.clear)

    def baseline(self, scores: Sequence[Score], *, seconds: float) -> None:
        """Write down what the untouched model scores.

        Raises:
            ValueError: the gate or ``keep: best`` asks for a task that is not measured.
        """
        if self.evaluation.gate is not None:
            gates.check_tasks(self.evaluation.gate, scores)
        if self.evaluation.keep == "best":
            gates.best(scores, [scores], None)
        self.before = scores
        self._write("before", Measured(step=0, scores=scores), epoch=0.0, seconds=seconds)
        for sentence in told.undefined(scores):
            self._say(f"ppx: {sentence}")

    # ----------------------------------------------------------------------------------- on the way

    def add(self, scores: Sequence[Score], *, step: int, epoch: float, seconds: float, model: Any) \
            -> Measured:  # fmt: skip
        """Write an evaluation down, hold it against the gate, and keep its weights if best."""
        self.last = self._checked(step, scores)
        self._found = [one for one in self._found if one.step != step] + [self.last]
        self._write("during", self.last, epoch=epoch, seconds=seconds)
        if self.last.breached:
            assert self.last.checked is not None
            self._warn(f"ppx: step {step}: {self.last.checked.words}{self._consequence()}")
        if self.keeps:
            rivals = [one for one in (self._best, self.last) if one is not None]
            if self._choice(rivals)[0] is self.last:
                self._team.alone(lambda: self._kept.save(model, step))
                self._best = self.last
        return self.last

    def _consequence(self) -> str:
        assert self.evaluation.gate is not None
        ways = {"warn": "", "stop": " Training stops.", "restore_best": " Training stops."}
        return ways[self.evaluation.gate.on_breach]

    def _checked(self, step: int, scores: Sequence[Score]) -> Measured:
        gate = self.evaluation.gate
        checked = None if gate is None else gates.check(gate, self.before, scores)
        return Measured(step=step, scores=scores, checked=checked)

    def failed(self, error: Exception, *, step: int, seconds: float) -> None:
        """An evaluation that failed after training began costs no training: told, and noted."""
        self._seconds += seconds
        said = f"{type(error).__name__}: {error}"
        self._failures.append({"step": step, "error": said})
        self._warn(
            f"ppx: the evaluation at step {step} FAILED, and training goes on without it: {said}"
        )
        log.error("the evaluation at step %d failed", step, exc_info=error)
        if self._team.first:
            with contextlib.suppress(OSError):  # what was trained is worth more than this note
                self._store.update(failures=self._failures)

    # -------------------------------------------------------------------------------------- the end

    def end(self, model: Any, *, step: int) -> Measured | None:
        """Choose the weights that the run ends with, and put them into the model.

        Returns:
            The evaluation of those weights; None where the last one failed.
        """
        last = final = self.last if self.last is not None and self.last.step == step else None
        if self._found and self._ends_with_best(last):
            final = self._end_with_best(last, model)
        if final is not None:
            self._team.alone(lambda: self._mark(final, restored=final is not last))
        self._tell_cost()
        return final

    def _ends_with_best(self, last: Measured | None) -> bool:
        breached = self.keeps and last is not None and last.breached
        return self.evaluation.keep == "best" or breached

    def _end_with_best(self, last: Measured | None, model: Any) -> Measured | None:
        chosen, words = self._choice(self._found)
        words = words[:1].upper() + words[1:]
        ends = last
        if chosen is None:
            self._warn(f"ppx: {words} The run ends with the weights of its last step.")
        elif chosen is last or chosen is self._best:
            if chosen is not last:
                self._kept.restore(model, self._team)
            self._say(f"ppx: the run ends with the weights of step {chosen.step}. {words}")
            ends = chosen
        else:
            self._warn(
                f"ppx: {words} Its weights were not kept, as other limits held then; the run ends "
                "with those of its last step."
            )
        note = {"step": ends and ends.step, "restored": ends is not last, "words": words}
        self._team.alone(lambda: self._store.update(kept=note))
        return ends

    def _choice(self, found: Sequence[Measured]) -> tuple[Measured | None, str]:
        """The best target score within the gate; with no target, the latest within it.

        The untouched model is no candidate: ending with it would look like a trained model.
        """
        gate, names = self.evaluation.gate, [f"step {one.step}" for one in found]
        if any(isinstance(score, TaskScore) and score.target for score in self.before):
            best = gates.best(self.before, [one.scores for one in found], gate, names=names)
            return None if best.at is None else found[best.at], best.words
        within = [one for one in found if not one.breached]
        if not within:
            return None, "No evaluation is within the limits of forgetting."
        return within[-1], f"step {within[-1].step} is the last one within the limits."

    def _mark(self, final: Measured, *, restored: bool) -> None:
        records = self._store.read()["evaluations"]
        own = next(one for one in records if _is(one, "during", final.step))
        after = {**own, "when": "after"}
        if restored:
            records.append({**after, "seconds": 0.0, "restored": True})
        else:
            records[records.index(own)] = after
        self._store.update(evaluations=records)

    # -------------------------------------------------------------------------------------- telling

    def _write(self, when: str, measured: Measured, *, epoch: float, seconds: float) -> None:
        self._seconds += seconds
        more: dict[str, Any] = {} if measured.checked is None else {"gate": measured.checked.dump()}

        def write() -> None:
            self._store.add(
                when=when, step=measured.step, epoch=epoch, scores=measured.scores,
                seconds=seconds, **more,
            )  # fmt: skip
            self._store.update(cost=self.cost())

        self._team.alone(write)
        said = told.line(when, measured.step, self.before, measured.scores, seconds=seconds)
        self._say(f"ppx: {said}")

    def cost(self) -> dict[str, float]:
        """Seconds of evaluation, of training without it, and the former as a share of the latter.

        They add up over all parts of a run that was resumed.
        """
        training = time.perf_counter() - self._began - self._seconds
        seconds = self._seconds + self._earlier.get("seconds", 0.0)
        training = max(training, 0.0) + self._earlier.get("training_seconds", 0.0)
        share = seconds / training if training else 0.0
        return {"seconds": seconds, "training_seconds": training, "share": share}

    def _tell_cost(self) -> None:
        cost = self.cost()
        self._team.alone(lambda: self._store.update(cost=cost))
        failed = f"; {len(self._failures)} evaluation(s) FAILED" if self._failures else ""
        self._say(
            f"ppx: evaluation took {cost['seconds']:.1f} s, {100 * cost['share']:.1f} % of the "
            f"{cost['training_seconds']:.1f} s of training{failed}. {self._store.path}"
        )

    def _warn(self, line: str) -> None:
        if self._team.first:
            log.warning(line)


def _is(record: Mapping[str, Any], when: str, step: int) -> bool:
    return bool(record["when"] == when and record["step"] == step)
