"""Pilots, one training each by the recipe's own host, in a process of its own; resumable."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ppx_ext import manifest, plan
from ppx_ext.advising.advice import Question
from ppx_ext.advising.grid import (
    Grid,
    Job,
    Metric,
    block_of,
    fingerprint_of,
    run_folder,
    settings_of,
)
from ppx_ext.advising.outcome import Outcome, measured
from ppx_ext.advising.pilots import Pilot, Results
from ppx_ext.catalog import Catalog
from ppx_ext.files import write_json
from ppx_ext.progress import progress
from ppx_ext.recipes import Recipe
from ppx_ext.records import write_text

SCHEMA = 1
_GRACE = 10.0
_SHOWN = 3


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What is run.

    Attributes:
        by: the measure of difficulty, as `choose.by` names it.
        metric: of a pilot; None is the accuracy of an `eval:` stage's target tasks, and the
            evaluation loss where there is no such stage.
        max_failures: so many pilots may fail before the rest is given up.
        examples: the budget that is asked for, to find out with the first pilot that there are
            fewer rows.
    """

    recipe: Recipe
    grid: Grid
    out: Path
    by: Any = "response_length"
    data: str | None = None
    model: str | None = None
    metric: Metric | None = None
    max_failures: int = 3
    examples: int | None = None


@dataclass(frozen=True, kw_only=True)
class Ran:
    """What came out.

    Attributes:
        rows: that there were to choose from.
        failed: names of pilots that failed, each with what its log ends with.
        notes: what pilots told of, for instance fewer rows than were asked for.
    """

    results: Results
    rows: int
    failed: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def told(self) -> list[str]:
        """Failures and notes, as caveats."""
        more = len(self.notes) - _SHOWN
        return [
            *(f"A pilot is missing: {line}" for line in self.failed),
            *self.notes[:_SHOWN],
            *([f"{more} more pilots told of the same kind."] if more > 0 else []),
        ]


def run(wanted: Wanted, catalog: Catalog) -> Ran:
    """Run all pilots that are not finished, and read all of them.

    Raises:
        ValueError: the recipe is wrong, too many pilots failed (each is named with its log), a
            run writes no value, or another `ppx budget` works in the folder.
    """
    from filelock import FileLock, Timeout

    jobs = list(wanted.grid.jobs())
    metric = _metric(wanted, jobs[0], catalog)
    (wanted.out / "pilots").mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(wanted.out / ".lock", timeout=0), _ended_by_term():
            outcomes, failed = _run_all(wanted, jobs, metric)
    except Timeout:
        raise ValueError(f"another `ppx budget` works in {wanted.out}") from None
    if not outcomes:
        raise ValueError(f"no pilot came through:\n{_lines(failed)}")
    return Ran(
        results=_results(outcomes, metric),
        rows=max(one.rows for one in outcomes),
        failed=tuple(failed),
        notes=(*_steps_note(wanted), *(note for one in outcomes for note in one.notes)),
    )


def _steps_note(wanted: Wanted) -> tuple[str, ...]:
    steps = wanted.recipe.settings.get("max_steps") or 0
    if steps <= 0:
        return ()
    return (
        f"The recipe trains for {steps} steps, whatever the budget: smaller budgets are seen more "
        "often, so that budgets differ in repetition and not in training.",
    )


def _metric(wanted: Wanted, job: Job, catalog: Catalog) -> Metric:
    """Check the block once, before anything is trained."""
    found = plan.parse(block_of(wanted.recipe, job, wanted.by), catalog)
    if wanted.metric == "accuracy" and found.eval is None:
        raise plan.PlanError(
            ["ppx.eval: is not there, so that there is no accuracy; name a suite with a target "
             "task, for instance `use: tasks`, or give --metric eval_loss"]
        )  # fmt: skip
    return wanted.metric or ("accuracy" if found.eval else "eval_loss")


def _run_all(
    wanted: Wanted, jobs: Sequence[Job], metric: Metric
) -> tuple[list[Outcome], list[str]]:
    outcomes: list[Outcome] = []
    failed: list[str] = []
    with progress("pilots", len(jobs)) as advance:
        for job in jobs:
            found = _finished(wanted, job, metric)
            if found is None:
                advance(0, job.name)
                try:
                    found = _train(wanted, job, metric)
                except OSError as error:
                    failed.append(str(error))
            advance(1, job.name)
            if found is not None:
                outcomes.append(found)
                Question(examples=wanted.examples or 1, rows=found.rows)  # refuses too few rows
            if len(failed) > wanted.max_failures:
                raise ValueError(
                    f"{len(failed)} pilots failed (--max-failures {wanted.max_failures}):\n"
                    f"{_lines(failed)}\nFinished ones are kept; run the same command again."
                )
    return outcomes, failed


def _lines(failed: Sequence[str]) -> str:
    return "\n".join(f"  {line}" for line in failed)


