"""The verdict on each row of a file, kept as they come, so that a killed job goes on."""

from __future__ import annotations

import itertools
import json
import logging
import os
import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ppx_ext.answering import JudgeAll, Judgement, Verdict
from ppx_ext.contracts import Row, Tools
from ppx_ext.files import fingerprint, write_atomic
from ppx_ext.judging.columns import Columns
from ppx_ext.judging.compose import named, open_judges
from ppx_ext.judging.kept import Kept, key_of
from ppx_ext.progress import progress
from ppx_ext.readers import Found, Source, read_rows
from ppx_ext.stages import JudgeStage

ADDED = ("verdict", "reason", "judge")
NAMED = 5
_ROWS_AT_ONCE = 64

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Judged:
    """What was judged.

    Attributes:
        path: the file, with all rows and the columns `ADDED`.
        counts: rows by judge (name and version) and verdict.
        unreadable: places of rows that could not be read and are left out, with the problem.
        kept: rows whose verdict was there from a run before.
    """

    path: Path
    counts: Mapping[tuple[str, str], int]
    unreadable: tuple[str, ...] = ()
    kept: int = 0

    def of(self, judgement: Judgement) -> int:
        """Rows with this verdict."""
        return sum(n for (_, said), n in self.counts.items() if said == judgement.value)

    @property
    def rows(self) -> int:
        """All judged rows."""
        return sum(self.counts.values())


def no_tools(judge: JudgeStage) -> Tools:
    """What is lent where no model is: nothing."""

    def refuse(*asked: Any) -> Any:
        raise ValueError(f"the judge {judge.stage.component.name} asks for scores of a model")

    return Tools(token_scores=refuse)


def judge_file(
    source: Source,
    out: Path,
    judges: Sequence[JudgeStage],
    *,
    lend: Callable[[JudgeStage], Tools] = no_tools,
    columns: Columns | None = None,
    split: str = "train",
) -> Judged:
    """Judge every row of ``source``, and write the rows with `ADDED` to ``out``.

    Verdicts are kept batch by batch in a hidden folder beside ``out``, under the settings and
    versions of the judges and the row's own content; killed at any moment, the next call goes on.
    ``out`` appears whole, in place of what stood there, and the folder goes.

    Args:
        source: rows in any form that can be read twice (`readers.read_rows`).
        out: ends in .jsonl, which is written row by row, or .parquet, for which all rows are held
            in memory.
        judges: in order; see `open_judges`.
        lend: effects for one judge.
        columns: names of the columns; those that are not given are found.
        split: of a folder or hub id that has several.

    Raises:
        ValueError: no row, column or judge can be had; the message says which.
        OSError: something cannot be written. What was judged is kept.
    """
    write = _writer(out, source)
    readable = _survey(source, split)
    there = columns or Columns()
    found = there.found(readable.columns, judges)
    if overwritten := [name for name in ADDED if name in readable.columns]:
        log.warning("columns of the input are written anew: %s", ", ".join(overwritten))
    with open_judges(judges, lend) as judge_all, Kept(_folder(out, judges, found)) as kept:
        before = len(kept)
        _judge(read_rows(source, split=split), readable.rows, found, judge_all, kept)
        counts: Counter[tuple[str, str]] = Counter()
        write(_with_verdicts(read_rows(source, split=split), kept, counts))
    shutil.rmtree(kept.folder)
    return Judged(path=out, counts=counts, unreadable=tuple(readable.problems), kept=before)


@dataclass(kw_only=True, slots=True)
class _Readable:
    rows: int = 0
    columns: dict[str, None] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)


def _survey(source: Source, split: str) -> _Readable:
    """All rows read once: how many there are, with which columns, and which cannot be read."""
    if isinstance(source, Iterator):
        raise ValueError("rows that can be read only once cannot be judged: give a list or a file")
    found = _Readable()
    for one in read_rows(source, split=split):
        if one.row is None:
            found.problems.append(f"{one.where}: {one.problem}")
        else:
            found.rows += 1
            found.columns |= dict.fromkeys(one.row)
    if not found.rows:
        shown = "; ".join(found.problems[:NAMED])
        raise ValueError(f"there is no row to judge{': ' + shown if shown else ''}")
    if found.problems:
        shown = "\n".join(f"  {problem}" for problem in found.problems[:NAMED])
        log.warning("%d rows cannot be read and are left out:\n%s", len(found.problems), shown)
    return found


