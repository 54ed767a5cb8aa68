"""`python -m tests.benchmarks [NAME ...] [--json FILE]`: measure, and print one table."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tests.benchmarks.result import Result, as_json, measure, names


def table(results: list[Result]) -> Table:
    shown = Table(title="Speed and memory: each a comparison within one run, on one thread")
    for column in ("id", "what", "measured", "goal", "stretch", "reached", "note"):
        shown.add_column(column, overflow="fold")
    signs = {"more": ">=", "less": "<="}
    for each in sorted(results, key=lambda result: result.id):
        sign = signs[each.better]
        shown.add_row(
            each.id,
            each.what,
            f"{each.value:.3g} {each.unit}",
            f"{sign} {each.goal:g}",
            "" if each.stretch is None else f"{sign} {each.stretch:g}",
            each.mark,
            each.note,
        )
    return shown


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of: {', '.join(names())}")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the results there too")
    given = parser.parse_args()
    if unknown := set(given.names) - set(names()):
        parser.error(f"no benchmark {', '.join(sorted(unknown))}; there are: {', '.join(names())}")
    results: list[Result] = []
    for name in given.names or names():
        began = time.perf_counter()
        results += measure(name)
        print(f"{name}: {time.perf_counter() - began:.0f} s", file=sys.stderr)
    Console(width=None if sys.stdout.isatty() else 150).print(table(results))
    if given.json:
        given.json.write_text(as_json(results), encoding="utf-8")
    return int(any(each.mark == "MISSED" for each in results))


if __name__ == "__main__":
    sys.exit(main())
