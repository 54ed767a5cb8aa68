"""What a builder made, with where it comes from: shards on disk, and the table of all rows.

A shard is a Parquet file of provenance columns and responses alone; the user's columns join when
all shards are there, so that they are written once and have one type.
"""

from __future__ import annotations

import json
import logging
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ppx_ext.answering import Built, Dropped, Failure, Judgement, Response, Verdict
from ppx_ext.building.golds import Gold
from ppx_ext.examples import GOLD, ROW, SOURCE
from ppx_ext.files import write_atomic

if TYPE_CHECKING:
    import pyarrow as pa

SOURCES = ("own", "paraphrase", GOLD)
RESPONSE, DROPPED = "response", "dropped"
KEPT = (
    SOURCE,
    "ppx_judge",
    "ppx_verdict",
    "ppx_reason",
    "ppx_attempts",
    "ppx_seed",
    "ppx_perplexity",
    "ppx_pass_rate",
)
"""Provenance columns of a built file, beside `ROW`."""

LONGEST_REASON = 200
log = logging.getLogger(__name__)


@dataclass(kw_only=True)
class Counts:
    """What was asked for one shard, and what came of it."""

    requests: int = 0
    failures: Counter[str] = field(default_factory=Counter)
    verdicts: dict[str, Counter[str]] = field(default_factory=dict)
    first_unknown: str = ""

    def answered(self, answers: Iterable[Response | Failure]) -> None:
        """Count what an engine said."""
        for answer in answers:
            self.requests += 1
            if isinstance(answer, Failure):
                self.failures[answer.reason[:LONGEST_REASON]] += 1

    def judged(self, verdicts: Iterable[Verdict]) -> None:
        """Count what judges said."""
        for verdict in verdicts:
            said = self.verdicts.setdefault(verdict.judge, Counter())
            said[verdict.judgement.value] += 1
            if verdict.judgement is Judgement.UNKNOWN and not self.first_unknown:
                self.first_unknown = verdict.reason[:LONGEST_REASON]

    def add(self, other: Counts) -> None:
        """Count what another shard counted."""
        self.requests += other.requests
        self.failures += other.failures
        self.first_unknown = self.first_unknown or other.first_unknown
        for judge, said in other.verdicts.items():
            self.verdicts.setdefault(judge, Counter()).update(said)

    def dump(self) -> dict[str, Any]:
        """As plain JSON values, in a fixed order."""
        verdicts = {judge: dict(sorted(n.items())) for judge, n in sorted(self.verdicts.items())}
        failures = dict(sorted(self.failures.items()))
        return {
            "requests": self.requests,
            "failures": failures,
            "verdicts": verdicts,
            "first_unknown": self.first_unknown,
        }


def load_counts(found: Mapping[str, Any]) -> Counts:
    """What `Counts.dump` wrote."""
    verdicts = {judge: Counter(said) for judge, said in found["verdicts"].items()}
    failures = Counter(found["failures"])
    return Counts(
        requests=found["requests"],
        failures=failures,
        verdicts=verdicts,
        first_unknown=found["first_unknown"],
    )


@dataclass(frozen=True, kw_only=True)
class Shard:
    """The rows of one shard as plain values, in order, with what was counted."""

    lines: Sequence[Mapping[str, Any]]
    counts: Counts


def make_shard(
    rows: Sequence[Gold], results: Sequence[Built | Dropped], counts: Counts, builder: str
) -> Shard:
    """The lines of one shard; rows that were not asked keep their gold.

    Raises:
        ValueError: the builder did not give one known result for each row that it was asked.
    """
    asked = [gold.row for gold in rows if gold.asked is not None]
    if [result.row for result in results] != asked:
        raise ValueError(
            f"the builder {builder!r} was given the rows {asked[:3]}... ({len(asked)}) and gave "
            f"{len(results)} results that are not theirs, in order. This is an error of the builder"
        )
    given = {result.row: result for result in results}
    return Shard(lines=[_line(gold, given.get(gold.row), builder) for gold in rows], counts=counts)


