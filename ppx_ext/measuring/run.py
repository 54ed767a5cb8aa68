"""A recipe's rows, measured in several ways: the table, the file, and the recipe for a column."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from ppx_ext.catalog import Catalog
from ppx_ext.contracts import ExampleScorer
from ppx_ext.examples import CHUNK_ROWS, ROW, Examples
from ppx_ext.files import write_atomic
from ppx_ext.measured import measure_rows
from ppx_ext.measuring.numbers import Measure, Table
from ppx_ext.plan import PlanError
from ppx_ext.stages import Stage, stage_of
from ppx_ext.tokens import end_of_turn_ids

if TYPE_CHECKING:
    from ppx_ext.contracts import Places
    from ppx_ext.pipeline import Tokenized

By: TypeAlias = str | Mapping[str, Any]
"""A measure as a recipe's `by` names it."""

TARGETS = "ppx_targets"


def measure_table(
    asked: Sequence[By], tokenized: Callable[[By | None], Tokenized], catalog: Catalog
) -> Table:
    """Measure rows in every way that is asked for; none asked for takes the recipe's own.

    Scores are kept where the hosts keep theirs, so that training reads them.

    Args:
        asked: measures.
        tokenized: gives the recipe's rows, with the columns that a measure reads.
        catalog: the installed methods.

    Raises:
        ValueError: a measure is unknown or asked for twice, or as `measure_rows`.
    """
    rows = tokenized(None)
    own = rows.plan.measure
    stages = _stages(asked, catalog) if asked else {_label(_own(own)): _own(own)}
    first = _examples(rows)
    measures = []
    for label, stage in stages.items():
        reads = stage.component.columns(stage.settings)
        absent = any(name not in rows.dataset.column_names for name in reads)
        found = tokenized(stage.dump()) if absent else rows
        measures.append(_measured(label, stage, found, first))
    row_N, targets_N = _places(first)
    return Table(row_N=row_N, targets_N=targets_N, measures=measures)


def _own(stage: Stage[ExampleScorer] | None) -> Stage[ExampleScorer]:
    if stage is None:
        raise ValueError(
            "the recipe has no `choose:` that would name a measure: give --by, for instance "
            "--by response_length"
        )
    return stage


def _stages(asked: Sequence[By], catalog: Catalog) -> dict[str, Stage[ExampleScorer]]:
    problems: list[str] = []
    found: dict[str, Stage[ExampleScorer]] = {}
    for by in asked:
        example = "response_length"
        stage = stage_of(by, "--by", catalog, "measure", ExampleScorer, problems, example=example)
        if stage is not None and _label(stage) in found:
            problems.append(f"--by: {_label(stage)} is asked for twice")
        elif stage is not None:
            found[_label(stage)] = stage
    if problems:
        raise PlanError(problems)
    return found


def _label(stage: Stage[ExampleScorer]) -> str:
    """The name of a measure, and the values of the settings that are not its defaults."""
    given = stage.settings.model_dump(exclude_defaults=True)
    words = [stage.component.name, *(str(value) for value in given.values())]
    return re.sub(r"\W+", "_", "_".join(words)).strip("_")


def _examples(rows: Tokenized) -> Examples:
    return Examples(dataset=rows.dataset, ends=end_of_turn_ids(rows.tokenizer))


def _measured(label: str, stage: Stage[ExampleScorer], rows: Tokenized, first: Examples) -> Measure:
    examples = _examples(rows)
    if examples.dataset is not first.dataset and examples.fingerprint() != first.fingerprint():
        raise ValueError("the data changed while they were read; run the command again")
    measured = measure_rows(
        stage,
        examples,
        plan=rows.plan,
        catalog=rows.catalog,
        base=rows.base,
        tokenizer=rows.tokenizer,
        root=_store(rows),
    )
    return Measure(label=label, unit=stage.component.unit, score_N=measured.score_N)


def _store(rows: Tokenized) -> Path:
    from datasets import config

    return rows.plan.cache_dir or Path(config.HF_DATASETS_CACHE) / "ppx"


def _places(examples: Examples) -> tuple[Places, Places]:
    starts = range(0, len(examples), CHUNK_ROWS)
    chunks = [examples.chunk(start, start + CHUNK_ROWS) for start in starts]
    rows = np.concatenate([chunk.rows_N for chunk in chunks])
    return rows, np.concatenate([chunk.targets_N for chunk in chunks])


@contextmanager
def with_measure(recipe: Path, by: By) -> Iterator[Path]:
    """A copy of a recipe that chooses by another measure, so that its host reads its columns."""
    import yaml

    block = yaml.safe_load(recipe.read_text(encoding="utf-8"))
    # Which sampler it is plays no part: nothing is chosen.
    block["ppx"] = {**block["ppx"], "choose": {"use": "budget", "band": "easy", "by": by}}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / recipe.name
        path.write_text(yaml.safe_dump(block, allow_unicode=True), encoding="utf-8")
        yield path


def write(table: Table, path: Path) -> None:
    """Write Parquet that `ppx select` reads: row, target tokens, and a column for each measure.

    A row that could not be measured has no number (null).

    Raises:
        OSError: it cannot be written.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns = {ROW: pa.array(table.row_N), TARGETS: pa.array(table.targets_N)}
    for one in table.measures:
        columns[one.label] = pa.array(one.score_N, mask=~np.isfinite(one.score_N))
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, lambda file: pq.write_table(pa.table(columns), file, compression="zstd"))