def _folder(out: Path, judges: Sequence[JudgeStage], columns: Columns) -> Path:
    what = {
        "judges": [[named(one.stage), one.dump()] for one in judges],
        "columns": [columns.response, columns.gold, columns.prompt],
    }
    return out.with_name(f".{out.name}.{fingerprint(what)[:12]}")


def _judge(
    rows: Iterable[Found], total: int, columns: Columns, judge_all: JudgeAll, kept: Kept
) -> None:
    """A verdict for every row that has none yet."""
    said: Counter[str] = Counter()
    size = max(_ROWS_AT_ONCE, 4 * len(os.sched_getaffinity(0)))
    readable = (one.row for one in rows if one.row is not None)
    with progress("judging (rows)", total) as advance:
        while batch := list(itertools.islice(readable, size)):
            keyed = {key_of(row): row for row in batch}
            new = {key: row for key, row in keyed.items() if key not in kept}
            for key, verdict in zip(new, _verdicts(new.values(), columns, judge_all), strict=True):
                kept.add(key, verdict)
                said[verdict.judgement.value] += 1
            kept.sync()
            advance(len(batch), ", ".join(f"{name} {n}" for name, n in sorted(said.items())))


def _verdicts(rows: Iterable[Row], columns: Columns, judge_all: JudgeAll) -> list[Verdict]:
    answers = [columns.answer(row) for row in rows]
    found = iter(judge_all([answer for answer in answers if answer is not None]))
    none = Verdict(
        judgement=Judgement.UNKNOWN, reason=f"the row has no text in {columns.response!r}"
    )
    return [none if answer is None else next(found) for answer in answers]


def _with_verdicts(
    rows: Iterable[Found], kept: Kept, counts: Counter[tuple[str, str]]
) -> Iterator[dict[str, Any]]:
    for one in rows:
        if one.row is not None:
            verdict = kept.get(key_of(one.row))
            counts[verdict["judge"], verdict["verdict"]] += 1
            yield {**one.row, **verdict}


Write = Callable[[Iterator[dict[str, Any]]], None]


def _writer(out: Path, source: Source) -> Write:
    if isinstance(source, str | Path) and out.exists() and out.resolve() == Path(source).resolve():
        raise ValueError(f"{out} is the input itself: give another file to write to")
    if not out.parent.is_dir():
        raise ValueError(f"the folder {out.parent} is not there")
    if out.suffix in (".jsonl", ".ndjson"):
        return lambda rows: write_atomic(out, lambda file: _write_lines(file, rows))
    if out.suffix == ".parquet":
        return lambda rows: _write_parquet(out, list(rows))
    raise ValueError(f"{out}: give a file that ends in .jsonl or .parquet")


def _write_lines(file: Any, rows: Iterator[dict[str, Any]]) -> None:
    for row in rows:
        try:
            text = json.dumps(row, ensure_ascii=False)
        except TypeError as error:
            raise ValueError(f"a row does not fit into JSON ({error}): write a .parquet") from error
        try:
            line = text.encode()
        except UnicodeEncodeError:  # half of a surrogate pair, which only an escape can write
            line = json.dumps(row).encode()
        file.write(line + b"\n")


def _write_parquet(out: Path, rows: list[dict[str, Any]]) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    names = dict.fromkeys(name for row in rows for name in row)
    arrays = {}
    for name in names:
        try:
            arrays[name] = pa.array([row.get(name) for row in rows])
        except (pa.ArrowException, UnicodeEncodeError) as error:
            raise ValueError(
                f"the column {name!r} has values of several kinds, which Parquet cannot hold "
                f"({error}): write a .jsonl"
            ) from error
    write_atomic(out, lambda file: pq.write_table(pa.table(arrays), file))
