"""``ppx demo``: plain fine-tuning, STM and S3FT on an embedded model, measured and judged.

Protocol (`jobs.Settings` says how its settings were chosen):

* The base is a two-million-parameter Llama that knows ten small tasks, one of them (the target)
  only in part. Gold answers of the target are right, but worded as the base would not word them.
* Three arms: plain SFT; STM, which is SFT with the mask `stm` at 2.5; S3FT, which is SFT on rows
  that the base has built: its own answer where that is right, else its paraphrase of the gold
  where that is, else the gold. Same trainer class (`PpxSFTTrainer`), same questions, seeds, order
  and settings (`jobs.Settings`). The `ppx:` block is the only difference.
* Seeds vary the adapter's first weights and the order of the rows; rows and items are fixed.
* Every model answers the same held-out items, greedily; an answer is right where its final answer
  is, however worded. The base is measured once.
* An arm is judged on the target and on the mean of the other tasks. A difference counts where an
  exact sign-flip test over seeds and a paired bootstrap over items both find it at 5 %. Six seeds
  are the fewest with which the former can; eight is what fits in a few minutes.

Whatever comes out is what is printed.
"""

from __future__ import annotations

import concurrent.futures
import dataclasses
import importlib.metadata
import multiprocessing
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ppx_ext import report
from ppx_ext.demo.jobs import Job, Settings, perform, quiet_worker
from ppx_ext.demo.material import DATA_ROWS, Material, embedded, from_data, question
from ppx_ext.records import SCHEMA, load_score, write_json
from ppx_ext.study import Arm, Run, Study, dump_study

BASE = Path(__file__).parent / "base"
ARMS = ("SFT", "STM", "S3FT")
DEFAULT_SEEDS = 8
BUILD_BATCH = 100
EXAMPLES = ("reverse", "add")
_VERSIONS = ("ppx-ext", "trl", "transformers", "peft", "torch", "numpy", "scipy")
Json = dict[str, Any]


def run(
    out: Path,
    *,
    seeds: int | Sequence[int] = DEFAULT_SEEDS,
    data: str | Path | None = None,
    rows: int | None = None,
    fields: Mapping[str, str] | None = None,
    settings: Settings | None = None,
    base: Path = BASE,
    workers: int | None = None,
) -> Json:
    """Run the demo into ``out`` and return the content of its report.json.

    Args:
        out: a folder for report.json, report.html and what they are made of.
        seeds: how many (0, 1, ...), or which.
        data: learn these rows in place of the embedded target (anything that
            `rows.canonical_rows` reads).
        rows: train on so many rows; by default `Settings.train_rows`, and `DATA_ROWS` of ``data``,
            whose responses can be long.
        fields: names of its columns (`prompt` and `response`, or `messages`), if unclear.
        settings: how to train and measure.
        base: folder of the base model.
        workers: processes side by side, one thread each; by default one for each core.

    Raises:
        ValueError: no seed, no base model at ``base``, or unusable ``data``.
    """
    began = time.perf_counter()
    chosen = tuple(range(seeds)) if isinstance(seeds, int) else tuple(seeds)
    settings = settings or Settings()
    if not chosen:
        raise ValueError("give at least one seed")
    if not (base / "config.json").is_file():
        raise ValueError(f"{base} holds no model; make one: python -m ppx_ext.demo.make_base")
    if rows is not None or data is not None:
        settings = dataclasses.replace(settings, train_rows=rows or DATA_ROWS)
    material = embedded(settings) if data is None else from_data(data, settings, fields)
    out.mkdir(parents=True, exist_ok=True)
    jobs = list(_jobs(material, chosen, settings, base, out))
    results = _perform(jobs, out, workers or len(os.sched_getaffinity(0)))
    write_json(
        out / report.STUDY_FILE,
        {
            "schema": SCHEMA,
            "title": material.title,
            "warnings": list(material.warnings),
            "study": dump_study(_study(results)),
            "stages": [stage for arm in ARMS for stage in _first(results, arm)["stages"]],
            "examples": _examples(material, results, chosen[0]),
            "repeat": _repeat(chosen, data, settings),
        },
    )
    report.write(out)
    found = report.collect(out)
    from ppx_ext.demo.show import show

    show(found, out=out, seconds=time.perf_counter() - began)
    return found


