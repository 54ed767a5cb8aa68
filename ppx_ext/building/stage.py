"""The build stage: golden rows -> rows in the model's own words, on disk, shard by shard."""

from __future__ import annotations

import json
import logging
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ppx_ext.answering import Built, Dropped
from ppx_ext.building import card, composition, golds, provenance
from ppx_ext.building.checks import ENOUGH_VERDICTS, check_answered, check_judged
from ppx_ext.building.golds import Gold
from ppx_ext.building.job import Job, inputs_of, model_of, settings_of
from ppx_ext.building.lending import Lent, lend
from ppx_ext.building.provenance import Counts, Shard
from ppx_ext.catalog import Catalog
from ppx_ext.contracts import StageRecord
from ppx_ext.effects import Base
from ppx_ext.files import write_json
from ppx_ext.manifest import differences, file_hash, versions
from ppx_ext.plan import Plan
from ppx_ext.progress import Advance, progress
from ppx_ext.rows import Fields

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase as Tokenizer

    from ppx_ext.readers import Source

FILE, RECORD, KEY, SHARDS = "train.parquet", "build.json", "key.json", "shards"
WAIT_SECONDS = 30.0
log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class BuiltRows:
    """A data set that a builder made, on disk and whole.

    Attributes:
        path: the Parquet file: the user's columns, the targets (``messages``, or ``prompt`` and
            ``completion``), ``ppx_row`` and the columns `provenance.KEPT`.
        folder: where it lies, with its card (README.md) and its record (build.json).
        record: what was made, in numbers.
        fingerprint: hash of all that it depends on.
    """

    path: Path
    folder: Path
    record: StageRecord
    fingerprint: str


def build(
    source: Source,
    *,
    plan: Plan,
    catalog: Catalog,
    base: Base,
    tokenizer: Tokenizer,
    root: Path,
    fields: Fields | None = None,
    split: str = "train",
    max_rows: int | None = None,
    command: str = "",
) -> BuiltRows:
    """Have a plan's builder make targets for the rows of ``source``, or find them made.

    The folder is named for all that the result depends on, so that a changed setting, model, row or
    version is another folder. Killed at any moment, the next call goes on: finished shards are
    kept, and within a shard every answer. Of processes that call this at once one builds, and the
    others wait and read.

    Args:
        source: rows in any form (`readers.read_rows`); of a chat the last assistant's turn is the
            gold. Rows that cannot be put to a model (gold tool calls, images) keep their gold and
            are counted in the record.
        plan, catalog: with a ``build`` stage, and the installed methods.
        base, tokenizer: of the run. The base is not loaded for an engine on a server.
        root: below which all built data sets and all answers are kept.
        fields: names of columns; those that are not given are found.
        split: of a folder or hub id that has several.
        max_rows: read only so many rows, from the first on.
        command: for the card: what a reader can run to have the same.

    Raises:
        ValueError: the plan has no builder; rows that are tokenised or built already, or too many
            that cannot be read; no judge or engine can be had; all rows were dropped.
        OSError: something cannot be written. What was finished is kept.
    """
    if plan.build is None:
        raise ValueError("the plan has no `build:` stage")
    before = built_before(source, plan, base)
    if before is not None:
        return before
    rows, read = golds.gather(
        source, plan, tokenizer, fields=fields, split=split, max_rows=max_rows
    )
    lent: dict[str, Any] = {"plan": plan, "catalog": catalog, "base": base, "tokenizer": tokenizer}
    inputs = inputs_of(rows, read, **lent)
    job = Job(
        rows=rows,
        read=read,
        builder=plan.build,
        root=root,
        inputs=inputs,
        command=command,
        **lent,
    )
    built = _once(job)
    catalog.stage_finished(built.record)
    return built


def built_before(source: Source, plan: Plan, base: Base) -> BuiltRows | None:
    """What `build` made, given as its own source: found as it is, by the record beside it.

    None where ``source`` is anything else.

    Raises:
        ValueError: it was built by other settings, another model or another seed.
    """
    if not isinstance(source, str | Path) or not (Path(source).parent / RECORD).is_file():
        return None
    path = Path(source)
    about = json.loads((path.parent / RECORD).read_text(encoding="utf-8"))
    if path.name != FILE or not path.is_file():
        return None
    now = {"build": settings_of(plan), "model": model_of(plan, base), "seed": plan.seed}
    then = {key: about["inputs"][key] for key in now}
    if then != now:
        lines = "\n".join(f"  {line}" for line in differences(then, now))
        raise ValueError(
            f"{path} was built otherwise:\n{lines}\nGive the rows that it was built from, or take "
            "`build:` out of the recipe to train on these."
        )
    log.info("%s is built already, by the very same settings", path)
    record = StageRecord(**about["record"])
    return BuiltRows(path=path, folder=path.parent, record=record, fingerprint=record.fingerprint)


