"""Write the recipes, or look whether they are what would be written."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

from tests.recipes.maker import beyond, paper1, paper2, paper3
from tests.recipes.maker.head import Host
from tests.recipes.maker.hosts import text

FOLDER = Path(__file__).parents[3] / "recipes"
HOSTS: tuple[Host, ...] = ("axolotl", "trl")


def files() -> Iterator[tuple[str, str]]:
    """Path under ``recipes/`` and text of every recipe that is made here."""
    for part in (paper1, paper2, paper3, beyond):
        for recipe in part.recipes():
            for host in HOSTS:
                yield f"{recipe.name}.{host}.yaml", text(recipe, host)


def main() -> None:
    """Write, or check."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing")
    check = parser.parse_args().check
    stale = []
    for name, content in files():
        path = FOLDER / name
        if path.is_file() and path.read_text(encoding="utf-8") == content:
            continue
        stale.append(name)
        if not check:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content, encoding="utf-8")
    print(f"{len(stale)} {'differ' if check else 'written'}", *stale[:10], sep="\n  ")
    sys.exit(bool(check and stale))


if __name__ == "__main__":
    main()
