"""`ppx judge`: what was asked for as judges with their engine, put to work on a file."""

from __future__ import annotations

import contextlib
import dataclasses
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ppx_ext.answering import Generator, Judgement, LentModel
from ppx_ext.catalog import Catalog
from ppx_ext.contracts import Tools
from ppx_ext.judging import Columns, Judged, judge_file
from ppx_ext.judging.files import no_tools
from ppx_ext.stages import JudgeStage, Stage, judges_of

ENGINE = "generator"


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What a command line asks for.

    Attributes:
        judges: names, in order.
        settings: ``KEY=VALUE``: of the judge, or ``JUDGE.KEY=VALUE`` where there are several;
            ``generator.KEY=VALUE`` of the engine. Values are read as YAML.
        generator: name of the engine that judges ask, if any does.
        model: that the engine runs, or that its server knows.
    """

    judges: tuple[str, ...]
    settings: tuple[str, ...] = ()
    generator: str | None = None
    model: str | None = None


def run(source: str, out: Path, wanted: Wanted, *, columns: Columns, catalog: Catalog) -> Judged:
    """Judge a file; see `judging.judge_file`.

    Raises:
        ValueError: settings are wrong, all of them named; or no judge or engine can be had.
    """
    judges = stages(wanted, catalog)
    answers = out.with_name(f".{out.name}.answers")
    with _lent(judges[0].generator, wanted.model, answers) as lend:
        judged = judge_file(source, out, judges, lend=lend, columns=columns)
    shutil.rmtree(answers, ignore_errors=True)
    return judged


def stages(wanted: Wanted, catalog: Catalog) -> tuple[JudgeStage, ...]:
    """The judges with checked settings, and with their engine where one is named.

    Raises:
        ValueError: something is unknown or wrong; all of it is named.
    """
    blocks: dict[str, dict[str, Any]] = {name: {"use": name} for name in wanted.judges}
    engine: dict[str, Any] = {}
    for written in wanted.settings:
        _set(blocks, engine, written)
    if engine and wanted.generator is None:
        raise ValueError("settings of an engine are given, but none is named: --generator NAME")
    if wanted.generator is not None:
        for block in blocks.values():
            block[ENGINE] = {"use": wanted.generator, **engine}
    problems: list[str] = []
    found = judges_of(list(blocks.values()), "judge", catalog, problems)
    if problems:
        raise ValueError("\n".join(dict.fromkeys(problems)))
    return found


def _set(blocks: dict[str, dict[str, Any]], engine: dict[str, Any], written: str) -> None:
    key, equals, value = written.partition("=")
    path = key.strip().split(".")
    if not equals or not all(path):
        raise ValueError(f"--set {written}: give KEY=VALUE, for instance --set seconds=10")
    if path[0] == ENGINE and len(path) > 1:
        into = engine
        path = path[1:]
    elif path[0] in blocks and len(path) > 1:
        into = blocks[path[0]]
        path = path[1:]
    elif len(blocks) == 1:
        (into,) = blocks.values()
    else:
        raise ValueError(
            f"--set {written}: of which judge? Write --set {next(iter(blocks))}.{key}=..., one of "
            f"{', '.join(blocks)}"
        )
    for part in path[:-1]:
        into = into.setdefault(part, {})
    into[path[-1]] = _value(value)


def _value(text: str) -> Any:
    """A value of a command line: YAML's numbers, yes and no, [lists] and {mappings}; else text."""
    import yaml

    try:
        found = yaml.safe_load(text)
    except yaml.YAMLError:
        return text
    # `####` is no comment here, and `A:` no mapping.
    plain = isinstance(found, bool | int | float) or text.strip() == "null"
    return found if plain or text.lstrip()[:1] in ("[", "{") else text


Lend = Callable[[JudgeStage], Tools]


@contextlib.contextmanager
def _lent(engine: Stage[Generator] | None, model: str | None, folder: Path) -> Iterator[Lend]:
    """Lend every judge the engine; it is opened now, so that its absence is known at once."""
    if engine is None:
        if model is not None:
            raise ValueError("--model is for an engine: name one with --generator")
        yield no_tools
        return
    from ppx_ext.generation import open_generator

    lent, known = _model(engine, model)
    with ExitStack() as opened:
        asker = opened.enter_context(open_generator(engine, lent, folder, fingerprint=known))
        asker.preflight()
        yield lambda judge: dataclasses.replace(no_tools(judge), generate=asker)


def _model(engine: Stage[Generator], name: str | None) -> tuple[LentModel, str]:
    """The model behind an engine, with the hash of all that is known of it."""
    from ppx_ext import effects
    from ppx_ext.building.lending import model_known
    from ppx_ext.plan import Scoring

    used = engine.component.name
    if engine.component.remote:
        name = name or getattr(engine.settings, "model", None)
    if name is None:
        more = f" (or --set {ENGINE}.model=NAME)" if engine.component.remote else ""
        raise ValueError(f"which model is the engine {used!r} to run? Give --model{more}")
    base = effects.base_from_path(name, scoring=Scoring())
    tokenizer: Any = None if engine.component.remote else _tokenizer(name)
    lent = LentModel(name=name, load=base.load, tokenizer=tokenizer)
    return lent, model_known(engine.component, base, tokenizer)


def _tokenizer(name: str) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(name)


def show(judged: Judged) -> None:
    """The counts as a table for the terminal, and what was left out."""
    from rich.console import Console
    from rich.table import Table

    table = Table(title=f"{judged.rows} rows judged")
    for column in ("judge", *(each.value for each in Judgement)):
        table.add_column(column, justify="left" if column == "judge" else "right")
    for judge in sorted({name for name, _ in judged.counts}):
        table.add_row(judge or "none", *(_cell(judged.counts, judge, each) for each in Judgement))
    shares = (f"{judged.of(each)} ({judged.of(each) / judged.rows:.1%})" for each in Judgement)
    table.add_row("all", *shares)
    console = Console()
    console.print(table)
    if judged.unreadable:
        console.print(f"{len(judged.unreadable)} rows could not be read and are left out.")


def _cell(counts: Mapping[tuple[str, str], int], judge: str, judgement: Judgement) -> str:
    return str(counts.get((judge, judgement.value), 0))