def _line(gold: Gold, result: Built | Dropped | None, builder: str) -> dict[str, Any]:
    line: dict[str, Any] = dict.fromkeys((ROW, RESPONSE, DROPPED, *KEPT))
    line |= {ROW: gold.row, "ppx_attempts": 0}
    if result is None:
        return line | {SOURCE: GOLD, "ppx_reason": f"not asked: {gold.passes}"}
    if isinstance(result, Dropped):
        return line | {DROPPED: result.reason, "ppx_attempts": result.attempts}
    if result.source not in SOURCES:
        raise ValueError(
            f"the builder {builder!r} names the source {result.source!r} for row {gold.row}; there "
            f"are {', '.join(SOURCES)}. This is an error of the builder"
        )
    if not result.response.strip():
        raise ValueError(
            f"the builder {builder!r} gives an empty response for row {gold.row}: it would teach "
            "the model to say nothing. This is an error of the builder"
        )
    verdict = result.verdict
    reasons = [result.note, verdict.reason if verdict else ""]
    value = result.perplexity
    return line | {
        RESPONSE: result.response,
        SOURCE: result.source,
        "ppx_judge": verdict.judge if verdict else None,
        "ppx_verdict": verdict.judgement.value if verdict else None,
        "ppx_reason": "; ".join(filter(None, reasons)) or None,
        "ppx_attempts": result.attempts,
        "ppx_seed": result.seed,
        "ppx_perplexity": value if value is not None and math.isfinite(value) else None,
        "ppx_pass_rate": result.pass_rate,
    }


def _schema() -> pa.Schema:
    import pyarrow as pa

    kinds = {
        ROW: pa.int64(),
        "ppx_attempts": pa.int32(),
        "ppx_seed": pa.int64(),
        "ppx_perplexity": pa.float64(),
        "ppx_pass_rate": pa.float64(),
    }
    names = (ROW, RESPONSE, DROPPED, *KEPT)
    return pa.schema([pa.field(name, kinds.get(name, pa.string())) for name in names])


def write_shard(path: Path, shard: Shard, fingerprint: str) -> None:
    """Write a shard, whole or not at all.

    Raises:
        OSError: there is no room; what is finished stays.
    """
    import pyarrow as pa

    metadata = {"ppx_fingerprint": fingerprint, "ppx_counts": json.dumps(shard.counts.dump())}
    schema = _schema().with_metadata(metadata)
    write_parquet(path, pa.Table.from_pylist(list(shard.lines), schema=schema))


def write_parquet(path: Path, table: pa.Table) -> None:
    """Write a table, whole or not at all."""
    import pyarrow.parquet as pq

    write_atomic(path, lambda file: pq.write_table(table, file, compression="zstd"))


def read_shard(path: Path, rows: Sequence[Gold], fingerprint: str) -> Shard | None:
    """The shard of these rows, or None where it is missing or broken.

    Raises:
        ValueError: it is whole, but of other rows.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    if not path.exists():
        return None
    try:
        table = pq.read_table(path)
        metadata = table.schema.metadata or {}
        counts = load_counts(json.loads(metadata[b"ppx_counts"]))
        lines = table.select(_schema().names).to_pylist()
    except (pa.ArrowException, OSError, KeyError, ValueError) as error:
        log.warning("%s cannot be read (%s): its rows are built again", path, error)
        return None
    wanted = [gold.row for gold in rows]
    if metadata[b"ppx_fingerprint"].decode() != fingerprint or [x[ROW] for x in lines] != wanted:
        raise ValueError(
            f"{path} holds other rows than the {len(rows)} from row {wanted[0]} on (was a file "
            "moved here?). Remove it to have them built again."
        )
    return Shard(lines=lines, counts=counts)


def whole_table(rows: Sequence[Gold], shards: Sequence[Shard]) -> pa.Table:
    """Every row that was not dropped: the user's columns, the target, and where it comes from.

    Raises:
        ValueError: every row was dropped, or a column has no one type.
    """
    import pyarrow as pa

    lines = [line for shard in shards for line in shard.lines]
    kept = [(gold, at) for gold, at in zip(rows, lines, strict=True) if at[DROPPED] is None]
    if not kept:
        first = next(line[DROPPED] for line in lines)
        raise ValueError(f"the builder dropped all {len(lines)} rows (the first: {first})")
    targets = [
        gold.untouched() if line[RESPONSE] is None else gold.target(line[RESPONSE])
        for gold, line in kept
    ]
    users = dict.fromkeys(name for gold, _ in kept for name in gold.columns)
    columns: dict[str, Any] = {
        name: _column(name, [gold.columns.get(name) for gold, _ in kept])
        for name in users
        if name not in targets[0] and name != ROW
    }
    columns |= {name: _column(name, [row[name] for row in targets]) for name in targets[0]}
    for name in (ROW, *KEPT):
        columns[name] = pa.array([line[name] for _, line in kept], _schema().field(name).type)
    return pa.table(columns)


def _column(name: str, values: list[Any]) -> pa.Array:
    import pyarrow as pa

    try:
        return pa.array(values)
    except (pa.ArrowException, OverflowError, TypeError) as error:
        raise ValueError(
            f"the column {name!r} holds values of different kinds, which no table can hold "
            f"({error}). Mend it, or leave it out."
        ) from error
