"""The demo's tasks as chats (DIR/{train,validation,others}.jsonl) and its model (base/).

python story.py data/story
"""

from __future__ import annotations

import argparse
import functools
import json
import shutil
from pathlib import Path

from ppx_ext import demo
from ppx_ext.demo import tasks


def main() -> None:
    """Write all parts, and the model beside the current folder's recipes."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("out", type=Path)
    out = parser.parse_args().out
    out.mkdir(parents=True, exist_ok=True)
    make = functools.partial(tasks.make_rows, seed=1)
    parts = {
        "train": make(tasks.TARGET, split="train", count=400, style="gold"),
        "validation": make(tasks.TARGET, split="test", count=40, style="gold"),
        "others": [
            row for task in tasks.OUT_OF_DOMAIN for row in make(task, split="test", count=10)
        ],
    }
    for name, rows in parts.items():
        lines = [
            json.dumps({key: row[key] for key in ("messages", "answer")}) + "\n" for row in rows
        ]
        (out / f"{name}.jsonl").write_text("".join(lines), encoding="utf-8")
        print(f"{out / name}.jsonl: {len(lines)} rows")
    shutil.copytree(Path(demo.__file__).parent / "base", "base", dirs_exist_ok=True)
    print("base: the embedded model")


if __name__ == "__main__":
    main()
