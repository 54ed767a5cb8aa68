"""Evaluations on disk: scores as JSON, and each item with its prompt and response as Parquet.

Layout, in the folder of a run (``ppx_eval.json`` holds all that numbers are made of)::

    ppx_eval.json              {"schema", "evaluation", "evaluations": [record, ...], "cost"?}
    ppx_eval/<step>-<when>.parquet    one row an item: `COLUMNS`

A record has ``when`` (``before``, ``during``, ``after``), ``step``, ``seconds``, ``scores`` (of
tasks), ``texts`` (perplexities), ``items`` (its Parquet file, from the folder on), and what the
caller adds. Every write leaves whole files behind, or those that were there.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ppx_ext.eval_plan import Evaluation
from ppx_ext.files import write_atomic
from ppx_ext.records import EVAL_FILE, SCHEMA, evaluation_record, load_scores, write_text
from ppx_ext.suites import Score, TaskScore

ITEMS = "ppx_eval"
WHEN = ("before", "during", "after")
COLUMNS = ("task", "target", "item", "correct", "nll", "tokens", "prompt", "gold", "response",
           "readings", "more")  # fmt: skip
"""``correct`` and ``readings`` are null for texts, ``nll`` and ``tokens`` for tasks; ``more`` is a
JSON object of whatever else a suite tells of an item."""

Json = Mapping[str, Any]


class Evaluations:
    """What was measured in the course of one run, in its folder.

    Args:
        folder: of the run; made where it lacks.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.path = folder / EVAL_FILE

    def start(self, evaluation: Evaluation, *, step: int = 0) -> list[Json]:
        """Begin, or go on with a run from ``step``; gives the records that are kept.

        A run from step 0 starts afresh. One that goes on keeps what was measured up to its step;
        what came later belonged to steps that are made anew. A last evaluation that others follow
        is one ``during`` the run.

        Raises:
            ValueError: what was measured before was measured with other suites.
        """
        known = self.read() if step and self.path.is_file() else None
        kept: list[Json] = []
        if known is not None:
            self._check_same(known["evaluation"], evaluation.dump())
            kept = [_on_the_way(one) for one in known["evaluations"] if one["step"] <= step]
            kept = list({(one["step"], one["when"]): one for one in kept}.values())
        cost = {"cost": known["cost"]} if known and "cost" in known else {}
        self._write({"evaluation": evaluation.dump(), "evaluations": kept, **cost})
        self._clear(kept)
        return kept

    def _check_same(self, before: Json, now: Json) -> None:
        if suites_of(before) != suites_of(now):
            raise ValueError(
                f"{self.path}: what is there was measured with other suites, so that nothing new "
                "can be compared with it. Go on with the `eval:` it began with, or take another "
                "folder"
            )

    def go_on(self, evaluation: Evaluation) -> list[Json]:
        """Begin, or go on with whatever was measured here; gives the records that are there.

        Raises:
            ValueError: they were measured with other suites.
        """
        if not self.path.is_file():
            return self.start(evaluation)
        content = self.read()
        self._check_same(content["evaluation"], evaluation.dump())
        self._write({**content, "evaluation": evaluation.dump()})
        return list(content["evaluations"])

    def add(
        self,
        *,
        when: str,
        step: int,
        scores: Sequence[Score],
        seconds: float,
        epoch: float | None = None,
        name: str | None = None,
        **more: Any,
    ) -> dict[str, Any]:
        """Write one evaluation; one of the same ``when``, ``step`` and ``name`` is replaced.

        Args:
            when: ``before``, ``during`` or ``after``.
            step, epoch: of training, at which it was measured.
            scores: with their items, which go to Parquet.
            seconds: that it took.
            name: of the model, where one folder has several of one step.
            **more: plain JSON values, added to the record.

        Returns:
            The record.
        """
        content = self.read()
        stem = f"{step}-{when}" if name is None else f"{step}-{when}-{_plain(name)}"
        items = f"{ITEMS}/{stem}.parquet"
        record = evaluation_record(
            scores, when=when, step=step, seconds=seconds, epoch=epoch, items=items, **more
        )
        if name is not None:
            record["name"] = name
        write_items(self.folder / items, scores)
        others = [one for one in content["evaluations"] if _key(one) != _key(record)]
        self._write({**content, "evaluations": [*others, record]})
        return record

    def update(self, **keys: Any) -> None:
        """Write further keys beside the evaluations, for instance ``cost``."""
        self._write({**self.read(), **keys})

    def read(self) -> dict[str, Any]:
        """The content of ``ppx_eval.json``.

        Raises:
            ValueError: there is none, or it is none of ours.
        """
        return read_evaluations(self.folder)

    def _write(self, content: Json) -> None:
        # Compact: item results are long lists of single digits.
        text = json.dumps({"schema": SCHEMA, **content}, ensure_ascii=False, allow_nan=False)
        write_text(self.path, text + "\n")

    def _clear(self, kept: Sequence[Json]) -> None:
        """Remove items of evaluations that are no more; nothing else that lies there."""
        named = {one.get("items") for one in kept}
        for when in WHEN:
            for path in sorted((self.folder / ITEMS).glob(f"*-{when}*.parquet")):
                if f"{ITEMS}/{path.name}" not in named:
                    path.unlink()


