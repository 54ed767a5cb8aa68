"""Results of pilots: short trainings on so many rows from a band of difficulty, with a seed."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pydantic

from ppx_ext.files import write_atomic
from ppx_ext.readers import read_rows
from ppx_ext.stages import validate

ENDINGS = (".csv", ".json", ".jsonl", ".ndjson", ".parquet")
_SHOWN = 10


class Pilot(pydantic.BaseModel):
    """One result.

    Attributes:
        examples: rows trained on; 0 is the untouched base.
        low, high: quantiles of difficulty that they were drawn from, in [0, 1].
        seed: of the draw and of the training.
        value: what was measured on held-out rows.
        kind: ``band``, ``random`` or ``all`` (drawn from all rows, or all of them), or ``base``.
            Without it, it is told by ``examples`` and by the quantiles.
        lower_is_better: where a file says so of its values, as one that `write` wrote of losses.
    """

    model_config = pydantic.ConfigDict(extra="ignore", frozen=True)

    examples: int = pydantic.Field(default=0, ge=0)
    low: float = pydantic.Field(default=0.0, ge=0.0, le=1.0)
    high: float = pydantic.Field(default=1.0, ge=0.0, le=1.0)
    seed: int = 0
    value: float = pydantic.Field(allow_inf_nan=False)
    kind: Literal["band", "random", "all", "base"] = "band"
    lower_is_better: bool = False

    @pydantic.model_validator(mode="before")
    @classmethod
    def _told_by_the_rest(cls, row: Any) -> Any:
        given = {key: value for key, value in dict(row).items() if value not in (None, "")}
        if "kind" not in given:
            needed = {"examples", "low", "high", "seed"} - given.keys()
            if needed:
                raise ValueError(f"{', '.join(sorted(needed))}: missing")
            whole = str(given["low"]) in ("0", "0.0") and str(given["high"]) in ("1", "1.0")
            given["kind"] = "random" if whole else "band"
        return given

    @pydantic.model_validator(mode="after")
    def _consistent(self) -> Pilot:
        if not self.low < self.high:
            raise ValueError(f"low {self.low} is not below high {self.high}")
        if self.kind in ("random", "all") and (self.low, self.high) != (0.0, 1.0):
            raise ValueError(
                f"kind {self.kind!r} has low 0 and high 1, not {self.low}, {self.high}"
            )
        if (self.kind == "base") != (self.examples == 0):
            raise ValueError("examples is at least 1, and 0 for kind 'base' alone")
        return self

    @property
    def middle(self) -> float:
        """Middle quantile of the band."""
        return (self.low + self.high) / 2


@dataclass(frozen=True, kw_only=True)
class Results:
    """Pilots that were measured in one way.

    Attributes:
        metric: what ``value`` is, for people.
        lower_is_better: as it is for a loss.
    """

    pilots: tuple[Pilot, ...]
    metric: str = "value"
    lower_is_better: bool = False

    @property
    def sign(self) -> int:
        """Times a value: larger is better."""
        return -1 if self.lower_is_better else 1


def read(path: Path) -> tuple[Pilot, ...]:
    """The pilots in a Parquet, CSV, JSON or JSONL file; columns are the fields of `Pilot`.

    Raises:
        ValueError: each wrong row with its place and key; a pilot that is there twice; no pilot.
    """
    if path.suffix not in ENDINGS:
        raise ValueError(f"{path}: results of pilots are read from {', '.join(ENDINGS)} files")
    problems: list[str] = []
    found: dict[tuple[Any, ...], str] = {}
    pilots = []
    for where, row in _rows(path):
        if isinstance(row, str):
            problems.append(f"{where}: {row}")
            continue
        pilot = validate(Pilot, dict(row), where, problems)
        if pilot is None:
            continue
        key = (pilot.examples, pilot.low, pilot.high, pilot.seed)
        if key in found:
            problems.append(
                f"{where}: seed {pilot.seed} of {pilot.examples} examples in [{pilot.low}, "
                f"{pilot.high}] is there already, at {found[key]}"
            )
        found.setdefault(key, where)
        pilots.append(pilot)
    _refuse(path, problems, pilots)
    return tuple(pilots)


def write(path: Path, results: Results) -> None:
    """Write the pilots as CSV, as `read` reads them."""
    text = io.StringIO()
    lines = csv.DictWriter(text, list(Pilot.model_fields), lineterminator="\n")
    lines.writeheader()
    sign = {"lower_is_better": results.lower_is_better}
    lines.writerows({**pilot.model_dump(), **sign} for pilot in results.pilots)
    write_atomic(path, lambda file: file.write(text.getvalue().encode()))


def _refuse(path: Path, problems: Sequence[str], pilots: Sequence[Pilot]) -> None:
    if problems:
        more = len(problems) - _SHOWN
        lines = [*problems[:_SHOWN], *([f"and {more} more"] if more > 0 else [])]
        raise ValueError(
            f"{path}: {len(problems)} wrong row(s):\n" + "\n".join(f"  {line}" for line in lines)
        )
    if not pilots:
        raise ValueError(f"{path} holds no pilot")
    if len({pilot.lower_is_better for pilot in pilots}) > 1:
        raise ValueError(f"{path}: lower_is_better is true in some rows and not in others")


def _rows(path: Path) -> Iterator[tuple[str, Mapping[str, Any] | str]]:
    if path.suffix == ".csv":
        yield from _csv(path)
    elif path.suffix == ".parquet":
        yield from _numbered(path, _parquet(path))
    else:
        for found in read_rows(path):
            yield found.where, found.problem if found.row is None else found.row


def _numbered(
    path: Path, rows: Iterable[Mapping[str, Any]]
) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for at, row in enumerate(rows):
        yield f"{path.name}, row {at}", row


def _parquet(path: Path) -> list[dict[str, Any]]:
    import pyarrow as pa
    from pyarrow import parquet

    try:
        rows: list[dict[str, Any]] = parquet.read_table(path).to_pylist()
    except (pa.ArrowException, OSError) as error:
        raise ValueError(f"{path} cannot be read as Parquet: {error}") from error
    return rows


def _csv(path: Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            lines = csv.DictReader(file)
            for row in lines:
                where = f"{path.name}:{lines.line_num}"
                yield where, {key: value for key, value in row.items() if key is not None}
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not UTF-8 text: {error}") from error
    except csv.Error as error:
        raise ValueError(f"{path} cannot be read as CSV: {error}") from error