def _once(job: Job) -> BuiltRows:
    """Build where nothing is built yet; other processes wait for the one that does."""
    from filelock import FileLock, Timeout

    job.folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(job.folder / ".lock")
    while True:
        try:
            lock.acquire(timeout=WAIT_SECONDS)
            break
        except Timeout:
            log.info("another process builds %s; waiting for it", job.folder)
    try:
        found = _finished(job)
        if found is None:
            _build(job)
            found = _finished(job)
        assert found is not None
        return found
    finally:
        lock.release()


def _finished(job: Job) -> BuiltRows | None:
    """What lies in the folder, if it is whole."""
    path, about = job.folder / FILE, job.folder / RECORD
    if not about.exists() or not path.exists():
        return None
    found = json.loads(about.read_text(encoding="utf-8"))
    if file_hash(path) != found["hash"]:
        log.warning("%s is not what was written there: it is built again", path)
        return None
    record = StageRecord(**found["record"])
    return BuiltRows(path=path, folder=job.folder, record=record, fingerprint=job.fingerprint)


def _build(job: Job) -> None:
    started = time.perf_counter()
    size = _shard_rows(job)
    parts = [job.rows[at : at + size] for at in range(0, len(job.rows), size)]
    shards = _shards(job, parts)
    table = provenance.whole_table(job.rows, shards)
    whole = Counts()
    for shard in shards:
        whole.add(shard.counts)
    check_judged(whole, at_least=1)
    numbers = composition.numbers_of(
        job.rows, shards, published=job.builder.component.published, read=job.read
    )
    if failed := sum(numbers["failures"].values()):
        log.warning(
            "%d of %d requests were not answered, and their rows did without. To ask for them "
            "again, remove %s: all answers that came are kept",
            failed,
            numbers["requests"],
            job.folder,
        )
    provenance.write_parquet(job.folder / FILE, table)
    record = StageRecord(
        stage="build",
        component=job.builder.component.name,
        fingerprint=job.fingerprint,
        settings=settings_of(job.plan),
        numbers=numbers,
    )
    about = card.about(
        record,
        paper=job.builder.component.paper,
        inputs=job.inputs,
        versions=versions(),
        command=job.command,
    )
    card.write(job.folder, about, table.column_names)
    write_json(job.folder / "timings.json", {"seconds": time.perf_counter() - started})
    write_json(job.folder / RECORD, {**about, "hash": file_hash(job.folder / FILE)})
    for at in range(len(parts)):
        _path(job, at).unlink(missing_ok=True)


def _shard_rows(job: Job) -> int:
    """Rows between two writes. A folder that exists keeps its own number."""
    path = job.folder / KEY
    if not path.exists():
        write_json(path, {**job.inputs, "shard_rows": job.plan.shard_rows})
    return int(json.loads(path.read_text(encoding="utf-8"))["shard_rows"])


def _path(job: Job, shard: int) -> Path:
    return job.folder / SHARDS / f"{shard:05d}.parquet"


def _shards(job: Job, parts: list[list[Gold]]) -> list[Shard]:
    """Every shard: read where it is there, made where it is not."""
    (job.folder / SHARDS).mkdir(exist_ok=True)
    kept = [provenance.read_shard(_path(job, at), p, job.fingerprint) for at, p in enumerate(parts)]
    if all(kept):
        return [shard for shard in kept if shard is not None]
    told = composition.Told([shard for shard in kept if shard is not None])
    with (
        progress(f"building {job.builder.component.name} (rows)", len(job.rows)) as advance,
        lend(
            job.plan,
            base=job.base,
            tokenizer=job.tokenizer,
            root=job.root,
            columns=dict.fromkeys(name for gold in job.rows for name in gold.columns),
            answered=lambda answer: told.answered(advance),
        ) as lent,
    ):
        advance(sum(len(p) for p, shard in zip(parts, kept, strict=True) if shard), told.note())
        return [
            shard or _made(job, at, part, lent, told, advance)
            for at, (part, shard) in enumerate(zip(parts, kept, strict=True))
        ]


def _made(
    job: Job, at: int, part: list[Gold], lent: Lent, told: composition.Told, advance: Advance
) -> Shard:
    counts = Counts()
    asked = [gold.asked for gold in part if gold.asked is not None]
    builder = job.builder.component
    results: list[Built | Dropped] = []
    if asked:
        results = list(builder.build(job.builder.settings, asked, lent.counted(counts)))
    check_answered(counts, part, job.plan.max_skipped_share)
    check_judged(counts, at_least=ENOUGH_VERDICTS)
    shard = provenance.make_shard(part, results, counts, builder.name)
    provenance.write_shard(_path(job, at), shard, job.fingerprint)
    told.made(shard)
    advance(len(part), told.note())
    return shard