def suites_of(evaluation: Json) -> list[Json]:
    """The suites of a dumped evaluation, without what decides no score: the size of batches."""
    return [
        {key: value for key, value in suite.items() if key != "batch_size"}
        for suite in evaluation["suites"]
    ]


def _key(record: Json) -> tuple[Any, ...]:
    return record["when"], record["step"], record.get("name")


def _on_the_way(record: Json) -> Json:
    return {**record, "when": "during"} if record["when"] == "after" else record


def _plain(name: str) -> str:
    """A name as a part of a file's name."""
    return "".join(letter if letter.isalnum() or letter in "._-" else "-" for letter in name)


def read_evaluations(folder: Path) -> dict[str, Any]:
    """The content of the ``ppx_eval.json`` in ``folder``.

    Raises:
        ValueError: there is none, or it is none of ours.
    """
    path = folder / EVAL_FILE
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ValueError(
            f"{folder} has no {EVAL_FILE}: nothing was measured there. A run with an `eval:` stage "
            "writes one, and so does `ppx eval --out`"
        ) from None
    except (OSError, ValueError) as error:
        raise ValueError(f"{path} cannot be read: {error}") from error
    if not isinstance(content, dict) or content.get("schema") != SCHEMA:
        raise ValueError(f"{path} is not of schema {SCHEMA}; measure anew with this version")
    for record in content["evaluations"]:
        load_scores(record)
    return content


# --------------------------------------------------------------------------------------- items


def write_items(path: Path, scores: Sequence[Score]) -> None:
    """Every item of every score as one row of a Parquet file, in order; see `COLUMNS`."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = [row for score in scores for row in _rows(score)]
    table = pa.Table.from_pylist(rows, schema=_schema())
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, lambda file: pq.write_table(table, file, compression="zstd"))


def read_items(path: Path) -> list[dict[str, Any]]:
    """The rows that `write_items` wrote.

    Raises:
        ValueError: there is no such file, or it is none of these.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(path)
    except (OSError, pa.ArrowException) as error:
        raise ValueError(f"{path} cannot be read: {error}") from error
    if table.column_names != list(COLUMNS):
        raise ValueError(f"{path} holds no items of an evaluation: {table.column_names}")
    rows: list[dict[str, Any]] = table.to_pylist(maps_as_pydicts="strict")
    return rows


def _schema() -> Any:
    import pyarrow as pa

    kinds = {
        "target": pa.bool_(),
        "item": pa.int64(),
        "correct": pa.float64(),
        "nll": pa.float64(),
        "tokens": pa.int64(),
        "readings": pa.map_(pa.string(), pa.float64()),
    }
    return pa.schema([(name, kinds.get(name, pa.string())) for name in COLUMNS])


_TEXTS = ("prompt", "gold", "response")


def _rows(score: Score) -> Iterator[dict[str, Any]]:
    values = score.correct if isinstance(score, TaskScore) else score.nll
    for item in range(len(values)):
        columns = {name: entries[item] for name, entries in score.items.items()}
        row: dict[str, Any] = {name: _text(columns.pop(name, None)) for name in _TEXTS}
        row |= {"task": score.task, "item": item, "target": False}
        if isinstance(score, TaskScore):
            readings = {name: float(found[item]) for name, found in score.readings.items()}
            row |= {"target": score.target, "correct": float(score.correct[item])}
            row |= {"readings": readings}
        else:
            row |= {"nll": float(score.nll[item]), "tokens": int(score.tokens[item])}
        row["more"] = _text(columns) if columns else None
        yield row


def _text(value: Any) -> str | None:
    """A text as it is; a chat, a list of golds or anything else as JSON."""
    if value is None or isinstance(value, str):
        return value
    return json.dumps(value, ensure_ascii=False, default=str)