def _settings(wanted: Wanted, job: Job, metric: Metric) -> tuple[dict[str, Any], str]:
    settings = settings_of(wanted.recipe, job, wanted.by, metric=metric, out=wanted.out)
    # Where its files lie plays no part.
    key = {name: value for name, value in settings.items() if name not in ("output_dir",)}
    key["dataset_prepared_path"] = None
    key["ppx"] = {**settings["ppx"], "cache_dir": None}
    return settings, fingerprint_of(key, data=wanted.data, model=wanted.model, metric=metric)


def _file(wanted: Wanted, job: Job) -> Path:
    return wanted.out / "pilots" / f"{job.name}.json"


def _finished(wanted: Wanted, job: Job, metric: Metric) -> Outcome | None:
    path = _file(wanted, job)
    if not path.is_file():
        return None
    found = json.loads(path.read_text(encoding="utf-8"))
    _, mark = _settings(wanted, job, metric)
    if found.get("schema") != SCHEMA or found["fingerprint"] != mark:
        return None
    return Outcome(**{**found["outcome"], "notes": tuple(found["outcome"]["notes"])})


def _train(wanted: Wanted, job: Job, metric: Metric) -> Outcome:
    """Train one pilot, read its value, write it down, and remove its weights.

    Raises:
        OSError: the training failed.
        ValueError: it did not, but left no value.
    """
    settings, mark = _settings(wanted, job, metric)
    folder = run_folder(wanted.out, job)
    for old in folder.parent.glob(f"{job.name}.run-*"):  # of one that was cut short
        shutil.rmtree(old, ignore_errors=True)
    recipe = wanted.out / "pilots" / f"{job.name}.{wanted.recipe.host}.yaml"
    write_text(recipe, _yaml(settings))
    log = recipe.with_name(f"{job.name}.log")
    command = [sys.executable, "-m", "ppx_ext", "train", str(recipe), "--out", str(folder)]
    for flag, value in (("--data", wanted.data), ("--model", wanted.model)):
        command += [] if value is None else [flag, value]
    began = time.perf_counter()
    code = _call(command, log)
    if code:
        raise OSError(f"{job.name} failed (exit code {code}): {_last_word(log)} (see {log})")
    found = measured(folder, job, metric)
    content = {"schema": SCHEMA, "fingerprint": mark, "versions": manifest.versions()}
    more = {"outcome": found.dump(), "seconds": time.perf_counter() - began, "command": command}
    write_json(_file(wanted, job), {**content, **more})
    shutil.rmtree(folder)
    return found


def _call(command: Sequence[str], log: Path) -> int:
    """Exit code of a command in a session of its own, which ends with us."""
    with log.open("wb") as file:
        child = None
        try:
            with _held():
                child = subprocess.Popen(
                    command, stdout=file, stderr=subprocess.STDOUT, start_new_session=True
                )
            return child.wait()
        except BaseException:
            # Hosts start processes of their own: all of the session goes.
            if child is None:
                raise
            with contextlib.suppress(ProcessLookupError):
                os.killpg(child.pid, signal.SIGTERM)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    child.wait(_GRACE)
                os.killpg(child.pid, signal.SIGKILL)
            raise


@contextlib.contextmanager
def _held() -> Iterator[None]:
    """Hold back signals while a child is started, or it would be left to itself, unknown."""
    came: list[int] = []
    before = {}
    with contextlib.suppress(ValueError):  # not in the main thread, where none comes
        for number in (signal.SIGTERM, signal.SIGINT):
            before[number] = signal.signal(number, lambda number, frame: came.append(number))
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    for late in came:
        signal.raise_signal(late)


@contextlib.contextmanager
def _ended_by_term() -> Iterator[None]:
    """Let SIGTERM unwind, so that the pilot that runs ends too."""

    def leave(number: int, frame: object) -> None:
        sys.exit(128 + number)

    try:
        before = signal.signal(signal.SIGTERM, leave)
    except ValueError:  # not in the main thread: the caller's own business
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _last_word(log: Path) -> str:
    lines = [line.strip() for line in log.read_text(errors="replace").splitlines() if line.strip()]
    said = [line for line in lines if line.startswith("Error:")]
    return (said or lines or ["it said nothing"])[-1][:500]


def _yaml(settings: dict[str, Any]) -> str:
    import yaml

    return str(yaml.safe_dump(settings, sort_keys=False))


def _results(outcomes: Sequence[Outcome], metric: Metric) -> Results:
    """Each run once: budgets that a band falls short of are all the same run of its rows."""
    base = next((one.base for one in outcomes if one.base is not None), None)
    runs = {(one.examples, one.low, one.high, one.seed): one.pilot for one in reversed(outcomes)}
    pilots = list(reversed(runs.values()))
    if base is not None:
        pilots.append(Pilot(kind="base", value=base))
    return Results(
        pilots=tuple(pilots), metric=metric.replace("_", " "), lower_is_better=metric == "eval_loss"
    )