def _jobs(
    material: Material, seeds: Sequence[int], settings: Settings, base: Path, out: Path
) -> Iterator[Job]:
    build = _builder(material)
    mask = {"use": "stm", "ppl_threshold": settings.ppl_threshold}
    # The base builds while the first arms train: nobody waits for it.
    stages = {"base": build, "SFT": {}, "STM": {"mask": mask}, "S3FT": build}
    for arm in ("base", *ARMS):
        for seed in seeds[:1] if arm == "base" else seeds:
            yield Job(
                arm=arm,
                seed=seed,
                base=base,
                out=out / "runs" / f"{arm}-{seed}",
                store=out / "scores",
                settings=settings,
                stages=stages[arm],
                train=material.train,
                held_out=material.held_out,
                tasks=material.tasks,
            )


def _builder(material: Material) -> Json:
    """S3FT as a recipe would ask for it: greedy, judged as the target is graded."""
    target = next(task for task in material.tasks if task.target)
    # Its own trial of what is faster takes longer than so small a model needs.
    engine = {"use": "transformers", "batch_size": BUILD_BATCH, "batching": "padded"}
    own = {"judge": dict(material.judge), "generator": engine}
    return {"build": {"use": "s3ft", "max_new_tokens": target.max_new_tokens, **own}}


def _first(results: Sequence[Json], arm: str) -> Json:
    return next(found for found in results if found["arm"] == arm)


def _perform(jobs: Sequence[Job], out: Path, workers: int) -> list[Json]:
    """All results, in the order of ``jobs``."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    log = out / "log.txt"
    log.unlink(missing_ok=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with (
        concurrent.futures.ProcessPoolExecutor(
            max_workers=min(workers, len(jobs)),
            mp_context=multiprocessing.get_context("spawn"),
            initializer=quiet_worker,
            initargs=(log,),
        ) as pool,
        Progress(*columns, TimeElapsedColumn()) as progress,
    ):
        bar = progress.add_task("training and measuring", total=len(jobs))
        futures = [pool.submit(perform, job) for job in jobs]
        for future in concurrent.futures.as_completed(futures):
            if error := future.exception():
                pool.shutdown(wait=False, cancel_futures=True)
                job = jobs[futures.index(future)]
                raise ValueError(f"{job.arm}, seed {job.seed}: {error} (see {log})") from error
            progress.advance(bar)
    return [future.result() for future in futures]


def _study(results: Sequence[Json]) -> Study:
    def runs(arm: str) -> tuple[Run, ...]:
        return tuple(
            Run(
                seed=found["seed"],
                numbers=found["numbers"],
                scores=tuple(map(load_score, found["scores"])),
            )
            for found in results
            if found["arm"] == arm
        )

    return Study(base=runs("base")[0], arms=tuple(Arm(name=arm, runs=runs(arm)) for arm in ARMS))


def _examples(material: Material, results: Sequence[Json], seed: int) -> list[Json]:
    """The first held-out question of some tasks, with every model's answer (the first seed's)."""
    found = [result for result in results if result["seed"] in (None, seed)]
    shown = [task for task in material.tasks if task.target or task.name in EXAMPLES]
    return [
        {
            "task": task.name,
            "prompt": question(task.prompts[0]),
            "right": task.golds[0],
            "answers": {result["arm"]: result["answers"][task.name] for result in found},
        }
        for task in shown
    ]


def _repeat(seeds: Sequence[int], data: str | Path | None, settings: Settings) -> Json:
    given = f" --data {data} --rows {settings.train_rows}" if data else ""
    consecutive = list(seeds) == list(range(len(seeds)))
    return {
        "command": f"ppx demo --seeds {len(seeds)}{given}" if consecutive else None,
        "protocol": (
            "The arms differ in their `ppx:` block alone (none, a mask, a builder): same trainer "
            "class, questions, seeds, order and settings. Seeds vary the adapter's first weights "
            "and the order of the rows; rows and test items are fixed. Answers are greedy and "
            "graded by their final answer."
        ),
        "seeds": list(seeds),
        "settings": dataclasses.asdict(settings),
        "versions": {name: _version(name) for name in _VERSIONS},
    }


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None
